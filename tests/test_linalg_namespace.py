"""tape.linalg: what the results are to each other and to x, errors, and gradients with a story."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import tape
from tape import linalg
from tape.testing import gradcheck

CLOSE = {"float32": 2e-4, "float64": 1e-10}
STACKS = [(), (2,), (0,), (2, 1, 3)]


def symmetric(x):
    return (x + linalg.matrix_transpose(x)) * 0.5


def definite(x):
    return x @ linalg.matrix_transpose(x) + np.eye(x.shape[-2], dtype=x.dtype)


@st.composite
def stacks(draw, square=False, tall=False):
    """Stacked matrices of standard normal numbers."""
    dtype = draw(st.sampled_from(["float32", "float64"]))
    m, n = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    m, n = (m, m) if square else (max(m, n), min(m, n)) if tall else (m, n)
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return rng.standard_normal((*draw(st.sampled_from(STACKS)), m, n)).astype(dtype)


def close(a, b, scale=1.0):
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype
    assert_allclose(a, b, rtol=0, atol=CLOSE[str(a.dtype)] * max(scale, 1.0))


def eye_like(x, n):
    return np.broadcast_to(np.eye(n, dtype=x.dtype), (*x.shape[:-2], n, n))


@given(stacks())
def test_qr_gives_back_x_and_orthonormal_columns(x):
    q, r = linalg.qr(x)
    close(q @ r, x)
    close(linalg.matrix_transpose(q) @ q, eye_like(x, min(x.shape[-2:])))
    close(tape.triu(r), r)
    q, r = linalg.qr(x, mode="complete")
    close(q @ r, x)
    close(q @ linalg.matrix_transpose(q), eye_like(x, x.shape[-2]))


@given(stacks(), st.booleans())
def test_svd_gives_back_x_by_descending_singular_values(x, full):
    u, s, vt = linalg.svd(x, full_matrices=full)
    k = s.shape[-1]
    close((u[..., :k] * s[..., None, :]) @ vt[..., :k, :], x)
    close(linalg.matrix_transpose(u) @ u, eye_like(x, u.shape[-1]))
    close(vt @ linalg.matrix_transpose(vt), eye_like(x, vt.shape[-2]))
    assert (np.diff(s.numpy()) <= 0).all()
    close(linalg.svdvals(x), s)


@given(stacks(square=True))
def test_eigh_gives_eigenvalues_and_orthonormal_eigenvectors(x):
    x = symmetric(x)
    w, v = linalg.eigh(x)
    close(x @ v, v * w[..., None, :])
    close(linalg.matrix_transpose(v) @ v, eye_like(x, x.shape[-1]))
    assert (np.diff(w.numpy()) >= 0).all()
    close(linalg.eigvalsh(x), w)


@given(stacks(square=True))
def test_eig_gives_eigenvalues_where_they_are_real(x):
    x = definite(x) @ np.diag(np.arange(1.0, x.shape[-1] + 1)).astype(x.dtype)
    w, v = linalg.eig(x)
    close(x @ v, v * w[..., None, :], 1e3)


@given(stacks(square=True), st.booleans())
def test_cholesky_gives_a_triangle_and_back_x(x, upper):
    x = definite(x)
    y = linalg.cholesky(x, upper=upper)
    close(linalg.matrix_transpose(y) @ y if upper else y @ linalg.matrix_transpose(y), x, 10)
    close(tape.triu(y) if upper else tape.tril(y), y)


@given(stacks(square=True))
def test_inverse_and_solution_multiply_back(x):
    x = definite(x)
    close(x @ linalg.inv(x), eye_like(x, x.shape[-1]))
    close(linalg.solve(x, x), eye_like(x, x.shape[-1]))
    b = np.ones(x.shape[-1], x.dtype)
    y = linalg.solve(x, b)
    close((x @ y[..., None])[..., 0], np.broadcast_to(b, x.shape[:-1]))


@given(stacks(square=True), st.booleans(), st.booleans(), st.booleans())
def test_solve_triangular_reads_one_triangle(x, upper, left, unit):
    n = x.shape[-1]
    x = x + 3 * np.eye(n, dtype=x.dtype)
    a = (np.triu if upper else np.tril)(x)
    if unit:
        a[..., range(n), range(n)] = 1
    b = np.ones((n, n), x.dtype)
    y = linalg.solve_triangular(x, b, upper=upper, left=left, unitriangular=unit)
    scale = 1 + float(abs(y.numpy()).max(initial=0))
    close(a @ y if left else y @ a, np.broadcast_to(b, y.shape), 10 * scale)


@given(stacks())
def test_pinv_has_the_four_properties_of_penrose(x):
    y = linalg.pinv(x).numpy()
    size = 1 + float(abs(y).max(initial=0))
    close(x @ y @ x, x, size)
    close(y @ x @ y, y, size**2)
    close(x @ y, np.swapaxes(x @ y, -1, -2), size)
    close(y @ x, np.swapaxes(y @ x, -1, -2), size)
    assert (linalg.matrix_rank(x).numpy() == min(x.shape[-2:])).all()


@given(stacks(tall=True))
def test_lstsq_leaves_an_error_that_is_orthogonal_to_the_columns(x):
    b = np.ones((*x.shape[:-1], 2), x.dtype)
    solution, residuals, rank, s = linalg.lstsq(x, b)
    error = b - x @ solution
    close(linalg.matrix_transpose(x) @ error, np.zeros_like(solution), 100)
    assert (rank.numpy() == x.shape[-1]).all()
    assert s.shape == (*x.shape[:-2], x.shape[-1])
    if x.shape[-2] > x.shape[-1]:
        close(residuals, (error**2).sum(-2), 10)


@given(stacks(square=True))
def test_determinants_multiply_and_slogdet_agrees(x):
    d = linalg.det(x)
    scale = 1 + float(abs(d.numpy()).max(initial=0)) ** 2
    close(linalg.det(x @ x), d * d, scale)
    sign, logarithm = linalg.slogdet(x)
    close(sign * tape.exp(logarithm), d, scale)
    assert not sign.requires_grad


@given(stacks(square=True), st.integers(-3, 5))
def test_matrix_power_is_numpys(x, n):
    x = np.asarray(definite(x))
    truth = np.linalg.matrix_power(x, n)
    close(linalg.matrix_power(x, n), truth, abs(truth).max(initial=0))


@given(stacks(square=True))
def test_expm_of_twice_a_matrix_is_the_square(x):
    x = x * x.dtype.type(0.25)
    y = linalg.expm(x)
    scale = float(abs(y.numpy()).max(initial=0)) ** 2
    close(linalg.expm(x * 2), y @ y, scale)
    close(y @ linalg.expm(-x), eye_like(x, x.shape[-1]), scale)


def test_expm_of_large_and_of_infinite_matrices():
    x = np.array([[-300.0, 200.0], [100.0, -400.0]])
    w, v = np.linalg.eig(x)
    assert_allclose(linalg.expm(x), v * np.exp(w) @ np.linalg.inv(v), rtol=1e-10)
    y = linalg.expm(np.stack([np.full((2, 2), np.inf), np.zeros((2, 2))])).numpy()
    assert np.isnan(y[0]).all()
    assert_allclose(y[1], np.eye(2))


@pytest.mark.parametrize("ord", [None, "fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf])
def test_norms_of_matrices_are_numpys(ord):
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    for axis in [(-2, -1), (0, 2), (2, 1)]:
        for keepdims in (False, True):
            y = linalg.norm(x, ord, axis, keepdims)
            assert_allclose(y, np.linalg.norm(x, ord, axis, keepdims), rtol=1e-12)
    if ord is not None:
        y = linalg.matrix_norm(x, ord=ord, keepdims=True)
        assert_allclose(y, np.linalg.norm(x, ord, (-2, -1), True), rtol=1e-12)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (2, 0, 3), (0, 3, 3)])
def test_norms_of_nothing_are_zero_where_numpy_has_one(shape):
    x = tape.tensor(np.zeros(shape), requires_grad=True)
    for ord in ("fro", "nuc", 1, 2, math.inf):
        y = linalg.matrix_norm(x, ord=ord)
        assert_allclose(y, np.zeros(shape[:-2]))
        assert tape.grad(y, x, g=np.ones(y.shape)).shape == shape
    if 0 in shape[-2:] and shape[-2:] != (0, 3):
        with pytest.raises(tape.ShapeError, match=r"matrix_norm: axis \d of .* is empty"):
            linalg.matrix_norm(x, ord=-1)


@pytest.mark.parametrize("p", [None, "fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf])
def test_condition_numbers_are_numpys_and_infinite_for_singular_matrices(p):
    x = np.random.default_rng(0).standard_normal((3, 3))
    assert_allclose(linalg.cond(x, p), np.linalg.cond(x, p), rtol=1e-10)
    x = np.stack([x, np.diag([1.0, 2.0, 0.0])])
    assert linalg.cond(x[:0], p).shape == (0,)
    y = linalg.cond(x, p).numpy()
    assert np.isfinite(y[0])
    assert y[1] == (0 if p == -2 else math.inf)


def test_multi_dot_is_the_product_in_any_order():
    rng = np.random.default_rng(0)
    xs = [rng.standard_normal(s) for s in [(7, 2), (2, 9), (9, 3), (3, 8)]]
    assert_allclose(linalg.multi_dot(xs), np.linalg.multi_dot(xs))
    row, column = rng.standard_normal(7), rng.standard_normal(8)
    assert_allclose(linalg.multi_dot([row, *xs]), np.linalg.multi_dot([row, *xs]))
    assert_allclose(linalg.multi_dot([*xs, column]), np.linalg.multi_dot([*xs, column]))
    assert linalg.multi_dot([row, *xs, column]).shape == ()
    assert gradcheck(lambda *xs: linalg.multi_dot(xs), xs[:3])


def test_multi_dot_takes_the_fewest_steps():
    xs = [tape.tensor(np.ones(s), requires_grad=True) for s in [(50, 1), (1, 50), (50, 1)]]
    with tape.Tape() as t:
        y = linalg.multi_dot(xs)
        assert (1, 1) in [node.shape for node in t.nodes]
    assert y.shape == (50, 1)


def test_kron_diag_diagonal_and_trace_are_numpys():
    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal((2, 3)), rng.standard_normal((4, 1, 2)), rng.standard_normal(3)
    for x, y in [(a, b), (b, a), (a, c), (c, c), (a, np.float64(2.0))]:
        assert_allclose(tape.kron(x, y), np.kron(x, y))
    for k in (-4, -1, 0, 2):
        assert_allclose(tape.diag(a, k), np.diag(a, k))
        assert_allclose(tape.diag(c, k), np.diag(c, k))
        assert_allclose(tape.diagonal(b, k, 2, 0), np.diagonal(b, k, 2, 0))
        assert_allclose(tape.trace(b, k, 2, 0), np.trace(b, k, 2, 0))
        assert_allclose(linalg.trace(b, offset=k), np.trace(b, k, -2, -1))
    assert linalg.trace(np.ones((2, 2), np.int8)).dtype == np.int64


def test_outer_keeps_the_sign_of_zeros():
    y = tape.outer(np.array([-1.0, 0.0]), np.array([0.0, -2.0])).numpy()
    assert np.signbit(y).tolist() == [[True, False], [False, True]]


def test_results_are_named_as_the_standard_says():
    x = np.eye(2)
    assert linalg.eigh(x)._fields == ("eigenvalues", "eigenvectors")
    assert linalg.qr(x)._fields == ("Q", "R")
    assert linalg.svd(x)._fields == ("U", "S", "Vh")
    assert linalg.slogdet(x)._fields == ("sign", "logabsdet")


def test_integers_are_taken_as_float64():
    x = np.array([[2, 1], [1, 3]])
    for name in ["inv", "cholesky", "det", "pinv", "expm", "eigvalsh", "svdvals", "matrix_norm"]:
        y = getattr(linalg, name)(x)
        assert y.dtype == np.float64
        assert_allclose(y, getattr(linalg, name)(x.astype(float)))


def test_what_is_decomposed_twice_is_computed_once():
    x = tape.tensor(np.eye(3), requires_grad=True)
    with tape.Tape() as t:
        first, second = linalg.eigh(x), linalg.eigh(x)
        assert first.eigenvalues.serial == second.eigenvalues.serial
        assert t.evaluations == 4  # the decomposition, and views of its parts


# Errors


def refused(function, *args, error=tape.LinAlgError, **settings):
    with pytest.raises(error) as caught:
        function(*args, **settings)
    return str(caught.value).splitlines()[0]


def test_an_error_names_the_function_and_the_matrix():
    stack = np.stack([np.eye(2)] * 5 + [np.zeros((2, 2))]).reshape(2, 3, 2, 2)
    assert refused(linalg.inv, stack) == ("inv: the matrix at [1, 2] of x (2, 3, 2, 2) is singular")
    assert refused(linalg.cholesky, -np.eye(2)) == "cholesky: x (2, 2) is not positive definite"
    assert refused(linalg.matrix_power, stack, -1).startswith("matrix_power: the matrix at [1, 2]")
    text = refused(linalg.solve_triangular, stack, np.eye(2), upper=True)
    assert text == "solve_triangular: the matrix at [1, 2] of a (2, 3, 2, 2) is singular"
    assert "holds NaN or inf" in refused(linalg.svd, np.full((2, 2), np.nan))
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    text = refused(linalg.eigvals, np.stack([np.eye(2), turn]))
    assert text.startswith("eigvals: the matrix at [1] of x (2, 2, 2) has complex eigenvalues")
    assert isinstance(tape.LinAlgError(""), np.linalg.LinAlgError)


@pytest.mark.parametrize(
    ("function", "args", "error", "words"),
    [
        (linalg.norm, (np.ones((2, 2, 2)), 1), tape.ShapeError, "ord=1 .* needs one axis, or two"),
        (linalg.norm, (np.ones((2, 2)), 1, (0, 1, 1)), tape.ShapeError, "one axis, or two"),
        (linalg.norm, (np.ones((2, 2)), 1, 2), tape.AxisError, "norm: axis 2 is out of range"),
        (linalg.norm, (np.ones((2, 2)), 3), ValueError, "norm: ord is 'fro'"),
        (linalg.matrix_norm, (np.ones(2),), tape.ShapeError, r"matrix_norm: .* got \(2,\)"),
        (linalg.cond, (np.ones((2, 3)), 1), tape.ShapeError, "cond: p=1 needs square matrices"),
        (linalg.matrix_power, (np.ones((2, 2)), 0.5), tape.DTypeError, "integer, got 0.5"),
        (linalg.matrix_power, (np.ones((2, 3)), 2), tape.ShapeError, "square matrices"),
        (linalg.multi_dot, ([np.ones((2, 2))],), tape.ShapeError, "two matrices or more, got 1"),
        (linalg.multi_dot, ([np.ones((2, 2)), np.ones((3, 2))],), tape.ShapeError, "does not fit"),
        (linalg.multi_dot, ([np.ones(2), np.ones(2), np.ones(2)],), tape.ShapeError, "a matrix"),
        (linalg.lstsq, (np.ones((2, 2)), np.ones(3)), tape.ShapeError, "not equally many rows"),
        (linalg.qr, (np.ones(2),), tape.ShapeError, r"qr: .* got \(2,\)"),
        (linalg.svd, (np.ones(2),), tape.ShapeError, r"svd: .* got \(2,\)"),
        (tape.diag, (np.ones((2, 2, 2)),), tape.ShapeError, "diag: takes a vector or a matrix"),
        (tape.diagonal, (np.ones(2),), tape.ShapeError, "diagonal: needs matrices"),
        (tape.trace, (np.ones((2, 2)), 0, 1, 1), tape.AxisError, "trace: .* twice"),
    ],
)
def test_bad_calls_are_refused_in_words(function, args, error, words):
    with pytest.raises(error, match=words):
        function(*args)


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize(
    "name", ["svd", "svdvals", "pinv", "matrix_rank", "eigh", "eigvalsh", "eig", "cond"]
)
def test_what_iterates_refuses_nan_and_infinity_on_which_it_might_never_end(name, number):
    x = np.stack([np.eye(3)] * 2)
    x[1, 0, 0] = number
    text = refused(getattr(linalg, name), x)
    assert text == f"{name}: the matrix at [1] of x (2, 3, 3) holds NaN or inf"


# Gradients


def spread_out(rng, *shape):
    """A matrix whose singular values are far apart."""
    return rng.standard_normal(shape) + np.eye(*shape[-2:]) * np.arange(1, shape[-1] + 1)


@pytest.mark.parametrize(
    "of",
    [
        lambda x: linalg.cholesky(definite(x)),
        lambda x: linalg.cholesky(definite(x), upper=True),
        lambda x: linalg.eigvalsh(symmetric(x)),
        lambda x: linalg.eigh(symmetric(x)).eigenvectors ** 2,
        lambda x: linalg.eigh(symmetric(x), UPLO="U").eigenvalues,
        lambda x: linalg.svd(x)[0] ** 2,
        lambda x: linalg.pinv(x @ linalg.matrix_transpose(x)[:, :2]),
        lambda x: linalg.matrix_power(x, -2),
        lambda x: linalg.matrix_norm(x, ord="nuc"),
        lambda x: linalg.matrix_norm(x, ord=-2),
        lambda x: linalg.cond(x),
        lambda x: linalg.cond(x, 1),
        lambda x: linalg.lstsq(x[:, :2], x[:, 2]).solution,
        lambda x: linalg.lstsq(x[:, :2], x[:, 1:]).residuals,
        lambda x: linalg.solve_triangular(x, x, upper=True, left=False),
        lambda x: linalg.slogdet(definite(x)).logabsdet,
    ],
)
def test_gradients_are_central_differences_to_second_order(of):
    x = spread_out(np.random.default_rng(3), 3, 3)
    assert gradcheck(of, [x], order=2, atol=1e-4)


def test_gradients_of_symmetric_matrices_are_symmetric():
    rng = np.random.default_rng(0)
    x = np.asarray(definite(tape.tensor(rng.standard_normal((3, 3)))))
    for of in (lambda x: linalg.eigh(x).eigenvectors, linalg.cholesky):
        g = tape.vjp(of, tape.tensor(x))[1](rng.standard_normal((3, 3)))[0].numpy()
        assert_allclose(g, g.T, rtol=1e-10)


def test_eigenvalues_of_any_matrix_have_gradients():
    x = np.array([[1.0, 2.0, 0.5], [0.25, -1.0, 1.0], [0.5, 0.1, 3.0]])

    def invariants(x):
        w, v = linalg.eig(x)
        return (w**3).sum(), ((v * v).sum(0) * w).sum(), (linalg.inv(v)[:, 0] * v[0] * w**2).sum()

    assert gradcheck(invariants, [x], order=2)
    (g,) = tape.vjp(lambda x: invariants(x)[1], tape.tensor(x))[1](tape.tensor(1.0, "float64"))
    assert_allclose(g, np.eye(3), atol=1e-12)  # the sum of the eigenvalues is the trace


def test_eigenvalues_that_are_equal_have_a_gradient_as_long_as_vectors_do_not_matter():
    x = tape.tensor(np.eye(3), requires_grad=True)
    assert_allclose(tape.grad(linalg.eigh(x).eigenvalues.sum(), x), np.eye(3), atol=1e-15)
    assert_allclose(tape.grad(linalg.svd(x).S.sum(), x), np.eye(3), atol=1e-15)
    vectors = linalg.eigh(x).eigenvectors
    assert not np.isfinite(tape.grad(vectors, x, g=np.ones((3, 3))).numpy()).all()


def test_gradient_of_det_is_right_for_singular_matrices():
    rank_2 = tape.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]], "float64", requires_grad=True)
    found = tape.grad(linalg.det(rank_2), rank_2)
    assert_allclose(found, [[-3, 6, -3], [6, -12, 6], [-3, 6, -3]], atol=1e-13)
    for rank in (0, 1):
        x = tape.tensor(np.diag([1.0, 0, 0]) * rank, requires_grad=True)
        assert_allclose(tape.grad(linalg.det(x), x), np.zeros((3, 3)))
    hessian = tape.hessian(linalg.det, tape.tensor(np.eye(2))).numpy()
    truth = np.zeros((2, 2, 2, 2))
    truth[0, 0, 1, 1] = truth[1, 1, 0, 0] = 1
    truth[0, 1, 1, 0] = truth[1, 0, 0, 1] = -1
    assert_allclose(hessian, truth, atol=1e-15)


def test_gradient_of_logdet_refuses_singular_matrices():
    x = tape.tensor(np.zeros((2, 2)), requires_grad=True)
    sign, logarithm = linalg.slogdet(x)
    assert (sign.item(), logarithm.item()) == (0.0, -math.inf)
    with pytest.raises(tape.LinAlgError, match=r"slogdet, its gradient: x \(2, 2\) is singular"):
        tape.grad(logarithm, x)


def test_gradient_of_qr_refuses_columns_that_depend_on_each_other():
    x = tape.tensor(np.zeros((3, 2)), requires_grad=True)
    with pytest.raises(tape.LinAlgError, match="qr: has no gradient: of 2 first columns"):
        tape.grad(linalg.qr(x).Q.sum(), x)


def test_results_that_belong_together_pass_through_the_functional_forms():
    x = tape.tensor(np.random.default_rng(0).standard_normal((3, 3)))
    u = np.random.default_rng(1).standard_normal((3, 3))
    for of in (linalg.eigh, linalg.svd, linalg.qr, linalg.slogdet):
        y, dy = tape.jvp(of, x, tape.tensor(u))
        assert type(y) is type(dy)
        y, pull = tape.vjp(of, x)
        gs = [np.ones(part.shape) for part in y]
        forward = sum(float(part.numpy().sum()) for part in dy)
        assert_allclose((pull(gs)[0].numpy() * u).sum(), forward, rtol=1e-10)


def test_complete_qr_has_no_gradient_where_columns_are_arbitrary():
    x = tape.tensor(np.ones((3, 2)), requires_grad=True)
    q, _ = linalg.qr(x, mode="complete")
    with pytest.raises(tape.GradError, match=r"qr: mode='complete' of x \(3, 2\)"):
        tape.grad(q.sum(), x)


def test_power_zero_has_gradient_zero_even_at_infinity():
    x = tape.tensor(np.full((2, 2), np.inf), requires_grad=True)
    y = linalg.matrix_power(x, 0)
    assert_allclose(y, np.eye(2))
    assert_allclose(tape.grad(y.sum(), x), np.zeros((2, 2)))


@pytest.mark.parametrize("ord", [1, 1.5, 2, 3, math.inf])
def test_gradient_of_a_norm_at_zero_is_zero(ord):
    x = tape.tensor(np.zeros(3), requires_grad=True)
    assert tape.grad(linalg.vector_norm(x, ord=ord), x).tolist() == [0.0, 0.0, 0.0]


def test_the_trace_of_the_logarithm_is_the_logarithm_of_the_determinant():
    x = tape.tensor(np.random.default_rng(0).standard_normal((3, 3)))
    assert_allclose(linalg.slogdet(linalg.expm(x)).logabsdet, linalg.trace(x), rtol=1e-10)
    (g,) = tape.vjp(lambda x: linalg.slogdet(linalg.expm(x)).logabsdet, x)[1](np.float64(1))
    assert_allclose(g, np.eye(3), atol=1e-10)


def test_rtol_may_differ_for_each_matrix_and_call():
    x = np.stack([np.diag([1.0, 0.1])] * 2)
    ranks = [linalg.matrix_rank(x, rtol=np.array(r)) for r in ([0.5, 0.01], [0.01, 0.5], 0.5)]
    assert [r.tolist() for r in ranks] == [[1, 2], [2, 1], [1, 1]]
    assert linalg.pinv(x, rtol=np.array([0.5, 0.01])).tolist()[0] == [[1.0, 0.0], [0.0, 0.0]]
    with pytest.raises(tape.LinAlgError, match=r"the matrix at \[0\] of x .* holds NaN"):
        linalg.pinv(x * np.nan, rtol=np.array([0.5, 0.01]))


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_determinants_of_matrices_that_hold_nan_are_nan(place):
    x = np.stack([np.eye(2), np.ones((2, 2))])
    x[1][place] = np.nan
    assert np.isnan(linalg.det(x).numpy()).tolist() == [False, True]
    for part in linalg.slogdet(x):
        assert np.isnan(part.numpy()).tolist() == [False, True]
