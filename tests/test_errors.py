"""Bad calls are refused in words: each message names the function, and what was wrong with it."""

import inspect

import numpy as np
import pytest

import tape
from tape import shapes
from tape.errors import AxisError, DTypeError, ShapeError
from tape.testing import check_op

X = tape.ones((2, 3))
LEAF = tape.tensor(1.0, requires_grad=True)
IMAGE, KERNEL = tape.ones((1, 1, 4, 4)), tape.ones((1, 1, 2, 2))
DTYPE = r"dtype 'foo' is not supported; take one of bool, float32, .* uint8"
CALLS = [
    (lambda: tape.conv2d(IMAGE, KERNEL, stride=1.5), ShapeError, "conv2d: stride is an integer"),
    (lambda: tape.conv2d(IMAGE, KERNEL, padding="full"), ShapeError, "conv2d: padding is numbers"),
    (lambda: tape.conv2d(IMAGE, KERNEL, groups="a"), ShapeError, "conv2d: groups is an integer"),
    (lambda: tape.conv2d([[1.0]], [[1.0]]), ShapeError, r"conv2d: w must be .* got \(1, 1\)"),
    (lambda: tape.max_pool2d(IMAGE, 2.5), ShapeError, "max_pool2d: kernel is an integer"),
    (
        lambda: tape.avg_pool2d(IMAGE, 2, padding=2),
        ShapeError,
        "avg_pool2d: padding 2 is more than",
    ),
    (lambda: tape.layer_norm(X, axis=3), AxisError, "layer_norm: axis 3 is out of range"),
    (lambda: tape.batch_norm(3.0), ShapeError, r"batch_norm: x must be \(N, C, ...\), got \(\)"),
    (lambda: tape.vecdot(X, X, axis=3), AxisError, "vecdot: axis 3 is out of range for 2 axes"),
    (lambda: tape.transpose(X, (0, 0)), AxisError, r"transpose: axes \(0, 0\) are no permutation"),
    (lambda: X.transpose(0, 0), AxisError, r"transpose: axes \(0, 0\) are no permutation"),
    (lambda: X.transpose(1, 0, axes=(0, 1)), TypeError, "transpose: axes"),
    (lambda: X.permute_dims(0, 0), AxisError, "permute_dims: axes"),
    (lambda: tape.permute_dims(X, 3), AxisError, "permute_dims: axis 3 is out of range"),
    (lambda: X.sum(axis=True), AxisError, "sum: an axis is an integer, got True"),
    (lambda: X.mean(axis=np.True_), AxisError, "mean: an axis is an integer, got np.True_"),
    (lambda: tape.broadcast_to(X, 4), ShapeError, r"broadcast_to: .* \(2, 3\) and \(4,\)"),
    (lambda: tape.broadcast_to(X, "a"), DTypeError, "broadcast_to: a shape holds integers"),
    (lambda: tape.sum_to(X, (2.0, 3)), DTypeError, "sum_to: a shape holds integers, got 2.0"),
    (lambda: tape.tensor([2]) ** -1, DTypeError, "power: integers have no negative powers"),
    (lambda: tape.tensor([2]) ** tape.tensor([-1]), DTypeError, "power: integers have no negative"),
    (lambda: tape.tensor([1], dtype="uint8") + 300, DTypeError, "add: Python integer 300"),
    (lambda: tape.asarray([300], dtype="uint8"), DTypeError, "not fit uint8: .* 300 out of bounds"),
    (lambda: tape.asarray(-1, dtype="uint8"), DTypeError, "tensor: the numbers do not fit uint8"),
    (lambda: tape.tensor(1e20, dtype="int8"), DTypeError, "tensor: the numbers do not fit int8"),
    (lambda: tape.tensor([0.5, np.nan], dtype="int8"), DTypeError, "tensor: .* int8: .* NaN"),
    (lambda: tape.full(2, 300, dtype="uint8"), DTypeError, "full: the number 300 does not fit"),
    (lambda: tape.full_like(X, np.nan, dtype="int8"), DTypeError, "full: the number nan does not"),
    (lambda: tape.asarray([1.0, LEAF]), DTypeError, "tensor: .* tape.stack, or detach"),
    (lambda: tape.tensor([LEAF, 2.0], dtype="float64"), DTypeError, "tape.stack, or detach"),
    (lambda: tape.asarray((LEAF, LEAF), dtype="int8"), DTypeError, "tape.stack, or detach"),
    (lambda: tape.asarray([[LEAF], [LEAF]]), DTypeError, "tensor: .* tape.stack, or detach"),
    (lambda: tape.tensor([[1, 2], [3]]), ShapeError, "tensor: the sequences in the data differ in"),
    (lambda: tape.tensor([1.0], dtype="foo"), DTypeError, f"tensor: {DTYPE}"),
    (lambda: tape.asarray([1.0], dtype="foo"), DTypeError, f"asarray: {DTYPE}"),
    (lambda: tape.zeros(2, dtype="foo"), DTypeError, f"zeros: {DTYPE}"),
    (lambda: tape.ones_like(X, dtype="foo"), DTypeError, f"ones_like: {DTYPE}"),
    (lambda: tape.full(2, 1.0, dtype="foo"), DTypeError, f"full: {DTYPE}"),
    (lambda: tape.eye(2, dtype="foo"), DTypeError, f"eye: {DTYPE}"),
    (lambda: tape.arange(2, dtype="foo"), DTypeError, f"arange: {DTYPE}"),
    (lambda: tape.linspace(0, 1, 2, dtype="foo"), DTypeError, f"linspace: {DTYPE}"),
    (lambda: tape.random.normal(2, dtype="foo"), DTypeError, f"normal: {DTYPE}"),
    (lambda: tape.random.integers(2, dtype="foo"), DTypeError, f"integers: {DTYPE}"),
    (lambda: tape.random.bernoulli(0.5, dtype="foo"), DTypeError, f"bernoulli: {DTYPE}"),
    (lambda: X.astype("foo"), DTypeError, f"astype: {DTYPE}"),
    (lambda: X.sum(dtype="foo"), DTypeError, f"sum: {DTYPE}"),
    (lambda: tape.zeros(2, dtype="float16"), DTypeError, "zeros: dtype float16 is not supported"),
    (lambda: tape.tensor([1j]), DTypeError, "tensor: dtype complex128 is not supported; take one"),
    (lambda: tape.arange("a"), TypeError, "arange: stop is a number, got 'a'"),
    (lambda: tape.arange(0, 1, "a"), TypeError, "arange: step is a number, got 'a'"),
    (lambda: tape.linspace("a", 1, 3), TypeError, "linspace: start is a number, got 'a'"),
    (lambda: tape.split(X, "a"), DTypeError, "split: sections are an integer or several, got 'a'"),
    (lambda: tape.split(X, 2.0), DTypeError, "split: sections are an integer or several, got 2.0"),
    (lambda: tape.split(X, [1.5]), DTypeError, "split: sections are an integer or several"),
    (lambda: tape.leaky_relu(X, "a"), DTypeError, r"leaky_relu: .* negative_slope='a'"),
    (lambda: tape.cross_entropy(X, [0, 1], label_smoothing="a"), ValueError, "smoothing is 'a'"),
    (lambda: tape.cross_entropy(X, [0, 1], weight=[1.0]), ShapeError, "cross_entropy: weight"),
    (lambda: tape.random.uniform(0, 1, (2,)), TypeError, r"uniform: high is a number, got \(2,\)"),
    (lambda: tape.random.normal(2, std="a"), TypeError, "normal: std is a number, got 'a'"),
    (lambda: tape.random.integers(5, 2), ValueError, "integers: no whole number from 5"),
    (
        lambda: tape.random.integers(300, dtype="uint8"),
        ValueError,
        "integers: uint8 does not reach",
    ),
    (lambda: tape.random.integers(3, dtype="float32"), DTypeError, "integers: draws integers"),
    (lambda: tape.random.bernoulli("a"), TypeError, "bernoulli: p is a number or several, got 'a'"),
    (lambda: tape.dropout(X, "a"), ValueError, "dropout: p is 'a', expected a probability"),
    (lambda: tape.one_hot([0.5], 3), DTypeError, "one_hot: labels must be integers, got float64"),
    (lambda: tape.embedding([0.5], X), DTypeError, "embedding: indices must be integers"),
    (lambda: X.sum(out=3), TypeError, "sum: no setting 'out'"),
    (lambda: np.std(X, ddof=1), TypeError, "std: no setting 'ddof'; it has axis, correction"),
    (lambda: check_op(3), TypeError, "check_op: takes an op, such as tape.op makes, got a int"),
]


@pytest.mark.parametrize(("call", "error", "message"), CALLS, ids=[match for *_, match in CALLS])
def test_a_bad_call_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_in_place_errors_name_the_operation():
    x, n = tape.ones(2), tape.tensor([1])
    with pytest.raises(ShapeError, match=r"multiply: \(3, 2\) in place does not fit the tensor"):
        x *= tape.ones((3, 2))
    with pytest.raises(DTypeError, match="add: float64 in place does not fit a int64 tensor"):
        n += 0.5
    with pytest.raises(ShapeError, match=r"assign: \(3,\) in place does not fit the tensor \(2,\)"):
        x.assign([1.0, 2.0, 3.0])


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "max", "min", "any", "all", "std", "var"])
def test_numpys_reductions_call_those_of_a_tensor(name):
    x = tape.tensor([[1.0, 2.0, 0.0], [4.0, 5.0, 6.0]], requires_grad=True)
    y = getattr(np, name)(x, axis=1)
    assert isinstance(y, tape.Tensor)
    np.testing.assert_allclose(y, getattr(np, name)(x.numpy(), axis=1), rtol=1e-6)
    assert np.sum(x, dtype="float64").dtype == np.float64


def test_lists_do_where_arrays_do():
    x = [[1.0, 2.0], [3.0, 5.0]]
    t = tape.tensor(x)
    for ours, theirs in [
        (
            tape.batch_norm(x, [1.0, 2.0], [0.0, 1.0]),
            tape.batch_norm(t, t[0], tape.tensor([0.0, 1])),
        ),
        (tape.layer_norm(x, axis=[0, 1]), tape.layer_norm(t, axis=(0, 1))),
        (tape.conv2d([[x]], [[x]], [1.0]), tape.conv2d(t[None, None], t[None, None]) + 1.0),
        (tape.max_pool2d([x], 2), tape.max_pool2d(t[None], 2)),
        (tape.avg_pool2d([x], 2), tape.avg_pool2d(t[None], 2)),
        (
            tape.cross_entropy(x, [0, 1], [1.0, 3.0]),
            tape.cross_entropy(t, [0, 1], tape.tensor([1.0, 3.0])),
        ),
    ]:
        assert ours.tolist() == theirs.tolist()


def test_what_an_op_saves_is_a_text():
    with pytest.raises(TypeError, match=r"op: saves is a text such as .*, not a list"):
        tape.op(shape=shapes.same, saves=["x"])


OF_SEVERAL_OPS = [
    *["layer_norm", "batch_norm", "group_norm", "rms_norm", "cross_entropy", "mse_loss", "pad"],
    *[
        "interpolate",
        "tensordot",
        "meshgrid",
        "split",
        "unstack",
        "diag",
        "kron",
        "nonzero",
        "unfold",
    ],
    *[
        "unique_counts",
        "transpose",
        "dropout",
        "zeros_like",
        "full_like",
        "max_pool2d",
        "fold",
        "nonzero",
    ],
    *["linalg.qr", "linalg.svd", "linalg.pinv", "linalg.norm", "linalg.multi_dot", "fft.rfft"],
]


@pytest.mark.parametrize("name", OF_SEVERAL_OPS)
@pytest.mark.parametrize("alien", ["text", None, [[1.0], [2.0, 3.0]], object(), 1j])
def test_functions_of_several_ops_refuse_what_is_no_tensor_in_their_own_name(name, alien):
    space, _, name = name.rpartition(".")
    function = getattr(getattr(tape, space) if space else tape, name)
    rest = {"fold": [(4, 4), (2, 2)], "unfold": [(2, 2)], "max_pool2d": [2], "split": [1]}.get(name)
    if rest is None:
        names = inspect.signature(function).parameters.values()
        rest = [2.0] * (sum(p.default is p.empty and p.kind < 2 for p in names) - 1)
    with pytest.raises((tape.TapeError, TypeError), match=rf"^{name}: "):
        function(alien, *rest)


@pytest.mark.parametrize("window", [np.ones((2, 3)), "text", None, 2.5, (2, 2, 2)])
def test_a_window_that_is_no_pair_is_refused(window):
    with pytest.raises(ShapeError, match=r"max_pool2d: kernel is an integer or a pair of them"):
        tape.max_pool2d(tape.ones((1, 1, 4, 4)), window)
