"""Matrix products and linear layers against NumPy; gradients by their linearity."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import tape
from tape.errors import ShapeError
from tape.ops.linalg import outer_sum
from tape.testing import LAYOUTS, TOLERANCES, assert_close, gradcheck

DTYPES = ["float64", "float32", "int64", "uint8", "bool"]
SEEDS = st.integers(0, 2**16)
PRODUCTS = npst.mutually_broadcastable_shapes(
    signature="(m?,n),(n,p?)->(m?,p?)", max_dims=2, min_side=0, max_side=4
)


def whole_numbers(shape, dtype, seed):
    """Small whole numbers: sums of their products are exact in every dtype and order."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(dtype)


def laid_out(data, array):
    """The array in some layout of memory."""
    return LAYOUTS[data.draw(st.sampled_from(sorted(LAYOUTS)))](array)


def check_bilinear(function, a, b):
    """The gradients of a bilinear function: <g, f(da, b)> = <grad_a, da>, and so for b."""
    ts = [tape.tensor(x, requires_grad=True) for x in (a, b)]
    y = function(*ts)
    g = whole_numbers(y.shape, "float64", 1)
    for t, moved in zip(ts, [(a + 1, b), (a, b + 1)], strict=True):
        found = tape.grad(y, t, g=g).numpy()
        dy = function(*moved).numpy() - y.numpy()
        assert found.shape == t.shape
        assert found.sum() == (g * dy).sum()


# -- matmul ---------------------------------------------------------------------------------------


@given(PRODUCTS, st.sampled_from(DTYPES), st.sampled_from(DTYPES), st.data())
def test_matmul_is_numpys_for_vectors_matrices_and_stacks(found, dtype_a, dtype_b, data):
    a_shape, b_shape = found.input_shapes
    a = laid_out(data, whole_numbers(a_shape, dtype_a, 0))
    b = laid_out(data, whole_numbers(b_shape, dtype_b, 1))
    expected = np.asarray(np.matmul(a, b))
    y = tape.tensor(a) @ tape.asarray(b)
    assert y.dtype == expected.dtype
    np.testing.assert_array_equal(y.numpy(), expected)


@given(PRODUCTS, SEEDS)
def test_gradients_of_matmul(found, seed):
    a, b = [whole_numbers(shape, "float64", seed + i) for i, shape in enumerate(found.input_shapes)]
    check_bilinear(tape.matmul, a, b)


@given(PRODUCTS, SEEDS)
def test_matmul_differentiates_forward_and_twice(found, seed):
    a, b = [whole_numbers(shape, "float64", seed + i) for i, shape in enumerate(found.input_shapes)]
    gradcheck(tape.matmul, [a, b], order=2)


@given(st.integers(1, 70), st.integers(0, 70), st.integers(1, 70), st.booleans(), SEEDS)
def test_recycled_memory_full_of_nan_shows_in_no_product(m, k, n, single, seed):
    dtype = "float32" if single else "float64"
    a, b = whole_numbers((m, k), dtype, seed), whole_numbers((n, k), dtype, seed + 1)
    bias = whole_numbers(n, dtype, seed + 2)
    poisoned = [np.full((m, n), np.nan, dtype) for _ in range(4)]
    del poisoned  # their memory is what the next results get
    y = tape.matmul(a, b.T)
    np.testing.assert_array_equal(y.numpy(), a.astype("int64") @ b.T.astype("int64"))
    np.testing.assert_array_equal(tape.linear(a, b, bias).numpy(), y.numpy() + bias)
    np.testing.assert_array_equal(outer_sum(a.T, b.T).numpy(), y.numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_products_over_nothing_are_zero(dtype):
    y = tape.matmul(np.ones((2, 3, 0), dtype), np.ones((0, 4), dtype))
    np.testing.assert_array_equal(y.numpy(), np.zeros((2, 3, 4), dtype), strict=True)
    y = tape.linear(np.ones((3, 0), dtype), np.ones((2, 0), dtype), np.ones(2, dtype))
    np.testing.assert_array_equal(y.numpy(), np.ones((3, 2), dtype), strict=True)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 4, 5), (1, 9, 7), (17, 33, 1), (40, 40, 40)])
def test_nan_and_zero_times_inf_pass_through_products(value, sizes):
    m, k, n = sizes
    a, b = np.zeros((m, k), np.float32), np.zeros((k, n), np.float32)
    b[k // 2, n // 2] = value
    expected = np.zeros((m, n), np.float32)
    expected[:, n // 2] = np.nan
    np.testing.assert_array_equal(tape.matmul(a, b).numpy(), expected)
    np.testing.assert_array_equal(tape.linear(a, b.T.copy()).numpy(), expected)
    np.testing.assert_array_equal(outer_sum(a.T, b).numpy(), expected)


def test_matmul_names_both_shapes():
    a, b = tape.tensor(np.ones((2, 3, 4))), tape.tensor(np.ones((2, 5, 4)))
    with pytest.raises(ShapeError, match=r"matmul: inner .*\(2, 3, 4\) @ \(2, 5, 4\) \(4 and 5\)"):
        a @ b


# -- linear ---------------------------------------------------------------------------------------

LINEAR = npst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)


@given(LINEAR, st.integers(0, 4), st.booleans(), st.sampled_from(DTYPES[:3]), st.data())
def test_linear_is_x_times_the_transposed_weight_plus_bias(shape, n_out, biased, dtype, data):
    x = laid_out(data, whole_numbers(shape, dtype, 0))
    w = laid_out(data, whole_numbers((n_out, shape[-1]), dtype, 1))
    b = laid_out(data, whole_numbers(n_out, dtype, 2)) if biased else None
    y = tape.linear(tape.asarray(x), tape.asarray(w), b)
    expected = x @ w.T + (b if biased else np.zeros((), dtype))
    assert y.dtype == expected.dtype
    np.testing.assert_array_equal(y.numpy(), expected)


@given(LINEAR, st.integers(0, 4), SEEDS)
def test_gradients_of_linear(shape, n_out, seed):
    x, w = whole_numbers(shape, "float64", seed), whole_numbers((n_out, shape[-1]), "float64", seed)
    b = whole_numbers(n_out, "float64", seed)
    check_bilinear(tape.linear, x, w)
    t = tape.tensor(b, requires_grad=True)
    y = tape.linear(x, w, t)
    g = whole_numbers(y.shape, "float64", 1)
    expected = g.reshape(-1, n_out).sum(0) if n_out else np.zeros(0)
    np.testing.assert_array_equal(tape.grad(y, t, g=g).numpy(), expected, strict=True)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 2, 3)])
@pytest.mark.parametrize("biased", [True, False])
def test_linear_differentiates_forward_and_twice(shape, biased):
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=shape), rng.normal(size=(4, 3)), rng.normal(size=4)]
    gradcheck(tape.linear, inputs if biased else inputs[:2], order=2)


def test_linear_is_one_node():
    x, w, b = [tape.tensor(np.ones(s), requires_grad=True) for s in [(5, 3), (2, 3), (2,)]]
    with tape.Tape() as t:
        kept = tape.linear(x, w, b), tape.linear(x, w)
        assert (t.evaluations, len(kept)) == (2, 2)


def test_linear_takes_the_wider_dtype_of_its_operands():
    x, w, b = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32), np.ones(4)
    assert tape.linear(x, w, b).dtype == np.float64
    assert tape.linear(x, w, b.astype("float32")).dtype == np.float32
    t = tape.tensor(x, requires_grad=True)
    assert tape.grad(tape.linear(t, w, b).sum(), t).dtype == np.float32


@pytest.mark.parametrize("n_rows", [2, 3000])
def test_linear_in_float32_is_as_close_as_numpy(n_rows):
    rng = np.random.default_rng(0)
    x, w, b = [rng.normal(size=s).astype("float32") for s in [(n_rows, 64), (16, 64), (16,)]]
    exact = x.astype(float) @ w.T.astype(float) + b
    assert_close(tape.linear(x, w, b), exact, TOLERANCES["float32"].rounding)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(8, 5), (3, 4), (3,)], r"x \(8, 5\) has 5 features, w \(3, 4\) takes 4"),
        ([(8, 4), (3, 4), (4,)], r"b \(4,\) does not fit the 3 rows of w \(3, 4\)"),
        ([(8, 4), (4,), (4,)], r"got x \(8, 4\) and w \(4,\)"),
        ([(), (3, 4), (3,)], r"got x \(\) and w \(3, 4\)"),
    ],
)
def test_linear_names_the_shapes_that_do_not_fit(shapes, message):
    before = tape.live_nodes()
    with pytest.raises(ShapeError, match=message):
        tape.linear(*[np.ones(shape) for shape in shapes])
    assert tape.live_nodes() == before


# -- outer products -------------------------------------------------------------------------------


@given(st.integers(0, 4), st.integers(0, 4), st.sampled_from(DTYPES), SEEDS)
def test_outer_is_numpys(m, n, dtype, seed):
    a, b = whole_numbers(m, dtype, seed), whole_numbers(n, dtype, seed + 1)
    y = tape.outer(a, b)
    np.testing.assert_array_equal(y.numpy(), np.outer(a, b), strict=True)


def test_outer_flattens_as_numpy_does():
    a, b = np.arange(6.0).reshape(2, 3), np.arange(4.0).reshape(2, 2)
    np.testing.assert_array_equal(tape.outer(a, b).numpy(), np.outer(a, b))
    gradcheck(tape.outer, [a, b])


@given(npst.array_shapes(min_dims=0, max_dims=3, min_side=0), st.integers(0, 3), SEEDS)
def test_outer_sum_adds_the_outer_products_of_all_rows(lead, m, seed):
    a = whole_numbers((*lead, m), "float64", seed)
    b = whole_numbers((*lead, 2), "float64", seed + 1)
    expected = np.einsum("ri,rj->ij", a.reshape(math.prod(lead), m), b.reshape(math.prod(lead), 2))
    np.testing.assert_array_equal(outer_sum(a, b).numpy(), expected)
    back = np.asfortranarray(a[..., ::-1])
    np.testing.assert_array_equal(outer_sum(back, b).numpy(), expected[::-1])
