"""`netopt.rewrite`: what a copy of a model with other modules in it keeps of the original."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import Holder, Scale, values

import tape
from tape import netopt, nn, optim
from tape.errors import TapeError


def bare(layer):
    """The same dense layer again, without saying anything of activation, mode or freezing."""
    new = nn.Dense(layer.n_out, layer.n_in, bias=layer.bias is not None)
    new.weight, new.bias = layer.weight, layer.bias
    return new


def is_dense(module):
    return isinstance(module, nn.Dense)


def normal(*shape, seed=0):
    return tape.tensor(np.random.default_rng(seed).standard_normal(shape).astype("f"))


@st.composite
def networks(draw):
    """(network of dense layers, some used twice, some frozen, in either mode; a batch)."""
    n = draw(st.integers(1, 5))
    layers = []
    for _ in range(draw(st.integers(1, 4))):
        if layers and draw(st.booleans()):
            layers.append(draw(st.sampled_from(layers)))
        else:
            activation = draw(st.sampled_from([None, tape.tanh, tape.relu, nn.Tanh()]))
            layers.append(nn.Dense(n, n, activation, bias=draw(st.booleans())))
    net = nn.Sequential(*layers).train(draw(st.booleans()))
    if draw(st.booleans()):
        frozen = draw(st.sampled_from(layers))
        net.freeze(lambda module: module is frozen)
    return net, normal(3, n)


@given(networks())
def test_a_replacement_that_computes_the_same_changes_nothing_but_the_objects(drawn):
    net, x = drawn
    before, text = values(net), repr(net)
    new = netopt.rewrite(net, is_dense, bare)
    np.testing.assert_array_equal(new(x).numpy(), net(x).numpy())
    assert repr(new) == text  # ties, activations, what is frozen
    assert [(p, m.training, m.is_frozen) for p, m in new.named_modules()] == [
        (p, m.training, m.is_frozen) for p, m in net.named_modules()
    ]
    assert values(new) == before
    mine = {id(entry) for _, entry, _, _ in net.walk()}
    assert not any(id(entry) in mine for _, entry, _, _ in new.walk())


def test_training_the_result_leaves_the_original_alone():
    net = nn.Sequential(nn.Dense(4, 3, tape.tanh), nn.BatchNorm1d(4, 4), nn.Dense(2, 4))
    before = values(net)
    new = netopt.rewrite(net, "0", bare)
    optimizer = optim.SGD(new.parameters(), lr=0.5)
    new(normal(5, 3)).sum().backward()
    optimizer.step()
    assert values(net) == before
    assert values(new) != before
    assert all(p.grad is None for p in net.parameters())


def test_a_layer_used_twice_is_replaced_once_and_stays_shared():
    shared = nn.Dense(3, 3)
    made = []
    net = nn.Sequential(shared, tape.tanh, shared)
    new = netopt.rewrite(net, "2", lambda old: made.append(old) or bare(old))
    assert made == [shared]
    assert new[0] is new[2] is not shared


def test_a_parameter_that_a_module_which_stays_shares_is_not_lost():
    net = nn.Sequential(nn.Dense(3, 3), nn.Dense(3, 3))
    net[1].weight = net[0].weight
    before = values(net)
    with pytest.raises(TapeError, match=r"0\.weight would go, but is also 1\.weight, which stays"):
        netopt.rewrite(net, "0", lambda old: nn.Dense(3, 3))
    assert values(net) == before
    kept = netopt.rewrite(net, "0", bare)
    assert kept[0].weight is kept[1].weight


def test_the_activation_goes_to_the_new_layer_unless_that_has_one():
    net = nn.Sequential(nn.Dense(3, 3, tape.tanh))
    assert netopt.rewrite(net, "0", lambda old: nn.Dense(3, 3))[0].activation is tape.tanh
    assert (
        netopt.rewrite(net, "0", lambda old: nn.Dense(3, 3, tape.relu))[0].activation is tape.relu
    )
    inside = netopt.rewrite(net, "0", lambda old: nn.Sequential(nn.Dense(3, 3, tape.tanh)))
    assert inside[0][0].activation is tape.tanh
    wrapped = netopt.rewrite(net, "0", lambda old: nn.Sequential(old))
    assert wrapped[0][0].activation is tape.tanh
    with pytest.raises(TapeError, match="Scale for 0 has no activation, the Dense has tanh"):
        netopt.rewrite(net, "0", lambda old: Scale())


def test_an_activation_with_parameters_is_copied_with_the_model():
    net = nn.Sequential(nn.Dense(3, 3, nn.PReLU()))
    new = netopt.rewrite(net, "0", bare)
    assert list(new.state_dict()) == list(net.state_dict())
    assert new[0].activation is not net[0].activation


def test_what_is_frozen_or_needs_no_gradient_stays_so():
    net = nn.Sequential(nn.Dense(3, 3), nn.Dense(3, 3), nn.Dense(3, 3)).eval()
    net.freeze("0")
    net[1].weight.requires_grad_(False)
    net[2].weight.requires_grad_(False)
    net[2].bias.requires_grad_(False)
    new = netopt.rewrite(net, is_dense, lambda old: nn.Sequential(nn.Dense(3, 3), Scale()))
    assert [m.is_frozen for m in new] == [True, False, False]
    assert [[p.requires_grad for p in m.parameters()] for m in new] == [
        [False] * 4,
        [True] * 4,
        [False] * 4,
    ]
    same = netopt.rewrite(net, is_dense, lambda old: nn.Dense(3, 3))
    assert [p.requires_grad for p in same.parameters()] == [False, False, False, True, False, False]
    assert not any(m.training for m in new.modules())
    new.unfreeze()
    assert all(p.requires_grad for p in new[0].parameters())


def test_an_optimizer_goes_on_with_the_new_model_on_request():
    net = nn.Sequential(nn.Dense(4, 3), nn.Dense(2, 4))
    optimizer = optim.Adam(net.parameters(), lr=0.1)
    net(normal(5, 3)).sum().backward()
    optimizer.step()
    moments = optimizer.state_dict()
    new = netopt.rewrite(net, "1", lambda old: nn.Dense(2, 4, bias=False), optimizer)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in new.parameters()]
    assert len(moments) > 0
    before = values(net)
    new(normal(5, 3)).sum().backward()
    optimizer.step()
    assert values(net) == before


def test_the_whole_may_be_replaced_and_a_layer_may_be_left():
    layer = nn.Dense(3, 3, tape.tanh)
    new = netopt.rewrite(layer, "", lambda old: nn.Sequential(old, tape.relu))
    assert isinstance(new, nn.Sequential)
    assert new[0] is not layer
    net = nn.Sequential(layer)
    left = netopt.rewrite(net, "0", lambda old: None)
    assert repr(left) == repr(net)
    assert left[0] is not layer


def test_two_new_modules_may_share():
    net = nn.Sequential(nn.Dense(3, 3), nn.Dense(3, 3))
    one = nn.Dense(3, 3)
    new = netopt.rewrite(net, is_dense, lambda old: one)
    assert new[0] is new[1] is not one


@pytest.mark.parametrize(
    ("model", "match", "replace", "error", "words"),
    [
        (3, "0", bare, TypeError, "takes a module, got a int"),
        (nn.Sequential(nn.Dense(1, 1)), "1", bare, TapeError, "'1' names no module"),
        (nn.Sequential(nn.Dense(1, 1)), lambda m: False, bare, TapeError, "predicate holds for no"),
        (nn.Sequential(nn.Dense(1, 1)), "0", nn.Dense(1, 1), TypeError, "function of the old"),
        (nn.Sequential(nn.Dense(1, 1)), "0", lambda old: 3, TypeError, "gave 3 for 0, not a mod"),
    ],
)
def test_bad_calls_are_refused(model, match, replace, error, words):
    with pytest.raises(error, match=words):
        netopt.rewrite(model, match, replace)


def test_a_long_tree_and_a_list_of_layers_are_rewritten():
    deep = nn.Dense(2, 2)
    for _ in range(2000):
        deep = nn.Sequential(deep)
    new = netopt.rewrite(deep, is_dense, bare)
    assert len(list(new.modules())) == 2001
    held = Holder(blocks=[nn.Dense(2, 2), {"a": nn.Dense(2, 2)}])
    assert [p for p, _ in netopt.rewrite(held, "blocks.1.a", bare).named_parameters()] == [
        p for p, _ in held.named_parameters()
    ]


def test_nothing_is_left_behind(nothing_left):
    net = nn.Sequential(nn.Dense(3, 3, tape.tanh), nn.Dense(3, 3))
    new = netopt.rewrite(net, is_dense, bare)
    new(normal(2, 3)).sum().backward()
    del net, new
