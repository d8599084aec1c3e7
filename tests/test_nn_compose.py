"""Modules put together: f >> g, `Parallel`, `Residual`, `combine`, `For`; shared trunks."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import Fails, Holder, Scale, ones, paths

import tape
from tape import nn
from tape.errors import ShapeError


def normal(*shape, seed=0):
    return tape.tensor(np.random.default_rng(seed).standard_normal(shape).astype("f"))


def add(k):
    return lambda x: x + k


def plus(a, b):
    return a + b


# -- f >> g ------------------------------------------------------------------------------------


def test_modules_and_functions_on_either_side_make_one_row():
    a, b = nn.Dense(4), nn.Dense(2)
    net = a >> tape.tanh >> b
    assert type(net) is nn.Sequential
    assert list(net) == [a, tape.tanh, b]
    x = normal(5, 3)
    assert net(x).tolist() == b(tape.tanh(a(x))).tolist()
    assert list(tape.exp >> a) == [tape.exp, a]
    assert paths(net) == ["0.weight", "0.bias", "2.weight", "2.bias"]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.data())
def test_the_row_does_not_depend_on_the_brackets(parts, data):
    layers = [nn.Lambda(add(k)) for k in parts]

    def join(some):
        if len(some) == 1:
            return some[0]
        cut = data.draw(st.integers(1, len(some) - 1))
        return join(some[:cut]) >> join(some[cut:])

    net = join(layers)
    assert (list(net) if len(layers) > 1 else [net]) == layers
    assert net(0) == sum(parts)


def test_a_sequential_made_by_name_stays_one_layer():
    trunk, head = nn.Sequential(nn.Dense(2, 2), tape.tanh), nn.Dense(1, 2)
    net = trunk >> head
    assert list(net) == [trunk, head]
    assert list(net.clone() >> head)[2] is head  # and so does a row know that it is one
    assert net >> head is not net
    assert list(net) == [trunk, head]


def test_a_tuple_is_parallel_and_its_outputs_are_arguments():
    f, g, h = (nn.Lambda(add(k)) for k in (1, 2, 3))
    assert (f >> (g, h))(0) == (3, 4)
    assert ((g, h) >> nn.Lambda(plus))(0) == 5
    assert (f >> (g, tape.negative) >> plus >> h)(tape.tensor(1.0)).item() == 5.0
    net = f >> (g, h) >> (h, g >> g) >> plus
    assert net(0) == (1 + 2 + 3) + (1 + 3 + 2 + 2)
    assert len(net) == 2
    named = nn.combine(a=g, b=h) >> (lambda a, b: (a, b))
    assert named(0) == (2, 3)
    assert (nn.combine(a=g, b=h) >> (f, f))(0) == {"a": 3, "b": 4}
    nested = f >> ((g, h), f)
    assert nested(0) == ((3, 4), 2)


def test_what_cannot_be_composed_is_refused():
    layer = nn.Dense(2)
    for wrong in (3, None, "relu", [layer], tape.ones(2)):
        with pytest.raises(TypeError, match="unsupported operand"):
            layer >> wrong
        with pytest.raises(TypeError, match="unsupported operand"):
            wrong >> layer
    with pytest.raises(TypeError, match="takes layers, functions"):
        layer >> nn.Dense
    with pytest.raises(ValueError, match="Parallel: takes one branch at least"):
        layer >> ()
    with pytest.raises(ValueError, match="2 branches cannot go on in 3 parts, one for each"):
        nn.Parallel(layer, layer) >> (layer,) * 3


# -- Parallel and Residual ---------------------------------------------------------------------


def test_parallel_gives_all_outputs_or_their_join():
    a, b = nn.Dense(2, 3), nn.Dense(2, 3)
    x = normal(4, 3)
    assert [y.tolist() for y in nn.Parallel(a, b)(x)] == [a(x).tolist(), b(x).tolist()]
    joined = nn.Parallel(a, b, join=lambda *ys: tape.concat(*ys, axis=1))
    assert joined(x).shape == (4, 4)
    assert nn.Parallel(a, b, join=nn.Lambda(plus))(x).tolist() == (a(x) + b(x)).tolist()
    assert nn.Parallel(plus, plus)(1, b=2) == (3, 3)


def test_parallel_is_a_tree_of_its_branches_and_its_join():
    shared = nn.Dense(2, 3)
    net = nn.Parallel(shared, tape.tanh, shared, join=nn.Lambda(max))
    assert paths(net) == ["0.weight", "0.bias"]
    assert repr(net).splitlines() == [
        "Parallel: 8 parameters",
        "  0: Dense(2): weight (2, 3), bias (2,): 8 parameters",
        "  1: tanh",
        "  2: shared with 0",
        "  join: Lambda(max)",
    ]
    assert repr(nn.Parallel(tape.exp, join=max)).splitlines()[0] == "Parallel(join=max)"
    assert len(net) == 3
    assert net[1] is tape.tanh
    net[1] = tape.exp
    assert list(net) == [shared, tape.exp, shared]


def test_parallel_refuses_what_is_no_branch():
    for wrong in ([tape.exp], (tape.exp,)):
        with pytest.raises(TypeError, match=r"a branch is one layer, got a .*give branches one by"):
            nn.Parallel(wrong)
    for call in (lambda: nn.Parallel(3), lambda: nn.Parallel(tape.exp, join=3)):
        with pytest.raises(TypeError, match="Parallel: takes layers, functions"):
            call()
    with pytest.raises(ValueError, match="takes one branch at least"):
        nn.Parallel()


def test_residual_adds_what_goes_past_the_layers():
    x = normal(2, 3)
    layer = nn.Dense(3)
    assert nn.Residual(layer, tape.tanh)(x).tolist() == (x + tape.tanh(layer(x))).tolist()
    wide, past = nn.Dense(5), nn.Dense(5, bias=False)
    net = nn.Residual(wide, shortcut=past)
    assert net(x).tolist() == (past(x) + wide(x)).tolist()
    assert paths(net) == ["0.weight", "0.bias", "shortcut.weight"]
    assert nn.Residual()(x).tolist() == (x + x).tolist()
    assert repr(nn.Residual(shortcut=tape.tanh)) == "Residual(shortcut=tanh)"
    assert isinstance(net, nn.Sequential)


def test_residual_refuses_shapes_that_would_be_broadcast():
    with pytest.raises(ShapeError, match=r"the layers give \(2, 1\) and x is \(2, 3\): they must"):
        nn.Residual(nn.Dense(1))(ones((2, 3)))
    with pytest.raises(ShapeError, match=r"give \(2, 3\) and the shortcut gives \(2, 1\)"):
        nn.Residual(tape.exp, shortcut=nn.Dense(1))(ones((2, 3)))
    with pytest.raises(ShapeError, match="the layers give tuple"):
        nn.Residual(nn.LSTM(3))(ones((2, 3)))
    with pytest.raises(TypeError, match="Residual: takes layers"):
        nn.Residual(tape.exp, shortcut=3)


# -- combine -----------------------------------------------------------------------------------


def counted(function):
    with tape.Tape() as t:
        result = function()
    return result, t.evaluations


@pytest.mark.parametrize("names", [False, True])
def test_combine_runs_a_shared_trunk_once_in_inference_as_well(names):
    trunk = nn.Sequential(nn.Dense(4, 3), tape.tanh, nn.Dense(4, 4))
    heads = [trunk >> nn.Dense(2, 4), trunk >> nn.Dense(1, 4)]
    net = nn.combine(a=heads[0], b=heads[1]) if names else nn.combine(*heads)
    x = normal(5, 3)
    with tape.no_grad():
        given_, once = counted(lambda: net(x))
        _, twice = counted(lambda: [head(x) for head in heads])
    assert (once, twice) == (5, 8)
    outputs = [given_["a"], given_["b"]] if names else given_
    assert [y.tolist() for y in outputs] == [head(x).tolist() for head in heads]
    assert len(list(net.parameters())) == 8
    assert "shared with" in repr(net)
    assert paths(net)[0] == ("a.0.0.weight" if names else "0.0.0.weight")


def test_combine_obeys_who_switched_reuse_off():
    f = nn.Dense(1, 1)
    net, x = nn.combine(f, f), ones((1, 1))
    with tape.reuse(False):
        _, apart = counted(lambda: net(x))
    with tape.no_grad():
        _, once = counted(lambda: net(x))
        with pytest.raises(ZeroDivisionError):
            nn.combine(f, Fails(ZeroDivisionError()))(x)
        _, later = counted(lambda: [f(x).sum(), f(x).max()])
    assert (apart, once, later) == (2, 1, 4)


def test_combine_refuses_nothing_both_kinds_and_lists():
    with pytest.raises(ValueError, match="combine: takes one output at least"):
        nn.combine()
    with pytest.raises(TypeError, match="takes outputs, or named ones, not both"):
        nn.combine(tape.exp, a=tape.exp)
    with pytest.raises(TypeError, match="give branches one by one"):
        nn.combine([tape.exp, tape.exp])


def test_combines_nest_and_a_combine_is_cloned():
    trunk = Scale(2.0)
    inner = nn.combine(left=trunk, right=trunk >> tape.exp)
    net = nn.combine(inner, trunk).clone()
    assert net[0][0] is net[1]
    assert net[1] is not trunk
    with tape.no_grad():
        (named, y), evaluations = counted(lambda: net(tape.tensor(0.5)))
    assert named["left"].item() == y.item() == 1.0
    assert evaluations == 3  # times, plus, exp
    assert [name for name, _ in net[0].named_layers()] == ["left", "right"]


# -- acceptance --------------------------------------------------------------------------------


def test_case_20_for_makes_a_layer_an_item_and_refuses_a_layer():
    net = nn.For(range(4), nn.Lambda(lambda: nn.Dense(3)).function)
    assert net(ones((3,))).shape == (3,)
    assert len(list(net.parameters())) == 2 * 4
    assert len({id(layer) for layer in net}) == 4
    with pytest.raises(TypeError, match="Dense is no constructor"):
        nn.For(range(3), nn.Dense(5))
    assert [layer.n_out for layer in nn.For([50, 25], lambda n: nn.Dense(n))] == [50, 25]


def test_case_20_the_name_is_kept_by_all_that_names_things(tmp_path):
    """A name is that of the attribute: CNTK's ``For(..., name="shared")``."""
    names = [f"shared.{i}.{p}" for i in range(2) for p in ("weight", "bias")]
    model = Holder(shared=nn.For(range(2), lambda: nn.Dense(3, 3)))
    tape.save(tmp_path / "file", model)
    for same in (
        *(model.clone(mode) for mode in ("learnable", "constant", "shared")),
        *(copy.copy(model), copy.deepcopy(model), model.astype("float64")),
        nn.replace(model, "shared.0", lambda old: old.clone()),
    ):
        assert paths(same) == names
        assert "  shared: For" in repr(same)
    assert list(tape.load(tmp_path / "file")) == list(model.state_dict()) == names
    assert [row.path for row in model.summary().rows] == ["", "shared", "shared.0", "shared.1"]
    assert model.freeze("shared").shared.is_frozen
    model.forward = lambda x: model.shared(x)
    with pytest.raises(ShapeError, match=r"in Holder\.shared\.0"):
        model(ones((2, 5)))


@pytest.mark.parametrize(("n", "expected"), [(5, 360.0), (7, 1344.0)])
def test_case_21_one_layer_three_times_in_a_densely_connected_chain(n, expected):
    layer = nn.Dense(n, n, bias=False, init=nn.init.ones)
    net = nn.Residual(layer) >> nn.Residual(layer) >> layer
    assert net(tape.arange(n, dtype="float32")).tolist() == [expected] * n
    assert len(list(net.parameters())) == 1
    assert "shared with 0.0" in repr(net)


def test_case_22_two_heads_over_a_shared_trunk():
    trunk, heads = nn.Dense(4, 3, activation=tape.tanh), [nn.Dense(1, 4), nn.Dense(2, 4)]
    model = Holder(first=trunk >> heads[0], second=trunk >> heads[1])
    assert len(list(model.parameters())) == 6
    x = normal(5, 3)

    def run(twice):
        model.zero_grad()
        if twice:
            ys = model.first(x), model.second(x)
        else:
            ys = [head(y) for y in [trunk(x)] for head in heads]
        (ys[0].sum() + ys[1].sum()).backward()
        return [y.tolist() for y in ys], [p.grad.tolist() for p in model.parameters()]

    with tape.Tape() as t, tape.reuse(False):
        apart = run(twice=True)
    without = t.evaluations
    with tape.Tape() as t:
        shared = run(twice=True)
    with tape.Tape() as u:
        once = run(twice=False)
    assert shared == once
    assert t.evaluations == u.evaluations < without
    np.testing.assert_allclose(apart[1][0], once[1][0], rtol=1e-5)
    assert apart[0] == once[0]


def test_case_24_combine_gives_both_outputs_and_the_same_one_twice():
    start = nn.Lambda(add(1))
    f = start >> add(2) >> add(-1) >> add(1)
    g = start >> add(4) >> add(-1) >> add(2)
    a = tape.tensor(1.0)
    assert [y.item() for y in nn.combine(f, g)(a)] == [4.0, 7.0]
    y, z = nn.combine(f, f)(a)
    assert y.item() == z.item() == 4.0
    block = nn.Parallel(add(2), lambda x: x, join=plus)
    assert block(1) == 4


def test_the_outputs_of_combine_have_their_names():
    a, b = nn.Dense(2, 2), nn.Dense(1, 2)
    net = nn.combine(label=a, size=b)
    assert net["size"] is b
    assert net[0] is a
    net["size"] = a
    assert net[1] is a
    with pytest.raises(KeyError, match=r"'lable' is no output.*label"):
        net["lable"]
    with pytest.raises(KeyError, match="is no output"):
        nn.combine(a, b)["0"]
