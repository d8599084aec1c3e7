"""Clones and copies of modules: what they own, share and keep."""

import copy
import threading
import weakref
from collections import OrderedDict, namedtuple
from enum import Enum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import (
    Holder,
    graphs,
    learning,
    normal,
    ones,
    partition,
    paths,
    values,
    values_of,
)

import tape
from tape import nn, optim
from tape.errors import DTypeError, TapeError


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


@given(graphs(), st.booleans())
def test_another_dtype_keeps_structure_ties_and_what_learns(model, is_frozen):
    if is_frozen:
        model.freeze()
    before = values_of(model), learning(model), partition(model), repr(model)
    twin = model.astype("float64")
    assert partition(twin) == partition(model)
    assert (learning(twin), repr(twin)) == (learning(model), repr(model))
    for (path, a, *_), (_, b, *_) in zip(model.walk(), twin.walk(), strict=True):
        if isinstance(a, nn.Module):
            assert type(a) is type(b), path
            assert a.is_frozen == b.is_frozen
            continue
        assert a is not b
        assert type(a) is type(b)
        assert b.dtype == (np.dtype("float64") if a.dtype.kind == "f" else a.dtype)
        if isinstance(a, tape.Tensor):
            assert b.grad is None
            assert b.tolist() == a.tolist()
    assert values_of(twin.astype("float32")) == before[0]
    twin.unfreeze()
    assert (values_of(model), learning(model), partition(model), repr(model)) == before


def test_a_model_in_another_dtype_computes_in_it_and_infers_sizes_in_it():
    net = nn.Sequential(nn.Dense(3), nn.BatchNorm1d(), nn.Dense(2))
    wide = net.astype(np.float64)
    x = np.random.default_rng(0).standard_normal((4, 5))
    assert wide(x).dtype == np.float64
    assert {p.dtype for p in wide.parameters()} == {np.dtype("float64")}
    assert net(x.astype("f")).dtype == np.float32
    back = wide.astype("float32").astype("float64")
    np.testing.assert_allclose(back(x), wide(x), rtol=1e-5, atol=1e-6)
    for dtype in ("int64", "bool"):
        with pytest.raises(DTypeError, match="the dtype of a module is a floating-point one, got"):
            net.astype(dtype)
    with pytest.raises(DTypeError, match="astype: dtype float16 is not supported"):
        net.astype(np.float16)


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
    triples = list(zip(*(m.parameters() for m in (net, *several)), strict=True))
    assert len(triples) == 4
    assert all(a is b is c for a, b, c in triples)
    step = optim.SGD(several[0].parameters(), lr=0.1)
    several[0](x).square().sum().backward()
    step.step()
    assert several[1](x).tolist() == net(x).tolist() != start.tolist()
    assert np.array_equal(teacher(x), start)
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
    layer.bias = nn.Parameter(np.zeros(2, "f"))  # what comes later learns
    twin = layer.clone("shared")
    assert layer.bias.requires_grad
    layer.unfreeze()
    assert not layer.weight.requires_grad
    twin.unfreeze()
    assert layer.weight.requires_grad
