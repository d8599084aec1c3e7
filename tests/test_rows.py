"""Loops over the rows of a matrix (tape._kernels.rows) against NumPy in extended precision."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import dtypes, generators, laid_out, layouts

import tape
from tape._kernels.rows import (
    cross_entropy_rows,
    cross_entropy_rows_grad,
    log_softmax,
    logsumexp,
    softmax,
)
from tape.ops.channels import channel_affine, channel_moments, channel_sums
from tape.ops.norm import standardize, standardize_affine, standardize_slope, standardize_sums
from tape.ops.softmax import log_softmax_grad, shared_out, softmax_grad

pytestmark = pytest.mark.usefixtures("every_isa")

INF, NAN = np.inf, np.nan
EXTENDED = np.longdouble
# Around the lanes of a reduction (8, 32) and the group of rows that share one call of exp (512).
columns = st.sampled_from([0, 1, 2, 3, 7, 8, 9, 10, 31, 32, 33, 65, 511, 513, 1100])
rows = st.sampled_from([1, 2, 5, 0, 60])


def matrices(rng, m, n, dtype, spread=6.0):
    return rng.normal(scale=spread, size=(m, n)).astype(dtype)


def log_softmax_reference(x):
    """log_softmax in extended precision."""
    x = x.astype(EXTENDED)
    if x.shape[1] == 0:
        return x
    shifted = x - x.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def normalised(x, eps=0.1):
    """Every row with mean 0 and variance 1."""
    return standardize(x, axis=-1, eps=eps).numpy()


def close(y, expected, dtype, units=8, at_least=0.0):
    """Equal to a few units in the last place of the expected values."""
    assert y.dtype == dtype
    assert y.shape == expected.shape
    error = np.abs(y.astype(EXTENDED) - expected)
    allowed = units * np.finfo(dtype).eps * np.maximum(np.abs(expected), at_least)
    return np.all(error <= allowed + np.finfo(dtype).tiny)


@given(rows, columns, dtypes, layouts, generators)
def test_softmax_is_right_to_a_few_units(m, n, dtype, layout, rng):
    x = matrices(rng, m, n, dtype)
    expected = np.exp(log_softmax_reference(x))
    # The shift rounds each exponent once, and exp makes a relative error of it.
    assert close(softmax(laid_out(x, layout)), expected, dtype, units=32)


@given(rows, columns, dtypes, layouts, generators)
def test_log_softmax_is_right_to_a_few_units(m, n, dtype, layout, rng):
    x = matrices(rng, m, n, dtype)
    expected = log_softmax_reference(x)
    assert close(log_softmax(laid_out(x, layout)), expected, dtype, units=16, at_least=1)


@given(rows, columns.filter(bool), dtypes, layouts, generators)
def test_logsumexp_is_right_to_a_few_units(m, n, dtype, layout, rng):
    x = matrices(rng, m, n, dtype)
    expected = x[:, 0] - log_softmax_reference(x)[:, 0]
    assert close(logsumexp(laid_out(x, layout)), expected, dtype, at_least=1)


@given(rows, columns.filter(bool), dtypes, layouts, layouts, generators)
def test_cross_entropy_is_minus_log_softmax_at_the_label(m, n, dtype, layout, other, rng):
    x, labels = matrices(rng, m, n, dtype), rng.integers(0, n, m)
    loss = cross_entropy_rows(laid_out(x, layout), laid_out(labels, other))
    expected = -log_softmax_reference(x)[np.arange(m), labels]
    assert close(loss, expected, dtype, at_least=1)


@given(rows, columns.filter(bool), dtypes, layouts, layouts, generators)
def test_cross_entropy_gradient_is_softmax_minus_onehot(m, n, dtype, layout, other, rng):
    x, labels = matrices(rng, m, n, dtype), rng.integers(0, n, m)
    scale = rng.normal(size=m).astype(dtype)
    grad = cross_entropy_rows_grad(
        laid_out(x, layout), laid_out(labels, other), laid_out(scale, layout)
    )
    expected = np.exp(log_softmax_reference(x))
    expected[np.arange(m), labels] = 0
    expected[np.arange(m), labels] = -expected.sum(axis=1)
    exact = 0.1 if dtype is np.float64 else 1e-9  # 1 - softmax is taken in float64
    assert close(grad / scale[:, None], expected, dtype, units=64, at_least=exact)


def test_the_gradient_of_a_sure_answer_keeps_its_digits():
    x = np.array([[20.0, 0.0, 0.0]], np.float32)
    grad = cross_entropy_rows_grad(x, np.array([0]), np.ones(1, np.float32))
    # softmax - 1 in float32 would be exactly 0 here.
    np.testing.assert_allclose(grad, [[-2 * np.exp(-20), np.exp(-20), np.exp(-20)]], rtol=1e-6)


@given(columns, dtypes, generators, st.integers(2, 9))
def test_a_row_has_the_same_bits_wherever_it_stands(n, dtype, rng, m):
    x = matrices(rng, m, n, dtype)
    x[:, : n // 2] = np.round(x[:, : n // 2])
    for op in (softmax, log_softmax, logsumexp, normalised):
        alone = np.concatenate([op(row[None]) for row in x])
        assert op(x).tobytes() == alone.tobytes()


@given(dtypes, generators)
def test_many_rows_agree_with_few(dtype, rng):
    x = matrices(rng, 700, 90, dtype)  # enough to release the GIL
    assert close(log_softmax(x), log_softmax_reference(x), dtype, at_least=1)
    np.testing.assert_array_equal(softmax(x)[650:], softmax(x[650:]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [3, 40])  # within and beyond the lanes
@pytest.mark.parametrize(
    ("values", "prob", "logprob", "total"),
    [
        ([-INF, -INF, -INF], [NAN, NAN, NAN], [NAN, NAN, NAN], -INF),
        ([INF, 1.0, 2.0], [NAN, NAN, NAN], [NAN, NAN, NAN], INF),
        ([NAN, 1.0, 2.0], [NAN, NAN, NAN], [NAN, NAN, NAN], NAN),
        ([0.0, -INF, 0.0], [0.5, 0.0, 0.5], [-np.log(2), -INF, -np.log(2)], np.log(2)),
        ([1e30, -1e30, 0.0], [1.0, 0.0, 0.0], [0.0, -2e30, -1e30], 1e30),
        ([-1e4, -1e4, -INF], [0.5, 0.5, 0.0], [-np.log(2), -np.log(2), -INF], np.log(2) - 1e4),
    ],
)
def test_infinities_and_nan_spread_as_in_pytorch(values, prob, logprob, total, n, dtype):
    def widen(values, filler):
        """More columns; where the result is finite, columns that weigh nothing."""
        return np.array([values + [filler] * (n - 3)], dtype)

    undefined = bool(np.isnan(prob[0]))
    x = widen(values, -INF)
    np.testing.assert_allclose(softmax(x), widen(prob, NAN if undefined else 0.0), rtol=1e-6)
    expected = widen(logprob, NAN if undefined else -INF)
    np.testing.assert_allclose(log_softmax(x), expected, rtol=1e-6)
    np.testing.assert_allclose(logsumexp(x), np.array([total], dtype), rtol=1e-6)
    loss = cross_entropy_rows(np.repeat(x, 3, axis=0), np.arange(3))
    np.testing.assert_allclose(loss, -expected[0, :3], rtol=1e-6)


def test_rows_of_no_numbers():
    x = np.zeros((3, 0), np.float32)
    assert softmax(x).shape == log_softmax(x).shape == (3, 0)
    np.testing.assert_array_equal(logsumexp(x), np.full(3, -INF, np.float32))
    assert normalised(x).shape == (3, 0)


# Normalisation


@given(rows, columns.filter(bool), dtypes, layouts, generators, st.sampled_from([0.0, 1e3, -1e6]))
def test_layer_norm_is_right_also_far_from_zero(m, n, dtype, layout, rng, offset):
    x = (matrices(rng, m, n, np.float64) + offset).astype(dtype)
    eps = 1e-3
    xhat = normalised(laid_out(x, layout), eps)
    wide = x.astype(EXTENDED)
    centred = wide - wide.mean(axis=1, keepdims=True)
    rstd = 1 / np.sqrt((centred**2).mean(axis=1) + EXTENDED(eps))
    # x - mean is off by the rounding of the mean in float64: so much, in deviations.
    lost = np.abs(x).max(axis=1) * np.finfo(np.float64).eps * rstd
    units = 8 + 8 * lost / np.finfo(dtype).eps
    assert close(xhat, centred * rstd[:, None], dtype, units[:, None], at_least=1)


def test_layer_norm_of_equal_numbers_is_zero():
    xhat = normalised(np.full((2, 9), 0.1, np.float32), 1e-5)
    np.testing.assert_allclose(xhat, np.zeros((2, 9)), atol=1e-5)


def test_layer_norm_of_a_row_with_nan_leaves_other_rows_alone():
    x = np.arange(8.0).reshape(2, 4)
    x[0, 1] = NAN
    xhat = normalised(x, 1e-5)
    assert np.isnan(xhat[0]).all()
    assert np.isfinite(xhat[1]).all()


def affine_and_gradients(x, g):
    """layer_norm, batch_norm, softmax, cross_entropy of a matrix, and all their gradients."""
    n = x.shape[-1]
    w, b = np.linspace(1, 2, n, dtype=x.dtype), np.linspace(-1, 1, n, dtype=x.dtype)
    labels = np.arange(len(x)) % n
    results = []
    for f in (
        tape.layer_norm,
        tape.batch_norm,
        lambda x, w, b: tape.softmax(x) * w + b,
        lambda x, w, b: tape.log_softmax(x) * w + b,
        lambda x, w, b: (
            (tape.logsumexp(x, 1) + tape.cross_entropy(x, labels, reduction="none")) * g[:, 0]
        ),
    ):
        leaves = [tape.tensor(v, requires_grad=True) for v in (x, w, b)]
        y = f(*leaves)
        used = leaves if y.ndim == 2 else leaves[:1]
        grads = tape.grad(y, used, g=g if y.ndim == 2 else g[:, 0].copy())
        results += [np.array(y), *map(np.array, grads)]
    return results


def test_no_bit_depends_on_the_number_of_threads():
    rng, before = np.random.default_rng(0), tape.get_num_threads()
    x, g = (rng.standard_normal((301, 333)).astype("float32") for _ in range(2))
    try:
        tape.set_num_threads(1)
        alone = affine_and_gradients(x, g)
        for threads in (2, np.int64(3)):
            tape.set_num_threads(threads)
            for a, b in zip(alone, affine_and_gradients(x, g), strict=True):
                np.testing.assert_array_equal(a, b)
    finally:
        tape.set_num_threads(before)


@given(dtypes, generators, layouts)
def test_no_bit_depends_on_how_operands_lie_in_memory(dtype, rng, layout):
    x, g = rng.standard_normal((2, 5, 3, 37)).astype(dtype)
    row, channel, total = (rng.standard_normal(s).astype(dtype) for s in (37, 3, (5, 3)))
    calls = [
        (lambda *a: standardize_affine(*a, axis=-1, eps=1e-5), (x, row, row)),
        (lambda *a: standardize_slope(*a, axis=-1, eps=1e-5), (g, x, row)),
        (lambda *a: standardize_sums(*a, axis=-1, eps=1e-5), (g, x)),
        (lambda *a: softmax_grad(*a, axis=-1), (g, x)),
        (lambda *a: log_softmax_grad(*a, axis=-1), (g, x)),
        (lambda *a: shared_out(*a, axis=-1, keepdims=False), (total, x, total)),
        (channel_moments, (x,)),
        (channel_sums, (g, x, channel)),
        (channel_affine, (x, channel, channel, channel)),
    ]
    for call, operands in calls:
        y = call(*[laid_out(a, layout) for a in operands]).numpy()
        np.testing.assert_array_equal(y, call(*operands).numpy())


@pytest.mark.parametrize("shape", [(5, 3), (70, 131), (4, 3, 5), (3, 2, 9, 31), (1, 2, 700)])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_batch_statistics_are_right_also_far_from_zero(shape, offset):
    x = (np.random.default_rng(0).standard_normal(shape) + offset).astype("float32")
    wide, axes = x.astype(EXTENDED), (0, *range(2, x.ndim))
    moments = np.array(tape.ops.channels.channel_moments(x))
    assert close(moments[0], wide.mean(axes), np.float32, units=2, at_least=1)
    assert close(moments[1], wide.var(axes), np.float32, units=4)


@given(rows.filter(bool), columns.filter(bool), dtypes, generators)
def test_layer_norm_and_its_gradients_agree_with_the_formula(m, n, dtype, rng):
    x, g = (matrices(rng, m, n, dtype, spread=2.0) for _ in range(2))
    w, b = (matrices(rng, 1, n, dtype, spread=1.0)[0] for _ in range(2))
    leaves = [tape.tensor(v, requires_grad=True) for v in (x, w, b)]
    y = tape.layer_norm(*leaves, eps=0.1)
    x, g, w, b = (v.astype(EXTENDED) for v in (x, g, w, b))
    centred = x - x.mean(1, keepdims=True)
    rstd = 1 / np.sqrt((centred**2).mean(1, keepdims=True) + EXTENDED(0.1))
    xhat, d = centred * rstd, g * w
    dx = rstd * (d - d.mean(1, keepdims=True) - xhat * (d * xhat).mean(1, keepdims=True))
    found = [y, *tape.grad(y, leaves, g=g.astype(dtype))]
    size = 4 * np.sqrt(m)  # of the sums over rows
    for a, truth in zip(found, [xhat * w + b, dx, (g * xhat).sum(0), g.sum(0)], strict=True):
        assert close(np.array(a), truth, dtype, units=64, at_least=size)


# Bad calls

X = np.zeros((2, 3), np.float32)
LABELS = np.array([0, 2])
SCALE = np.ones(2, np.float32)


@pytest.mark.parametrize("label", [3, -1, 2**31, -(2**31), 2**63 - 1, -(2**63)])
def test_a_label_out_of_range_is_named_with_its_row(label):
    labels = np.array([0, label])
    message = f"cross_entropy_rows: label {label} in row 1 is outside of 3 classes"
    with pytest.raises(ValueError, match=f"^{message}$"):
        cross_entropy_rows(X, labels)
    with pytest.raises(ValueError, match=message.replace("rows", "rows_grad")):
        cross_entropy_rows_grad(X, labels, SCALE)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: softmax([[1.0]]), TypeError, "softmax: x is a list, expected a NumPy array"),
        (lambda: softmax(LABELS), TypeError, "softmax: x is int64, expected float32 or float64"),
        (lambda: logsumexp(X[0]), ValueError, "logsumexp: x has shape (3,), expected 2 axes"),
        (lambda: log_softmax(X[None]), ValueError, "log_softmax: x has shape (1, 2, 3), expected"),
        (
            lambda: cross_entropy_rows(X, LABELS.astype(np.int32)),
            TypeError,
            "cross_entropy_rows: labels is not an array of int64",
        ),
        (
            lambda: cross_entropy_rows(X, [0, 1]),
            TypeError,
            "cross_entropy_rows: labels is not an array of int64",
        ),
        (
            lambda: cross_entropy_rows(X, LABELS[:1]),
            ValueError,
            "cross_entropy_rows: labels has shape (1,), expected (2,), one a row",
        ),
        (
            lambda: cross_entropy_rows(X, LABELS[:, None]),
            ValueError,
            "cross_entropy_rows: labels has shape (2, 1), expected (2,), one a row",
        ),
        (
            lambda: cross_entropy_rows(X[:, :0], LABELS),
            ValueError,
            "cross_entropy_rows: label 0 in row 0 is outside of 0 classes",
        ),
        (
            lambda: cross_entropy_rows_grad(X, LABELS, SCALE.astype(float)),
            ValueError,
            "scale is float64 of shape (2,), expected float32 of (2,), one a row",
        ),
        (
            lambda: cross_entropy_rows_grad(X, LABELS, SCALE[:1]),
            ValueError,
            "scale is float32 of shape (1,), expected float32 of (2,), one a row",
        ),
    ],
)
def test_operands_that_do_not_fit_are_refused_with_their_numbers(call, kind, message):
    with pytest.raises(kind) as error:
        call()
    assert message in str(error.value)
