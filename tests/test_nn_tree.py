"""Freezing, cloning and replacing parts of networks, and trees of ten thousand modules."""

import copy
import gc
import threading
import time
import weakref
from collections import OrderedDict, namedtuple
from enum import Enum
from fnmatch import fnmatchcase

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import Fails, Holder, Scale, ones, paths, values

import tape
from tape import nn, optim
from tape.errors import ShapeError, TapeError
from tape.nn.tree import select


def normal(*shape, seed=0):
    return tape.tensor(np.random.default_rng(seed).standard_normal(shape).astype("f"))


@st.composite
def graphs(draw):
    """A tree with modules and parameters shared at random, some of which do not learn."""
    parts = [nn.Dense(1, 1), Scale(), nn.BatchNorm1d(1), nn.Dropout(), nn.Dense(2)]
    for _ in range(draw(st.integers(1, 6))):
        chosen = [parts[i] for i in draw(st.lists(st.integers(0, len(parts) - 1), max_size=3))]
        made = draw(
            st.sampled_from(
                [
                    lambda c: Holder(**{f"a{i}": part for i, part in enumerate(c)}),
                    lambda c: nn.Sequential(*c, tape.exp),
                    lambda c: Holder(parts={"x": c}, p=parts[1].gain),
                    lambda c: nn.Residual(*c),
                ]
            )
        )(chosen)
        parts.append(made)
    parts[0].bias.requires_grad_(draw(st.booleans()))
    return Holder(body=parts[-1], rest=parts[:-1])


def learning(model):
    return [
        entry.requires_grad
        for _, entry, _, _ in model.walk(again=True)
        if isinstance(entry, tape.Tensor)
    ]


def modes(model):
    return [module.training for module in model.modules()]


def partition(model):
    """Which paths are one object: sharing as something that can be compared."""
    first = {}
    return [
        (path, first.setdefault(id(entry), path)) for path, entry, _, _ in model.walk(again=True)
    ]


# -- freeze ------------------------------------------------------------------------------------


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


def values_of(model):
    return [entry.tolist() for _, entry, _, _ in model.walk() if isinstance(entry, tape.Tensor)]


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


# -- clone -------------------------------------------------------------------------------------


@given(graphs(), st.sampled_from(["learnable", "constant", "shared"]))
def test_a_clone_has_the_structure_values_and_ties_of_the_original(model, mode):
    before = values_of(model), learning(model), partition(model), repr(model)
    twin = model.clone(mode)
    assert partition(twin) == partition(model)
    assert values_of(twin) == values_of(model)
    assert not {id(m) for m in twin.modules()} & {id(m) for m in model.modules()}
    for a, b in zip(model.walk(), twin.walk(), strict=True):
        if isinstance(a[1], (tape.Tensor, nn.Uninferred)):
            assert (a[1] is b[1]) == (mode == "shared")
    if mode == "constant":
        assert not any(learning(twin))
        twin.unfreeze()
    assert repr(twin) == repr(model)
    assert (values_of(model), learning(model), partition(model), repr(model)) == before


@given(graphs(), st.data())
def test_a_clone_is_as_frozen_as_the_original_and_thaws_alone(model, data):
    chosen = data.draw(st.sampled_from(list(model.modules())))
    before = learning(model)
    chosen.freeze()
    frozen = learning(model)
    for twin in (model.clone(), copy.deepcopy(model)):
        assert [m.is_frozen for m in twin.modules()] == [m.is_frozen for m in model.modules()]
        assert learning(twin) == frozen
        assert learning(twin.unfreeze()) == before
        assert learning(model) == frozen


def test_case_14_a_mode_that_does_not_exist_is_refused():
    net = nn.Dense(2, 2)
    for mode in (2, "copy", None, ["shared"], np.array(["shared"])):
        with pytest.raises(ValueError, match="'learnable', 'constant' or 'shared', got"):
            net.clone(mode)
    named = Enum("Mode", {"SHARED": "shared"}, type=str)
    assert net.clone(named.SHARED).weight is net.weight
    with pytest.raises(TypeError, match="takes a module, got a dict"):
        nn.replace({}, "0", nn.Dense(2))
    with pytest.raises(TypeError, match="new is a module or a function of the old one"):
        nn.replace(nn.Sequential(net), "0", {})


def test_case_15_clones_copy_share_and_freeze():
    net = nn.Sequential(nn.Dense(3, 2, activation=tape.tanh), nn.BatchNorm1d(3))
    x = normal(4, 2)
    net(x)
    shared = net.clone("shared")
    own = shared.clone("learnable")
    constant = own.clone("constant")
    pairs = zip(net.parameters(), shared.parameters(), strict=True)
    assert all(a is b for a, b in pairs)
    assert shared[1].running_mean is net[1].running_mean
    assert values(own) == values(constant) == values(net)
    assert not any(p.requires_grad for p in constant.parameters())
    before = values(net)
    optimizer = optim.SGD(net.parameters(), lr=0.5)
    net(x).square().sum().backward()
    optimizer.step()
    assert values(shared) == values(net) != before
    assert values(own) == values(constant) == before
    constant.train()(x)
    assert values(constant) == before
    constant.unfreeze()(x).square().sum().backward()
    assert all(p.grad is not None for p in constant.parameters())
    assert all(p.grad is None for p in own.parameters())
    assert values(constant) != before  # the statistics move again


def test_case_17_a_learnable_and_a_constant_clone_part_after_a_step():
    net, x = nn.Sequential(nn.Dense(3, 2), tape.tanh, nn.Dense(2, 3)), normal(4, 2)
    student, teacher = net.clone("learnable"), net.clone("constant")
    start = net(x).numpy().copy()
    assert np.array_equal(student(x), start)
    assert np.array_equal(teacher(x), start)
    optimizer = optim.SGD([*student.parameters(), *teacher.parameters()], lr=0.1)
    loss = (student(x) * 3.0 - teacher(x)).square().sum()
    loss.backward()
    optimizer.step()
    assert not np.array_equal(student(x), start)
    assert np.array_equal(teacher(x), start)
    assert np.array_equal(net(x), start)
    several = [net.clone("shared") for _ in range(2)]
    assert several[0][0].weight is several[1][0].weight
    apart = [net.clone(mode) for mode in ("constant", "learnable") for _ in range(2)]
    assert len({id(p) for twin in apart for p in twin.parameters()}) == 4 * 4


def test_a_clone_keeps_ties_of_buffers_lists_and_parameters_that_wait():
    tie = nn.Dense(4, bias=False)
    again = nn.Dense(4, bias=False)
    again.weight = tie.weight
    a, b = Holder(), Holder()
    a.register_buffer("mean", [1.0])
    b.register_buffer("mean", a.mean)
    names = ["x"]
    twin = Holder(
        parts=[tie, again], heads={"a": a, "b": b}, names=names, same=names, pair=(a, [b])
    ).clone()
    assert twin.heads["a"].mean is twin.heads["b"].mean
    assert twin.heads["a"].mean is not a.mean
    assert twin.pair[0] is twin.heads["a"]
    assert twin.pair[1][0] is twin.heads["b"]
    assert twin.names == names
    assert twin.names is twin.same is not names
    twin.parts[0](ones((1, 2)))
    assert paths(twin) == ["parts.0.weight"]
    assert tie.n_in is None
    tie(ones((1, 3)))  # makes what `again` waits for
    late = Holder(a=again, b=tie).clone()
    late.a(ones((1, 3)))
    assert late.a.weight is late.b.weight is not tie.weight
    alone = again.clone()
    alone(ones((1, 3)))
    assert alone.weight.tolist() == tie.weight.tolist()
    assert alone.weight is not tie.weight
    shared = nn.Dense(4)
    twin = shared.clone("shared")
    shared(ones((1, 2)))
    twin(ones((1, 2)))
    assert twin.weight is shared.weight


def test_a_clone_has_copies_of_plain_attributes_but_draws_from_the_same_generator():
    Pair = namedtuple("Pair", "left right")

    class Net(nn.Module):
        __slots__ = ("extra",)

        def __init__(self, size):  # is not called again
            self.layer = nn.Dense(size, size)
            self.rng, self.table = np.random.default_rng(0), np.arange(3)
            self.options, self.order = {"a": [1]}, OrderedDict(x=self.layer)
            self.pair = Pair(self.layer, 2)
            self.act, self.step, self.extra = tape.tanh, self.forward, [self.table]
            self.above = weakref.ref(self)
            self.last = self.layer.weight * 2.0
            self.scale = tape.tensor(2.0)

        def forward(self, x):
            return self.layer(x)

    net = Net(2)
    twin = net.clone()
    assert twin.rng is net.rng
    assert twin.table is not net.table
    assert twin.extra[0] is twin.table
    assert twin.options == net.options
    assert twin.options["a"] is not net.options["a"]
    assert twin.order["x"] is twin.layer is twin.pair.left
    assert type(twin.pair) is Pair
    assert twin.act is tape.tanh
    assert twin.step.__self__ is twin
    assert twin.above() is twin
    assert twin.last is net.last
    assert twin.scale is not net.scale


def test_a_clone_has_no_gradients_and_leaves_those_of_the_original():
    net = nn.Dense(1, 2)
    net(ones((1, 2))).sum().backward()
    for twin in (net.clone(), copy.deepcopy(net)):
        assert twin.weight.grad is None
    assert net.weight.grad.tolist() == [[1.0, 1.0]]
    assert net.clone("shared").weight.grad is net.weight.grad


def test_what_cannot_be_copied_is_named_with_its_path():
    with pytest.raises(TapeError, match=r"clone: Holder\.a\.0\.lock, a lock, cannot be copied"):
        Holder(a=[Holder(lock=threading.Lock())]).clone()


def test_a_deep_copy_keeps_ties_with_what_is_copied_along():
    net = nn.Sequential(nn.Dense(2, 2))
    twin, layer, weight = copy.deepcopy([net, net[0], net[0].weight])
    assert twin[0] is layer
    assert layer.weight is weight


def test_a_shallow_copy_shares_the_parts_but_not_the_list_of_them():
    net = nn.Sequential(nn.Dense(2, 2), tape.tanh)
    twin = copy.copy(net)
    twin[1] = tape.exp
    assert net[1] is tape.tanh
    assert twin[0] is net[0]
    frozen = nn.Dense(2, 2).freeze()
    twin = copy.copy(frozen)
    frozen.unfreeze()
    assert not frozen.weight.requires_grad  # its copy is frozen, and holds it
    assert twin.unfreeze().weight.requires_grad


def test_a_shared_clone_of_a_frozen_module_holds_its_parameters_too():
    layer = nn.Dense(2, 2).freeze()
    layer.bias.requires_grad_()  # what one asks for holds
    twin = layer.clone("shared")
    assert layer.bias.requires_grad
    layer.unfreeze()
    assert not layer.weight.requires_grad
    twin.unfreeze()
    assert layer.weight.requires_grad


# -- replace -----------------------------------------------------------------------------------


@given(graphs(), st.data())
def test_a_replaced_module_is_new_at_all_its_places_and_the_rest_is_shared(model, data):
    targets = [module for module in model.modules() if module is not model]
    target = data.draw(st.sampled_from(targets))
    before, state = partition(model), repr(model)
    new = Scale(5.0)
    made = nn.replace(model, lambda module: module is target, new)
    assert partition(model) == before
    assert repr(model) == state
    places = [path for path, entry, _, _ in model.walk(again=True) if entry is target]
    after = {path: entry for path, entry, _, _ in made.walk(again=True)}
    assert all(after[path] is new for path in places)
    assert not any(entry is target for entry in after.values())
    for path, entry, _, _ in model.walk(again=True):
        if any(path == place or path.startswith(f"{place}.") for place in places):
            continue
        if isinstance(entry, nn.Module):
            on_the_way = any(module is target for module in entry.modules())
            assert (after[path] is entry) == (not on_the_way)
            assert type(after[path]) is type(entry)
        else:
            assert after[path] is entry


def test_a_path_a_pattern_or_a_predicate_says_what_is_replaced():
    net = nn.Sequential(nn.Dense(2, 2), tape.tanh, nn.Sequential(nn.Dense(2, 2), tape.tanh))
    assert nn.replace(net, "2.0", lambda old: Holder(old=old))[2][0].old is net[2][0]
    wide = nn.replace(net, lambda m: isinstance(m, nn.Dense), lambda old: nn.Dense(2, old.n_in))
    assert wide[0] is not wide[2][0]
    one = nn.replace(net, "*0", nn.Dense(2, 2))
    assert one[0] is one[2][0]
    assert nn.replace(net, "", one) is one
    outer = nn.replace(net, "2*", lambda old: nn.Sequential(old, tape.exp))
    assert outer[2][0] is net[2]
    assert len(list(net.parameters())) == len(list(outer.parameters()))


def test_a_function_among_layers_is_replaced_by_its_path():
    net = nn.Sequential(tape.tanh, nn.Sequential(tape.tanh), nn.combine(a=tape.exp, b=tape.sin))
    assert nn.replace(net, "0", lambda old: tape.relu).layers == [tape.relu, *net[1:]]
    made = nn.replace(net, "1.0", nn.Dropout())
    assert isinstance(made[1][0], nn.Dropout)
    assert made[0] is net[0]
    assert nn.replace(net, "2.b", lambda old: tape.cos)[2].layers == [tape.exp, tape.cos]
    assert net[2].layers == [tape.exp, tape.sin]


def test_the_copies_keep_mode_and_frost_and_the_new_module_takes_on_the_mode():
    net = nn.Sequential(nn.Sequential(nn.Dense(2, 2), nn.Dropout()), nn.Dense(1, 2))
    net.eval()
    net.freeze("0")
    new = nn.Sequential(nn.Dropout())
    made = nn.replace(net, "0.1", new)
    assert made[0].is_frozen
    assert made[0][0] is net[0][0]
    assert modes(made) == [False] * 6
    assert not new.is_frozen
    assert modes(net.unfreeze().train()) == [True] * 5
    assert made[0].is_frozen  # the copy on the way thaws on its own
    kept = nn.Dense(2, 2).eval()
    net = nn.Sequential(nn.Sequential(kept))
    made = nn.replace(net, "0", lambda old: nn.Sequential(old[0], nn.Dropout()))
    assert modes(made) == [True, True, False, True]  # parts of the original stay as they are


def test_what_cannot_be_replaced_is_refused_and_nothing_changes():
    net = nn.Sequential(nn.Sequential(nn.Dense(2, 2)), tape.tanh)
    before = partition(net)
    for where, new, words in [
        ("0.1", nn.Dense(2), r"replace: '0\.1' names no module of a Sequential \(did you mean 0.0"),
        ("0.0.weight", nn.Dense(2), r"0\.0\.weight is a parameter of a Sequential"),
        (lambda m: False, nn.Dense(2), "the predicate holds for no module"),
        ("0.0", nn.Sequential(net), "the new Sequential contains the whole, which contains what"),
        ("0.0", lambda old: nn.Sequential(net[0]), "the new Sequential contains 0, which contai"),
        ("1", nn.Sequential(net), "contains the whole"),
    ]:
        with pytest.raises(TapeError, match=words):
            nn.replace(net, where, new)
    loop = Holder()
    loop.part = loop
    with pytest.raises(TapeError, match="part is the Holder that contains it"):
        nn.replace(net, "0.0", loop)
    with pytest.raises(TapeError, match="contains it"):
        nn.replace(loop, "part", net)
    for new in (None, lambda old: 3, nn.Dense, lambda old: nn.Dense):
        with pytest.raises(TypeError, match="replace: new"):
            nn.replace(net, "0.0", new)
    with pytest.raises(TypeError, match="the whole cannot become"):
        nn.replace(net, "", lambda old: tape.tanh)
    with pytest.raises(TypeError, match="takes a path, a pattern"):
        nn.replace(net, 0, nn.Dense(2))
    assert partition(net) == before
    assert modes(net) == [True] * 3


def test_case_19_a_placeholder_is_replaced_by_what_computes():
    place = nn.Lambda(lambda x: x)
    assert nn.replace(place >> (lambda p: p + 3), "0", nn.Lambda(tape.square))(3.0).item() == 12
    net = nn.Sequential(place) >> nn.Lambda(lambda p: p @ tape.tensor([[2.0], [3.0]]))
    filled = nn.replace(net, lambda m: m is place, nn.Lambda(lambda x: x * 1.0))
    assert filled(tape.tensor([[10.0, 2.0]])).tolist() == [[26.0]]


# -- size --------------------------------------------------------------------------------------


def deep(n):
    module = nn.Dense(1, 1)
    for _ in range(n - 1):
        module = Holder(b=module)
    return module


def wide(n):
    return nn.Sequential(*[nn.Dense(1, 1) for _ in range(n - 1)])


ACTS = {
    "freeze": lambda m: m.freeze(),
    "pattern": lambda m: m.freeze("*"),
    "unfreeze": lambda m: m.freeze().unfreeze(),
    "train": lambda m: m.eval().train(),
    "learnable": lambda m: m.clone("learnable"),
    "constant": lambda m: m.clone("constant"),
    "shared": lambda m: m.clone("shared"),
    "deepcopy": copy.deepcopy,
    "named_modules": lambda m: sum(1 for _ in m.named_modules()),
    "state_dict": lambda m: m.state_dict(),
    "load": lambda m: m.load_state_dict(m.state_dict()),
    "repr": repr,
    "replace": lambda m: nn.replace(m, lambda part: isinstance(part, nn.Dense), lambda _: Scale()),
}


@pytest.mark.parametrize("make", [deep, wide])
@pytest.mark.parametrize("act", ACTS)
def test_ten_thousand_modules_take_moments(make, act):
    model = make(10_000)
    gc.collect()
    start = time.process_time()
    made = ACTS[act](model)
    taken = time.process_time() - start
    assert taken < 1.0, taken
    if act == "named_modules":
        assert made == 10_000
    if isinstance(made, nn.Module):
        assert sum(1 for _ in made.modules()) == 10_000


def test_the_repr_of_a_deep_tree_is_cut():
    assert repr(deep(10_000)).splitlines()[-1].strip() == "b: ... 9,983 modules, not shown"
    assert "not shown" not in repr(deep(17))


def test_a_parameter_that_ten_thousand_modules_share_freezes_as_fast():
    weight = nn.Parameter(1.0)
    model = nn.Sequential(*[Holder(w=weight) for _ in range(10_000)])
    start = time.process_time()
    model.freeze()
    model.unfreeze("5000")
    assert not weight.requires_grad
    model.unfreeze()
    assert weight.requires_grad
    assert time.process_time() - start < 1.0


def test_forty_levels_of_twice_the_same_take_no_longer_than_forty_modules():
    model = nn.Dense(1, 1)
    for _ in range(40):
        model = Holder(a=model, b=model)
    model.freeze("*.a.b*")
    assert not model.is_frozen
    assert not any(p.requires_grad for p in model.parameters())
    assert all(p.requires_grad for p in model.clone("shared").unfreeze().parameters()) is False
    made = nn.replace(model, "a." * 39 + "b", Scale())
    assert len(list(made.modules())) == 41
    with pytest.raises(TapeError, match="names no module"):
        model.freeze("*.c")
    assert len(repr(model)) < 2000


def test_a_list_that_contains_itself_is_refused():
    model = Holder(parts=[nn.Dense(2)])
    model.parts.append(model.parts)
    with pytest.raises(TapeError, match=r"Holder\.parts\.1 is the list it is in"):
        model.freeze()
    assert not model.parts[0].is_frozen


def test_a_cycle_below_the_top_is_refused_as_well():
    loop = Holder()
    loop.part = Holder(back=loop)
    with pytest.raises(TapeError, match=r"a\.part\.back is the Holder that contains it"):
        list(Holder(a=loop).parameters())


def test_a_frozen_module_refuses_sizes_as_before():
    with pytest.raises(ShapeError):
        nn.Dense(2, 3).freeze()(ones((1, 4)))
