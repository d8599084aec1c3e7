"""Freezing: what does not learn, move or drop, and what comes back with the thaw."""

import gc
import weakref
from fnmatch import fnmatchcase

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import Fails, Holder, Scale, graphs, learning, modes, normal, ones, values, values_of

import tape
from tape import nn, optim
from tape.errors import GradError, TapeError
from tape.nn.tree import select


@given(graphs(), st.data())
def test_unfreezing_restores_exactly_what_was(model, data):
    before = learning(model), modes(model), repr(model), values_of(model)
    chosen = data.draw(st.sampled_from(list(model.modules())))
    model.freeze(lambda module: module is chosen)
    assert all(module.is_frozen and not module.training for module in chosen.modules())
    assert not any(learning(chosen))
    assert chosen.freeze() is chosen
    chosen.train()
    assert not any(modes(chosen))
    model.unfreeze()
    assert (learning(model), modes(model), repr(model), values_of(model)) == before


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Dropout(0.5),
        lambda: nn.Dropout2d(0.5),
        lambda: nn.AlphaDropout(0.5),
        lambda: nn.BatchNorm2d(3),
        lambda: nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
        lambda: nn.Sequential(nn.Conv2d(3, 1), nn.BatchNorm2d()),
    ],
    ids=["dropout", "dropout2d", "alpha", "batch_norm", "instance_norm", "sequential"],
)
def test_a_frozen_layer_does_in_training_what_it_does_in_evaluation(make):
    layer, x = make(), normal(4, 3, 5, 5)
    layer(x)  # moves running statistics away from where they begin
    expected = layer.eval()(x).numpy().copy()
    layer.train().freeze()
    before = layer.state_dict()
    model = Holder(layer=layer).train()
    assert np.array_equal(layer(x).numpy(), expected)
    assert values(layer) == {path: array.tolist() for path, array in before.items()}
    assert model.training
    layer.unfreeze()
    assert layer.training
    assert not np.array_equal(layer(x).numpy(), expected)


@pytest.mark.parametrize(
    "layer",
    [
        nn.LSTM(3, 4, num_layers=2, dropout=0.9),
        nn.MultiHeadAttention(4, 2, dropout=0.9),
        nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, dropout=0.9), 2),
    ],
    ids=["lstm", "attention", "transformer"],
)
def test_dropout_inside_of_larger_layers_is_frozen_too(layer):
    x = normal(6, 2, 4)
    args = (x, x, x) if isinstance(layer, nn.MultiHeadAttention) else (x,)

    def run():
        y = layer(*args)
        return np.array(y[0] if isinstance(y, tuple) else y)

    expected = run() if layer.eval() else None
    layer.train()
    assert not np.array_equal(run(), expected)
    layer.freeze()
    layer.train()
    assert np.array_equal(run(), expected)


def test_what_did_not_learn_before_does_not_learn_after():
    net = nn.Sequential(nn.Dense(2, 3), nn.Dropout())
    net[0].bias.requires_grad_(False)
    net[1].eval()
    net.freeze().unfreeze()
    assert [p.requires_grad for p in net.parameters()] == [True, False]
    assert modes(net) == [True, True, False]


def test_the_mode_that_is_asked_for_while_frozen_comes_with_the_thaw():
    net = nn.Sequential(nn.Dropout()).freeze()
    net.eval()
    assert not net.unfreeze().training
    net.freeze().train()
    net[0].training = True
    assert modes(net) == [False, False]
    assert modes(net.unfreeze()) == [True, True]


def test_a_path_a_pattern_and_a_predicate_choose_what_is_frozen():
    def model():
        body = nn.Sequential(nn.Dense(2, 2), nn.BatchNorm1d(2), nn.Sequential(nn.Dense(2, 2)))
        return Holder(features=body, head=nn.Dense(1, 2))

    def frozen(net):
        return [path for path, module in net.named_modules() if module.is_frozen]

    net = model()
    assert frozen(net.freeze("features.2")) == ["features.2", "features.2.0"]
    assert frozen(net.freeze("features")) == [p for p, _ in net.named_modules() if "feat" in p]
    assert frozen(net.unfreeze("features.?")) == ["features"]
    assert frozen(model().freeze("features.*")) == [
        *["features.0", "features.1", "features.2", "features.2.0"],
    ]
    assert frozen(model().freeze("*.0")) == ["features.0", "features.2.0"]
    assert frozen(model().freeze("*")) == frozen(model().freeze())
    norms = model().freeze(lambda m: isinstance(m, nn.BatchNorm1d))
    assert frozen(norms) == ["features.1"]
    assert frozen(model().freeze().unfreeze("head")) == frozen(model().freeze())[:-1]


def test_any_path_of_a_shared_module_names_it_and_names_with_dots_are_found():
    trunk = Scale()
    model = Holder(a=[trunk], b={"x.y": trunk, "c[0]": nn.Dense(2)})
    assert model.freeze("b.x.y").a[0].is_frozen
    assert not model.unfreeze("a.0").a[0].is_frozen
    assert model.freeze("b.c[[]0]").b["c[0]"].is_frozen
    assert model.unfreeze("b.c[0]").freeze("b.c[0]").b["c[0]"].is_frozen


PIECES = st.sampled_from(["*", "?", "[ab]", "[!a]", "[]a]", "[", ".", "a", "b", "0"])


@given(graphs(), st.lists(PIECES, max_size=6).map("".join))
def test_a_pattern_chooses_what_the_shells_rules_say(model, pattern):
    model = Holder(a=model, b=Holder(a=[model.body]))
    walked = [(path, m) for path, m, _, _ in model.walk(again=True) if isinstance(m, nn.Module)]
    expected = {id(m) for path, m in walked if path == pattern or fnmatchcase(path, pattern)}
    try:
        chosen = select("freeze", model, pattern)
    except TapeError:
        chosen = []
    assert {id(module) for module in chosen} == expected


@pytest.mark.parametrize("change", ["freeze", "unfreeze"])
def test_what_names_nothing_is_refused_with_the_nearest_that_exist(change):
    net = Holder(features=nn.Sequential(nn.Dense(2, 2)), head=nn.Dense(1, 2))
    act = getattr(net, change)
    for where, words in [
        ("featuers", f"{change}: 'featuers' names no module of a Holder (did you mean features or"),
        ("conv.*", "'conv.*' names no module of a Holder; it has features, features.0, head"),
        ("features.0.weight", "features.0.weight is a parameter of a Holder, not a module"),
        (lambda m: False, "the predicate holds for no module of a Holder"),
    ]:
        with pytest.raises(TapeError) as caught:
            act(where)
        assert words in str(caught.value)
    for wrong in (3, ["head"], net.head):
        with pytest.raises(TypeError, match="takes a path, a pattern such as"):
            act(wrong)
    with pytest.raises(ZeroDivisionError):
        act(lambda m: 1 / 0)
    with pytest.raises(TapeError, match="which has none"):
        getattr(Scale(), change)("a")
    assert not any(module.is_frozen for module in net.modules())


def test_a_shared_parameter_is_frozen_while_any_frozen_module_holds_it():
    a, b, c = nn.Dense(2, 2), nn.Dense(2, 2), nn.Dense(2, 2)
    b.weight = c.weight = a.weight
    model = Holder(a=a, b=b, c=c)
    a.freeze()
    assert not b.weight.requires_grad
    assert b.bias.requires_grad
    assert "b: Dense(2): weight (2, 2) frozen shared with a.weight, bias (2,):" in repr(model)
    b.freeze()
    a.unfreeze()
    assert not a.weight.requires_grad  # b holds it still
    assert a.bias.requires_grad
    c.unfreeze()
    assert not c.weight.requires_grad
    b.unfreeze()
    assert a.weight.requires_grad


def test_a_holder_that_died_or_let_go_holds_nothing_back():
    a, b = nn.Dense(2, 2), nn.Dense(2, 2)
    a.weight = b.weight
    b.freeze()
    del b
    assert a.unfreeze().weight.requires_grad
    c = nn.Dense(2, 2)
    c.weight = a.weight
    c.freeze()
    c.weight = None
    assert a.unfreeze().weight.requires_grad


def test_parameters_without_a_size_are_frozen_when_they_are_made():
    net = nn.Sequential(nn.Dense(4), nn.BatchNorm1d()).freeze()
    net(ones((2, 3)))
    assert learning(net) == [False] * 7
    assert net[1].num_batches_tracked.item() == 0
    assert all(p.requires_grad for p in net.unfreeze().parameters())

    net = nn.Sequential(nn.Dense(4)).freeze()
    net.unfreeze()(ones((2, 3)))
    assert net[0].weight.requires_grad

    net = nn.Sequential(nn.Dense(4, bias=False), nn.Dense(4, bias=False))
    net[1].weight = net[0].weight
    net[1].freeze()
    net[0](ones((2, 4)))
    assert not net[0].weight.requires_grad
    net[1].unfreeze()
    assert net[0].weight.requires_grad

    net = nn.Sequential(nn.Dense(4)).freeze()
    net.load_state_dict({"0.weight": np.ones((4, 2), "f"), "0.bias": np.ones(4, "f")})
    assert learning(net) == [False, False]
    assert all(p.requires_grad for p in net.unfreeze().parameters())


def test_a_first_call_that_fails_leaves_what_is_frozen_frozen():
    net = nn.Sequential(nn.Dense(4), Fails(ZeroDivisionError())).freeze()
    with pytest.raises(ZeroDivisionError):
        net(ones((2, 3)))
    net[1] = tape.exp
    net(ones((2, 5)))
    assert learning(net) == [False, False]
    assert net.unfreeze()[0].weight.requires_grad


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam])
def test_a_gradient_from_before_moves_nothing_that_is_frozen_since(make):
    net = nn.Sequential(nn.Dense(2, 2), nn.Dense(1, 2))
    optimizer = make(net.parameters(), lr=0.1)
    net(ones((3, 2))).sum().backward()
    net.freeze("0")
    before = net.state_dict()
    optimizer.step()
    after = net.state_dict()
    assert [np.array_equal(before[path], after[path]) for path in before] == [
        *[True, True, False, False],
    ]


def test_a_state_is_loaded_into_what_is_frozen():
    net, other = nn.Dense(2, 2).freeze(), nn.Dense(2, 2)
    net.load_state_dict(other.state_dict())
    assert values(net) == values(other)
    assert learning(net) == [False, False]
    assert learning(net.unfreeze()) == [True, True]


def test_gradients_pass_through_what_is_frozen():
    net = nn.Sequential(nn.Dense(2, 2), nn.Dense(2, 2).freeze(), nn.Dense(1, 2))
    net(ones((3, 2))).sum().backward()
    assert [p.grad is not None for p in net.parameters()] == [True] * 2 + [False] * 2 + [True] * 2


def test_freezing_makes_no_cycles_and_keeps_no_module_alive():
    gc.collect()
    gc.disable()
    try:
        net = nn.Sequential(nn.Dense(2, 2)).freeze()
        weight, gone = net[0].weight, weakref.ref(net[0])
        twin, other = net.clone(), nn.replace(net, "0", nn.Dense(3))
        ends = [weakref.ref(m) for m in (net, twin, other)]
        del net, twin, other
        assert gone() is None
        assert [end() for end in ends] == [None] * 3
        assert weight.tolist()
    finally:
        gc.enable()


def test_a_frozen_parameter_does_not_learn_by_a_flag_of_its_own():
    net = nn.Sequential(nn.Dense(2, 3), nn.Dense(1, 2)).freeze("0")
    weight = net[0].weight
    with pytest.raises(GradError, match=r"a frozen Dense holds this parameter \(2, 3\): unfreeze"):
        weight.requires_grad = True
    with pytest.raises(GradError, match="a frozen Dense holds"):
        weight.requires_grad_()
    weight.requires_grad = False
    assert not weight.requires_grad
    for parameter in net.unfreeze().parameters():
        parameter.requires_grad = True
    net.freeze()
    net[0].weight = nn.Parameter(np.zeros((2, 3), "f"))
    assert "0: Dense(2) frozen: weight (2, 3) learns, bias (2,) frozen" in repr(net)
    weight.requires_grad = True  # no module holds it any more
    assert weight.requires_grad
    alone = nn.Dense(2, 3)
    alone.weight.requires_grad = False
    alone.weight.requires_grad = True
    assert alone.weight.requires_grad


def test_a_class_names_all_modules_of_it():
    net = nn.Sequential(nn.Dense(2, 2), nn.BatchNorm1d(2), nn.Sequential(nn.BatchNorm1d(2)))
    net.freeze(nn.BatchNorm1d)
    assert [at for at, m in net.named_modules() if m.is_frozen] == ["1", "2.0"]
    net.unfreeze(nn.Module)
    assert not any(m.is_frozen for m in net.modules())
    with pytest.raises(TapeError, match="freeze: there is no LSTM in a Sequential"):
        net.freeze(nn.LSTM)


def test_a_list_or_dictionary_of_modules_is_named_by_a_pattern():
    net = Holder(head={"label": nn.Dense(2, 2)}, blocks=[nn.Dense(2, 2)])
    for name in ("head", "blocks"):
        with pytest.raises(TapeError, match=rf"'{name}\.\*' names those in it"):
            net.freeze(name)
        assert net.freeze(f"{name}.*") is net
