"""Scopes: names, what is shared by them, what is handed down, and what errors say."""

import functools
import re

import numpy as np
import pytest
from scopes import dense, fc

import tape
from tape import nn
from tape.errors import DTypeError, ScopeError
from tape.nn import init

pytestmark = pytest.mark.usefixtures("names")
X = np.ones((2, 3), "f")


def two_levels(x, prefix=None):
    with nn.scope(prefix, reuse="auto", default_name="net"):
        return fc(fc(x, 4), 3)


# The seed's program and the table.


def test_case_25_what_is_named_shares_and_what_is_not_does_not(names):
    x = tape.tensor(X)
    a, b = fc(x, 5, "FC"), fc(x, 5, "FC")
    assert a.tolist() == b.tolist()
    assert list(names) == ["FC/dense/weight", "FC/dense/bias"]
    c, d = fc(x, 5), fc(x, 5)
    assert c.tolist() != d.tolist()
    assert len(names) == 2

    names.clear()
    batches = [tape.tensor(np.random.rand(2, 3).astype("f")) for _ in range(4)]
    outputs = [two_levels(x, "fc0") for x in batches[:3]]
    assert len(names) == 4  # two layers' weights and biases, for three nets
    weights = list(names.values())
    own = two_levels(batches[3])
    assert len(names) == 4
    loss = functools.reduce(lambda s, y: s + y.sum(), [*outputs, own], tape.tensor(0.0))
    together = tape.grad(loss, weights)
    apart = [tape.grad(y.sum(), weights) for y in outputs]
    for g, *parts in zip(together, *apart, strict=True):
        np.testing.assert_allclose(g.numpy(), sum(p.numpy() for p in parts), rtol=1e-5)

    def tensors(prefixes):
        with nn.Root():
            layers = []
            for prefix in prefixes:
                with nn.scope(prefix, reuse="auto"):
                    layers += [nn.Dense(4, 3), nn.Dense(3, 4)]
            return len(list(nn.Sequential(layers).parameters()))

    assert tensors(["fc0", "fc0"]) == 4
    assert tensors(["fc0", None]) == 8


def test_case_26_the_table_of_reuse(names):
    made = dense(reuse=False)
    for reuse in (None, False):
        with pytest.raises(ScopeError, match=r"^fc/dense/weight exists already: a parameter flo"):
            dense(reuse=reuse)
    for reuse in (True, "auto"):
        assert dense(reuse=reuse).weight is made.weight
    with pytest.raises(ScopeError, match=r"^fd/dense/weight does not exist.*did you mean fc/dens"):
        dense("fd", reuse=True)
    for i, reuse in enumerate((None, False, "auto")):
        assert dense(f"new{i}", reuse=reuse).weight is not made.weight
    assert list(names)[:2] == ["fc/dense/weight", "fc/dense/bias"]


@pytest.mark.parametrize("reuse", [True, "auto"])
def test_case_26_what_is_another_thing_is_not_shared(reuse, names):
    made = dense(init=init.normal(0.1))
    line = made.weight.name
    assert line == "fc/dense/weight"
    with pytest.raises(ScopeError) as caught:
        dense(reuse=reuse, n=5)
    here = re.escape(dense.__code__.co_filename)
    assert re.match(
        r"fc/dense/weight exists already with another shape: a parameter float32 \(3, 2\), made at "
        rf"{here}:\d+; asked for is a parameter \(5, 2\): ask",
        str(caught.value),
    )
    for what, message in [
        ({"dtype": "float64"}, r"another dtype: .* float32 \(3, 2\).* float64 \(3, 2\)"),
        ({"n_in": 7, "dtype": "float64"}, r"another dtype and shape: .*\(3, 2\).*\(3, 7\)"),
        ({"init": init.normal(0.2)}, r"another initialiser: .* by normal; asked for .* by normal"),
        ({"init": init.zeros}, r"another initialiser: .* by normal; asked for is one by zeros"),
        ({"init_bias": init.ones}, r"fc/dense/bias exists already with another initialiser"),
    ]:
        with pytest.raises(ScopeError, match=message):
            dense(reuse=reuse, **what)
    with nn.scope("fc/dense", reuse=True), pytest.raises(ScopeError, match=r"another shape"):
        nn.parameter("bias", (3, 1))
    assert dense(reuse=reuse, init=init.normal(0.1)).weight is made.weight
    assert dense(reuse=reuse, dtype=np.float32).weight is made.weight
    assert dense(reuse=reuse, n_in=None).weight is made.weight
    assert isinstance(caught.value, ValueError)


def test_where_the_first_was_made_is_left_out_without_provenance(monkeypatch):
    monkeypatch.setattr("tape.errors.provenance.on", False)
    dense()
    with pytest.raises(ScopeError, match=r"a parameter float32 \(3, 2\); asked for once more is"):
        dense()


def test_case_26_a_notebooks_cell_runs_again_under_auto(names):
    cell = """
with nn.scope("net", reuse="auto"):
    net = nn.Sequential(
        nn.Dense(4, 3, init=lambda shape, rng, dtype: np.full(shape, 0.5, dtype)), nn.Dense(2)
    )
    shift = nn.parameter("shift", (2,))
y = net(np.ones((1, 3), "f")) + shift
"""
    first, second = ({"nn": nn, "np": np} for _ in range(2))
    exec(cell, first)
    before = list(names)
    exec(cell, second)
    assert list(names) == before
    assert first["shift"] is second["shift"]
    pairs = zip(first["net"].parameters(), second["net"].parameters(), strict=True)
    assert all(a is b for a, b in pairs)
    assert first["y"].tolist() == second["y"].tolist()
    with pytest.raises(ScopeError, match=r"net/dense/weight exists already"):
        exec(cell.replace('"auto"', "False"), {"nn": nn, "np": np})


# Names.


def test_names_join_and_number_what_has_none(names):
    with nn.scope("a") as a, nn.scope("b/c") as b:
        nn.Dense(1, 1, bias=False), nn.Dense(1, 1, bias=False), nn.PReLU()
        with nn.scope() as c, nn.scope(default_name="block") as d:
            assert nn.parameter(shape=()).name == "a/b/c/scope/block/parameter"
        with nn.scope() as e:
            pass
        nn.parameter("x/y", (1,))
    assert (a, b, c, d, e) == ("a", "a/b/c", "a/b/c/scope", f"{c}/block", "a/b/c/scope_1")
    assert [name.removeprefix("a/b/c/") for name in names] == [
        *["dense/weight", "dense_1/weight", "prelu/weight", "scope/block/parameter", "x/y"]
    ]


def test_what_has_no_name_is_never_what_was_named(names):
    with nn.scope("net"):
        nn.parameter("dense", ())
        assert nn.Dense(1, 1).weight.name == "net/dense_1/weight"
        for taken in ("dense_1", "dense_1/x"):
            with pytest.raises(ScopeError, match=r"net/dense_1 is "):
                nn.parameter(taken, (), init=init.ones)
        with pytest.raises(ScopeError, match=r"net/dense_1 is what something without a name"):
            nn.scope("dense_1").__enter__()
    with nn.scope("own", reuse="auto"):
        nn.parameter(None, ())
        with pytest.raises(ScopeError, match=r"^own/parameter is what something without a name"):
            nn.parameter("parameter", ())
    with nn.scope("net", reuse="auto"), nn.scope("dense_2"):
        nn.parameter("w", ())
    with nn.scope("net", reuse="auto"):
        assert [nn.Dense(1, 1).weight.name for _ in range(2)] == [
            *["net/dense_1/weight", "net/dense_3/weight"]
        ]
    with nn.scope(default_name="fc") as first:
        nn.parameter("w", ())
    with pytest.raises(ScopeError, match=r"^fc is what something without a name was called"):
        nn.scope(first).__enter__()
    with nn.scope("fc_1"):
        pass
    with nn.scope(default_name="fc") as second:
        assert second == "fc_2"


def test_names_without_one_never_meet(names):
    opened = []
    for base in ("a_1", "a", "a", "a", "a_1", "a_1_1"):
        with nn.scope(default_name=base) as path:
            opened.append(path)
    assert opened == ["a_1", "a", "a_2", "a_3", "a_1_1", "a_1_1_1"]
    with names, nn.scope(default_name="a") as path:
        assert path == "a_4"
    assert [nn.parameter(None, ()).name for _ in range(2)] == ["parameter", "parameter_1"]
    assert list(names) == []


def test_a_generated_path_can_be_demanded(names):
    layer = dense()
    with nn.scope("fc/dense", reuse=True):
        assert nn.parameter("weight") is layer.weight
    assert names["fc/dense/bias"] is layer.bias


@pytest.mark.parametrize(
    "name", ["", "/", "a//b", "/a", "a/", "a b", "-a", "..", "a\n", "a:b", "ä b"]
)
def test_a_name_that_is_none_is_refused(name):
    for call in (nn.scope, functools.partial(nn.parameter, shape=())):
        with pytest.raises(ScopeError, match=r"is no name: letters, digits"):
            call(name)


@pytest.mark.parametrize("name", ["a", "B2", "_x", "0", "a-b.c", "größe", "a/b/c"])
def test_a_name_is_taken_as_it_is(name, names):
    with nn.scope(name) as path:
        assert nn.parameter("w", ()).name == f"{path}/w" == f"{name}/w"
    assert f"{name}/w" in names


def test_arguments_of_other_kinds_are_refused(names):
    for reuse in (1, 0, "AUTO", "", [], np.array([1, 2]), np.bool_(True)):
        with pytest.raises(ScopeError, match=r'reuse is False, True, "auto" or None, got '):
            nn.scope("a", reuse=reuse)
    for name in (1, b"a", ["a"]):
        with pytest.raises(TypeError, match=r"a name is a string or None, got"):
            nn.scope(name)
    for dtype in (int, "bool", "nonsense"):
        with pytest.raises(DTypeError, match=r"dtype is that of parameters"):
            nn.scope("a", dtype=dtype)
        with pytest.raises(DTypeError, match=r"dtype is that of parameters"):
            nn.parameter("a", (), dtype=dtype)
    with pytest.raises(TypeError, match=r"init.normal makes an initialiser: call it"):
        nn.scope("a", init=init.normal)
    with pytest.raises(ScopeError, match=r"default_name is one name, got 'a/b'"):
        nn.scope(default_name="a/b")
    with pytest.raises(ValueError, match=r"a size must be at least 0, got -1"):
        nn.parameter("a", (-1,))
    with pytest.raises(ScopeError, match=r"^a does not exist: to make it, give its shape"):
        nn.parameter("a")
    with pytest.raises(TypeError, match=r"scope: decorates functions, got 3"):
        nn.scope("a")(3)
    assert list(names) == []


def test_a_name_stands_for_one_thing(names):
    nn.parameter("w", (2,))
    with pytest.raises(ScopeError, match=r"^scope w: the name is that of a parameter float32 \(2,"):
        nn.scope("w", reuse="auto").__enter__()
    dense("fc")
    with pytest.raises(ScopeError, match=r"^fc is a scope: choose another name for the parameter"):
        nn.parameter("fc", (2,))
    with nn.scope("norm"):
        nn.BatchNorm1d(2)
    with nn.scope("norm/batchnorm1d", reuse=True), pytest.raises(ScopeError, match="another kind"):
        nn.parameter("running_mean", (2,))


def test_huge_names_are_refused_before_anything_is_made(names):
    with pytest.raises(ScopeError, match=r"a path has at most 10000 characters: a/a/a"):
        nn.scope("/".join("a" * 100_000)).__enter__()
    with pytest.raises(ScopeError, match=r"at most 10000 characters"):
        nn.parameter("a" * 100_000, ())
    with nn.scope("a_" + "9" * 5000):
        nn.parameter("w", ())
    with nn.scope(default_name="a") as path:
        assert path == "a"
    deep = "/".join("b" * 5000)
    with nn.scope(deep[:9000].rstrip("/")):
        nn.parameter("w", ())
    assert len(names) == 2


# What scopes hand down.


def test_init_and_dtype_are_handed_down(names):
    with nn.scope("a", init=init.constant(2.0), dtype="float64"):
        layer = nn.Dense(2, 3)
        assert layer.weight.numpy().tolist() == [[2.0] * 3] * 2
        assert layer.bias.numpy().tolist() == [0.0, 0.0]
        assert {p.dtype for p in layer.parameters()} == {np.dtype("float64")}
        assert nn.parameter("v", (2,)).tolist() == [2.0, 2.0]
        assert nn.LSTM(2, 2).bias_ih_l0.dtype == "float64"
        norm = nn.BatchNorm1d(2)
        assert [b.dtype for b in (norm.weight, norm.running_mean)] == ["float64"] * 2
        assert norm.num_batches_tracked.dtype == "int64"
        table = nn.Embedding(3, 2, padding_idx=1).weight
        assert table.tolist() == [[2.0, 2.0], [0.0, 0.0], [2.0, 2.0]]
        with nn.scope("b", init=init.ones):
            inner = nn.Dense(1, 1, init=init.zeros), nn.Dense(1, 1), nn.Dense(1, 1, dtype="f4")
            assert [d.weight.item() for d in inner] == [0.0, 1.0, 1.0]
            assert [d.weight.dtype for d in inner] == ["float64", "float64", "float32"]
    assert nn.parameter("w", (2, 2)).dtype == "float32"
    assert nn.parameter("b", (2,)).tolist() == [0.0, 0.0]
    with nn.scope("a", reuse=True, init=init.ones), pytest.raises(ScopeError, match="initialiser"):
        nn.Dense(2, 3)
    with nn.scope("a", reuse=True, dtype="float32"), pytest.raises(ScopeError, match="dtype"):
        nn.Dense(2, 3)


def test_reuse_is_handed_down_and_overridden(names):
    with nn.scope("a", reuse="auto"):
        with nn.scope("b"):
            assert nn.parameter("w", ()) is nn.parameter("w", ())
        with nn.scope("b", reuse=False), pytest.raises(ScopeError, match="exists already"):
            nn.parameter("w", ())
    with nn.scope("a", reuse=True), nn.scope("b"), nn.Root():
        nn.parameter("v", ())  # another root begins anew
        with pytest.raises(ScopeError, match=r"^v exists already"):
            nn.parameter("v", ())
