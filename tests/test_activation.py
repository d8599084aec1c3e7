"""Activation functions at the points where others have gone wrong."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tape
from tape.ops.activation import leaky_relu_gate, relu_gate
from tape.ops.elu import elu_slope
from tape.ops.rectifiers import band, hardswish_slope, inside, outside
from tape.ops.shrink import mish_slope
from tape.ops.smooth import gelu_slope, silu_slope, softplus_slope

pytestmark = pytest.mark.usefixtures("every_isa")

FUNCTIONS = {
    "relu": tape.relu,
    "relu_gate": lambda x: relu_gate(np.ones_like(x), x),
    "leaky_relu": tape.leaky_relu,
    "sigmoid": tape.sigmoid,
    "silu": tape.silu,
    "softplus": tape.softplus,
    "erf": tape.erf,
    "erfc": tape.erfc,
    "gelu": tape.gelu,
    "gelu_tanh": lambda x: tape.gelu(x, approximate="tanh"),
    "leaky_relu_gate": lambda x: leaky_relu_gate(np.ones_like(x), x, 0.5),
    "silu_slope": lambda x: silu_slope(np.ones_like(x), x),
    "softplus_slope": lambda x: softplus_slope(np.ones_like(x), x, 1.0, 20.0),
    "gelu_slope": lambda x: gelu_slope(np.ones_like(x), x, "none"),
    "gelu_tanh_slope": lambda x: gelu_slope(np.ones_like(x), x, "tanh"),
    "clip": lambda x: tape.clip(x, -1.0, 1.0),
    "relu6": tape.relu6,
    "hardtanh": tape.hardtanh,
    "hardsigmoid": tape.hardsigmoid,
    "hardswish": tape.hardswish,
    "hardswish_slope": lambda x: hardswish_slope(np.ones_like(x), x),
    "inside": lambda x: inside(np.ones_like(x), x, -1.0, 2.0, 0.25),
    "outside": lambda x: outside(np.ones_like(x), x, -1.0, 2.0),
    "hardshrink": tape.hardshrink,
    "softshrink": tape.softshrink,
    "elu": tape.elu,
    "selu": tape.selu,
    "celu": lambda x: tape.celu(x, -2.0),
    "elu_slope": lambda x: elu_slope(np.ones_like(x), x, 0.3, 1.5, 2.0),
    "logsigmoid": tape.logsigmoid,
    "mish": tape.mish,
    "mish_slope": lambda x: mish_slope(np.ones_like(x), x),
}
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-310, -1e-40, 1e30, -1e30, 0.3, -88.7, 19.99]
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def gradient_at(f, values, dtype=np.float64):
    x = tape.tensor(np.array(values, dtype), requires_grad=True)
    return np.array(tape.grad(f(x).sum(), x))


@dtypes
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_number_has_the_same_bits_wherever_it_stands(name, dtype):
    f = FUNCTIONS[name]
    for value in SPECIAL:
        alone = np.array(f(np.array([value], dtype)))
        x = np.full(67, 0.25, dtype)
        for n in [*range(1, 20), 33, 64, 67]:
            for at in range(n):
                x[:n] = 0.25
                x[at] = value
                found = np.array(f(x[:n]))[at : at + 1]
                same = found.tobytes() == alone.tobytes()
                assert same or np.isnan([found, alone]).all(), (value, n, at)


@dtypes
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_large_array_is_its_pieces(name, dtype):
    x = np.linspace(-9, 9, 40_001, dtype=dtype)
    pieces = [np.array(FUNCTIONS[name](part)) for part in np.array_split(x, 37)]
    np.testing.assert_array_equal(np.array(FUNCTIONS[name](x)), np.concatenate(pieces))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_memory_order_changes_no_bit(name):
    x = np.linspace(-3, 3, 60, dtype=np.float32).reshape(6, 10)
    whole = np.array(FUNCTIONS[name](x))
    for view in [np.s_[::2, ::3], np.s_[::-1], np.s_[:, 1]]:
        np.testing.assert_array_equal(np.array(FUNCTIONS[name](x[view])), whole[view])
    np.testing.assert_array_equal(np.array(FUNCTIONS[name](np.asfortranarray(x))), whole)


@given(st.floats(-745, 745))
def test_sigmoid_keeps_its_digits_in_both_tails(x):
    y, mirrored = tape.sigmoid(np.array([x, -x])).tolist()
    e = math.exp(-abs(x))
    small, large = e / (1 + e), 1 / (1 + e)
    assert y == pytest.approx(large if x > 0 else small, rel=4e-15, abs=1e-323)
    assert mirrored == pytest.approx(small if x > 0 else large, rel=4e-15, abs=1e-323)


def test_sigmoid_of_infinity_is_its_limit():
    assert tape.sigmoid(np.array([np.inf, -np.inf, 1e300, -1e300])).tolist() == [1, 0, 1, 0]


@given(st.floats(-37, 10))
def test_gelu_keeps_its_digits_in_the_left_tail(x):
    assert tape.gelu(np.array([x])).item() == pytest.approx(
        x * math.erfc(-x / math.sqrt(2)) / 2, rel=1e-12
    )


@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_tanh", "softplus", "relu"])
def test_at_infinity_they_reach_their_limits(name):
    found = np.array(FUNCTIONS[name](np.array([np.inf, -np.inf], np.float32)))
    np.testing.assert_array_equal(found, [np.inf, 0.0])


EDGES = [*SPECIAL, *(s * v for s in (-1, 1) for v in (0.5, 1.0, 2.0, 3.0, 6.0, 7.0))]
WITH_SETTINGS = [
    (tape.relu6, {}),
    (tape.hardtanh, {"min_val": 0, "max_val": 2}),
    (tape.hardtanh, {"min_val": -3.0, "max_val": np.inf}),
    (tape.hardsigmoid, {}),
    (tape.hardswish, {}),
    (tape.hardshrink, {"lambd": 2}),
    (tape.hardshrink, {"lambd": -2.0}),
    (tape.softshrink, {"lambd": 0.0}),
    (tape.softshrink, {"lambd": 3.0}),
    (tape.elu, {"alpha": 0}),
    (tape.elu, {"alpha": -1.5}),
    (tape.selu, {}),
    (tape.celu, {"alpha": 3}),
    (tape.celu, {"alpha": -70.0}),
    (tape.logsigmoid, {}),
    (tape.mish, {}),
    (band, {"lowest": -1.0, "highest": 2, "slope": 0.5, "within": True}),
    (band, {"lowest": -3.0, "highest": 3.0, "slope": 1.0, "within": False}),
    (hardswish_slope, {}),
    (elu_slope, {"below": 0.0, "rate": -0.01, "above": 3}),
    (mish_slope, {}),
]


@dtypes
@pytest.mark.parametrize(("op", "settings"), WITH_SETTINGS)
def test_a_loop_gives_what_numpy_gives_at_edges_infinity_and_nan(op, settings, dtype):
    x = np.array(EDGES, dtype)
    operands = [x] if op.operand_names == ("x",) else [np.linspace(-1, 2, x.size, dtype=dtype), x]
    found, eps = np.array(op(*operands, **settings)), np.finfo(dtype).eps
    assert found.dtype == dtype
    with np.errstate(all="ignore"):
        truth = op.ref(*operands, **settings)
    np.testing.assert_allclose(found, truth, rtol=8 * eps, atol=eps)


def test_celu_reaches_the_largest_numbers():
    for dtype, x in ((np.float32, 88.5), (np.float64, 709.5)):
        y = tape.celu(np.array([-x], dtype), -1.0)
        assert y.item() == pytest.approx(-math.expm1(x), rel=1e-5)


@given(st.floats(-1e6, 1e6), st.floats(0.1, 10))
def test_softplus_lies_just_above_relu(x, beta):
    y = tape.softplus(np.array([x]), beta=beta).item()
    assert max(x, 0.0) <= y <= max(x, 0.0) + math.log(2) / beta * (1 + 1e-12)
    if beta * x > 20:
        assert y == x


@dtypes
def test_smooth_functions_are_right_to_a_few_units(dtype):
    x = np.linspace(-60, 19, 5001).astype(dtype)
    wide = x.astype(np.longdouble)
    e = np.exp(-np.abs(wide))
    truths = {
        "sigmoid": np.where(wide > 0, 1, e) / (1 + e),
        "silu": wide * np.where(wide > 0, 1, e) / (1 + e),
        "softplus": np.maximum(wide, 0) + np.log1p(e),
        "softplus_slope": np.where(wide > 0, 1, e) / (1 + e),
        "elu": np.where(x > 0, wide, np.expm1(np.minimum(wide, 0))),
        "logsigmoid": np.minimum(wide, 0) - np.log1p(e),
        "mish": wide * np.tanh(np.log1p(np.exp(wide))),
    }
    for name, truth in truths.items():
        error = np.abs(np.array(FUNCTIONS[name](x)) - truth)
        assert np.all(error <= 3 * np.finfo(dtype).eps * np.abs(truth)), name


def test_gelu_in_float32_keeps_its_digits_in_the_left_tail():
    x = np.linspace(-12.5, 6, 2001).astype(np.float32)
    truth = np.array([v * math.erfc(-v / math.sqrt(2)) / 2 for v in x.tolist()])
    error = np.abs(np.array(tape.gelu(x)) - truth)
    assert np.all(error <= 4 * np.finfo(np.float32).eps * np.abs(truth))


def test_softplus_is_smooth_up_to_its_threshold_and_straight_above():
    assert gradient_at(lambda x: tape.softplus(x, threshold=2.0), [1.9, 2.1]).tolist() == [
        pytest.approx(1 / (1 + math.exp(-1.9))),
        1.0,
    ]


def test_kinks_have_one_convention():
    # relu'(0) = 0, leaky_relu'(0) its slope, a bound of clip belongs to the range.
    assert gradient_at(tape.relu, [-1.0, -0.0, 0.0, 1.0]).tolist() == [0, 0, 0, 1]
    assert gradient_at(lambda x: tape.leaky_relu(x, 2.0), [-1.0, 0.0, 1.0]).tolist() == [2, 2, 1]
    assert gradient_at(lambda x: tape.clip(x, 0, 1), [-1.0, 0.0, 1.0, 2.0]).tolist() == [0, 1, 1, 0]
    assert gradient_at(lambda x: x.clip(0), [-1.0, 0.0, 1.0]).tolist() == [0, 1, 1]
    tied = gradient_at(lambda x: tape.maximum(x, np.zeros(1)), [0.0])
    assert tied.tolist() == [0.5]


@dtypes
def test_nan_passes_relu_both_ways(dtype):
    assert np.isnan(tape.relu(np.array([np.nan], dtype)).item())
    assert gradient_at(tape.relu, [np.nan, 1.0], dtype).tolist() == [1, 1]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_integers_become_float64_where_they_must(name):
    x = np.array([-2, 0, 3])
    y = FUNCTIONS[name](x)
    keeps = name in ("relu", "relu_gate", "relu6")
    assert y.dtype == (np.int64 if keeps else np.float64)
    np.testing.assert_allclose(np.array(y), np.array(FUNCTIONS[name](x.astype(float))), rtol=1e-15)


def test_a_python_number_gives_float32():
    for name in ("relu", "leaky_relu", "sigmoid", "silu", "softplus", "erf", "gelu"):
        assert FUNCTIONS[name](0.5).dtype == np.float32, name
        assert FUNCTIONS[name](0.5).shape == ()


def test_gelu_and_its_tanh_form_are_close():
    x = np.linspace(-6, 6, 201)
    np.testing.assert_allclose(
        np.array(tape.gelu(x)), np.array(tape.gelu(x, approximate="tanh")), atol=5e-4
    )


def test_unknown_forms_are_refused():
    with pytest.raises(ValueError, match="gelu: approximate is 'fast', expected 'none' or 'tanh'"):
        tape.gelu(np.zeros(2), approximate="fast")
    with pytest.raises(ValueError, match="softplus: beta is 0"):
        tape.softplus(np.zeros(2), beta=0)


def test_relu_keeps_its_result_and_not_its_operand():
    x = tape.ones((64, 64), requires_grad=True)
    with tape.Tape() as t:
        y = tape.relu(x * 2.0) * 3.0
        assert [node.op.name for node in t.nodes] == ["relu", "multiply"]
    assert tape.grad(y.sum(), x).sum().item() == 6 * x.size


# Points, and the gradients there in PyTorch's documentation and source.
KINKS = [
    (tape.relu6, [0.0, 6.0], [0.0, 0.0]),
    (tape.hardtanh, [-1.0, 1.0], [0.0, 0.0]),
    (tape.hardsigmoid, [-3.0, 3.0], [0.0, 0.0]),
    (tape.hardswish, [-3.0, 3.0], [0.0, 1.0]),
    (tape.hardshrink, [-0.5, 0.5], [0.0, 0.0]),
    (tape.softshrink, [-0.5, 0.5], [0.0, 0.0]),
    (tape.elu, [0.0], [1.0]),
    (tape.celu, [0.0], [1.0]),
    (tape.softsign, [0.0], [1.0]),
]


@pytest.mark.parametrize(("function", "at", "slope"), KINKS)
def test_the_gradient_at_a_kink_is_pytorchs(function, at, slope):
    x = tape.tensor(at, dtype="float64", requires_grad=True)
    assert tape.grad(function(x).sum(), x).tolist() == slope


def test_far_tails_of_activations_are_finite():
    x = tape.tensor([-math.inf, -1e4, 1e4], dtype="float64", requires_grad=True)
    for function in (tape.mish, tape.hardswish, tape.elu, tape.selu, tape.celu, tape.hardsigmoid):
        y = function(x)
        assert np.isfinite(y.numpy()).all()
        assert np.isfinite(tape.grad(y.sum(), x).numpy()).all()
    assert tape.logsigmoid(x).tolist() == [-math.inf, -1e4, 0.0]


def test_prelu_has_one_slope_or_one_a_channel():
    x = tape.tensor(np.full((2, 3, 2), -1.0))
    weight = tape.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = tape.prelu(x, weight)
    assert y.numpy()[0, :, 0].tolist() == [-1.0, -2.0, -3.0]
    assert tape.grad(y.sum(), weight).tolist() == [-4.0, -4.0, -4.0]
    with pytest.raises(tape.ShapeError, match=r"prelu: weight \(2,\) is neither one number nor"):
        tape.prelu(x, tape.ones(2))


def test_what_is_gated_must_have_an_even_length():
    with pytest.raises(
        tape.ShapeError, match=r"glu: axis 1 of x \(2, 3\) must have an even length"
    ):
        tape.glu(tape.ones((2, 3)))
    with pytest.raises(tape.AxisError, match="glu: axis 2 is out of range"):
        tape.glu(tape.ones((2, 4)), 2)
    with pytest.raises(tape.AxisError, match="softmin: axis 2 is out of range"):
        tape.softmin(tape.ones((2, 4)), 2)
    assert tape.softmin(tape.tensor([0, 1], dtype="uint8")).tolist()[0] > 0.5
