"""Sparse dense layers: products with few numbers, on every instruction set, and layers lowered."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isas import ISAS, beside_a_guard
from pruning_nets import close, normal
from trees import values

import tape
from tape import nn
from tape._kernels import table
from tape._kernels.sparse_rows import SparseRows
from tape.errors import GradError, ShapeError, TapeError
from tape.netopt.measure import Comparison
from tape.netopt.sparsification import SparseDense, lower_masks, lowering, prune_magnitude


def rows_of(w):
    at, places = np.nonzero(w)
    starts = np.searchsorted(at, np.arange(len(w) + 1))
    return SparseRows(starts.astype(np.int32), places.astype(np.int32), w[at, places], w.shape[1])


@settings(max_examples=60)
@given(
    st.integers(0, 40), st.integers(0, 70), st.integers(0, 140), st.floats(0, 1),
    st.sampled_from(["float32", "float64"]), st.booleans(), st.integers(0, 9),
)  # fmt: skip
def test_a_product_with_few_numbers_is_that_of_the_matrix(n, k, m, share, dtype, biased, seed):
    rng = np.random.default_rng(seed)
    w = (rng.standard_normal((n, k)) * (rng.random((n, k)) < share)).astype(dtype)
    x, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal(n).astype(dtype)
    expected = x.astype("float64") @ w.T.astype("float64") + (b if biased else 0)
    used, threads = table.used(), tape.get_num_threads()
    results = []
    try:
        for isa, count in itertools.product(ISAS, (1, 2)):
            table.use(isa)
            tape.set_num_threads(count)
            results.append((isa, rows_of(w).product(x, b if biased else None)))
    finally:
        table.use(used)
        tape.set_num_threads(threads)
    for _, y in results:
        assert y.shape == (m, n)
        assert y.dtype == dtype
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 if dtype == "float32" else 1e-12)
    for (_, one), (_, two) in zip(results[::2], results[1::2], strict=True):
        np.testing.assert_array_equal(one, two)


def test_threads_do_not_change_a_bit():
    w = np.random.default_rng(0).standard_normal((700, 600)).astype("f")
    w[np.random.default_rng(1).random(w.shape) < 0.7] = 0
    rows, threads = rows_of(w), tape.get_num_threads()
    for m in (1, 2, 70, 1000):
        x, found = normal(m, 600).numpy(), []
        try:
            for count in (1, 2, 3):
                tape.set_num_threads(count)
                found.append(rows.product(x))
        finally:
            tape.set_num_threads(threads)
        assert all((y == found[0]).all() for y in found)


INTS, TWO = np.int32, np.ones(2, "f")


@pytest.mark.parametrize(
    ("starts", "places", "values", "error", "match"),
    [
        ([0, 1, 1], [0, 1], TWO, ValueError, "do not rise from 0 to the 2 values"),
        ([0, 2, 1, 2], [0, 1], TWO, ValueError, "do not rise"),
        ([1, 2], [0, 1], TWO, ValueError, "do not rise"),
        ([0, 2**31 - 1, -(2**31), 2], [0, 1], TWO, ValueError, "do not rise"),
        ([0, 1], [0, 1], TWO, ValueError, "do not rise"),
        ([0, 2], [0, 3], TWO, ValueError, "outside of 3 columns"),
        ([0, 2], [-1, 0], TWO, ValueError, "outside of 3 columns"),
        ([0, 2], [0], TWO, ValueError, "2 values at 1 places"),
        ([], [0, 1], TWO, ValueError, "2 values at 2 places"),
        ([0, 2], [0, 1], np.ones(2, int), TypeError, "expected floats"),
        ([0, 2], [0.0, 1.0], TWO, TypeError, "expected int32"),
    ],
)
def test_what_is_no_matrix_is_refused(starts, places, values, error, match):
    places = np.array(places, INTS if all(isinstance(p, int) for p in places) else None)
    with pytest.raises(error, match=match):
        SparseRows(np.array(starts, INTS), places, values, 3)


def test_operands_that_do_not_fit_are_refused():
    rows = rows_of(np.eye(3, dtype="f"))
    for x, bias, error in [
        (np.ones((2, 4), "f"), None, ValueError),
        (np.ones(3, "f"), None, ValueError),
        (np.ones((2, 3)), None, TypeError),
        (np.ones((2, 3), "f"), np.ones(2, "f"), ValueError),
        (np.ones((2, 3), "f"), np.ones(3), TypeError),
    ]:
        with pytest.raises(error, match="SparseRows: "):
            rows.product(x, bias)
    strided = np.ones((6, 4), "f")[::2, :3]
    np.testing.assert_array_equal(rows.product(strided), strided)


def always(monkeypatch, ratio):
    made = Comparison(1e-3, ratio * 1e-3, ratio, ratio)
    monkeypatch.setattr(lowering, "compare", lambda *args: made)


def sparse_net():
    net = nn.Sequential(
        nn.Conv2d(4, 3, n_in=2),
        nn.Flatten(),
        nn.Dense(20, 64, tape.relu),
        nn.Dense(3, 20, bias=False),
    )
    return prune_magnitude(net, 0.8).eval()


def test_dense_layers_become_sparse_where_they_are_faster(monkeypatch):
    net, x = sparse_net(), normal(5, 2, 6, 6)
    always(monkeypatch, 0.5)
    low, report = lower_masks(net, x, return_report=True)
    assert [type(m).__name__ for m in low] == ["Conv2d", "Flatten", "SparseDense", "SparseDense"]
    close(low(x), net(x))
    assert report.lowered_error <= 1e-5
    assert report["2"].action == "80.0 % zeros left out"
    assert report["0"].action.endswith("zeros, no faster")
    assert report["2"].bytes[1] < report["2"].bytes[0]
    with pytest.raises(GradError, match="SparseDense is lowered"):
        low(tape.tensor(x.numpy(), requires_grad=True)).sum().backward()
    always(monkeypatch, 0.99)
    low = lower_masks(net, x)
    assert not any(isinstance(m, SparseDense) for m in low)
    assert not any(isinstance(m, SparseDense) for m in lower_masks(net))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sparse_layer_gives_the_dtype_that_the_masked_one_does(monkeypatch, dtype):
    net = prune_magnitude(nn.Sequential(nn.Dense(6, 5, dtype=dtype)), 0.5).eval()
    always(monkeypatch, 0.5)
    low = lower_masks(net, normal(2, 5).astype(dtype))
    for x in (normal(3, 5), normal(3, 5).astype("float64"), normal(3, 5)):
        assert low(x).dtype == net(x).dtype
        close(low(x), net(x))


def test_a_large_layer_of_many_zeros_is_measured_to_be_faster():
    net = prune_magnitude(nn.Sequential(nn.Dense(1024, 1024), nn.Dense(10, 1024)), 0.97).eval()
    low, report = lower_masks(net, normal(1, 1024), return_report=True)
    assert type(low[0]) is SparseDense
    assert report.speedup > 1.5


def test_layers_that_share_a_weight_stay_plain_and_tied(monkeypatch):
    a, b = nn.Dense(6, 6), nn.Dense(6, 6)
    b.weight = a.weight
    net = prune_magnitude(nn.Sequential(a, b), 0.5).eval()
    always(monkeypatch, 0.1)
    low = lower_masks(net, normal(2, 6))
    assert low[0].weight is low[1].weight


def test_a_sparse_layer_is_saved_loaded_and_follows_its_buffers(monkeypatch, tmp_path):
    net, x = sparse_net(), normal(5, 2, 6, 6)
    always(monkeypatch, 0.5)
    low = lower_masks(net, x)
    tape.save(tmp_path / "net.safetensors", low)
    other = lower_masks(sparse_net(), x)
    other(x)
    tape.load(tmp_path / "net.safetensors", other)
    assert values(other) == values(low)
    np.testing.assert_array_equal(other(x), low(x))
    np.testing.assert_array_equal(low.clone()(x), low(x))


def test_buffers_that_are_no_matrix_are_an_error():
    layer = SparseDense(2, 3, 1, bias=False).fill(np.float32([[0, 0, 2], [0, 0, 0]]))
    state = layer.state_dict()
    layer.load_state_dict({**state, "places": np.int32([7])})
    with pytest.raises(TapeError, match=r"its buffers are no matrix: .* outside of 3 columns"):
        layer(tape.ones((1, 3)))
    layer.load_state_dict(state)
    assert layer(tape.ones((1, 3))).tolist() == [[2.0, 0.0]]
    with pytest.raises(ShapeError, match=r"x \(1, 4\) has not 3 features"):
        layer(tape.ones((1, 4)))
    assert layer(tape.ones(3)).shape == (2,)
    assert layer(tape.ones((2, 0, 3))).shape == (2, 0, 2)
    with pytest.raises(TapeError, match="values"):
        layer.fill(np.ones((2, 3), "f"))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("m", [1, 3, 16, 37, 65])
def test_nothing_is_read_beyond_operands(isa, m):
    w = np.random.default_rng(0).standard_normal((19, 23)).astype("f")
    x, b, used = beside_a_guard(normal(m, 23).numpy()), beside_a_guard(w[:, 0]), table.used()
    try:
        table.use(isa)
        y = rows_of(w).product(x, b)
    finally:
        table.use(used)
    np.testing.assert_allclose(y, x @ w.T + w[:, 0], atol=1e-4)
