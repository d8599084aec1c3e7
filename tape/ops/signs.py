"""Signs: packed into bits, unpacked, and the sign that one can train through.

Note [Straight through]
A sign has the derivative 0 wherever it has one. So that what stands before it can be trained, its
gradient is that of the identity inside of a window, |x| <= window, and 0 outside (Hubara et al.
2016, Binarized Neural Networks, section 1.3). What a rule must remember of x is then one bit an
element: an op takes those bits, its gate, as an operand of its own, and x may be freed.
"""

from __future__ import annotations

import numpy as np

from tape._core.state import is_recording
from tape._core.tensor import Tensor
from tape._kernels.bits import NO_BORDER, PackedBits, pack, unpack, words_as, words_shape
from tape.errors import DTypeError, ShapeError
from tape.op import bad, op, sample
from tape.shapes import axis_of

FLAT = None  # in place of an axis: of the array in C order, flattened


def flat(shape, axis):
    """The shape and the axis along which signs of a shape are packed."""
    return ((int(np.prod(shape, dtype=np.int64)),), 0) if axis is FLAT else (shape, axis)


def bit_shape(x, *, axis, border):
    """Shape rule of sign_bits: the words of x."""
    try:
        return words_shape(*flat(x, axis), border)
    except ValueError as error:
        raise ShapeError(str(error)) from None


WORDS = np.array([[5], [0], [7]], np.uint32)


def floats(x, op_name, name="x", expected="float32 or float64"):
    """x if it holds floats, else DTypeError."""
    dtype = getattr(x, "dtype", None)
    if dtype is None or dtype.kind != "f":
        found = dtype or type(x).__name__
        raise DTypeError(f"{op_name}: {name} is {found}, expected {expected}")
    return x


def slow_bits(x, *, axis, rule, window, border):
    """sign_bits by comparison and np.packbits."""
    bits = {"negative": x < 0, "not positive": ~(x > 0), "outside": ~(np.abs(x) <= window)}[rule]
    shape, axis = flat(x.shape, axis)
    if any(border):
        bits = np.pad(bits, ((0, 0), (0, 0), border[:2], border[2:]))
    bits = np.moveaxis(bits.reshape(shape) if len(shape) < 2 else bits, axis, -1)
    missing = -bits.shape[-1] % 32
    bits = np.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(0, missing)])
    packed = np.packbits(bits, axis=-1, bitorder="little")
    return np.ascontiguousarray(packed).view("<u4").astype(np.uint32)


@op(
    name="sign_bits",
    shape=bit_shape,
    differentiable=False,
    ref=slow_bits,
    samples=[
        sample((2, 35, 3, 4), axis=1, rule="negative", window=1.0, border=NO_BORDER),
        sample((2, 3, 3, 4), axis=1, rule="not positive", window=1.0, border=(1, 0, 2, 1)),
        sample((3, 40), axis=1, rule="negative", window=1.0, border=NO_BORDER),
        sample((40, 3), axis=0, rule="outside", window=0.5, border=NO_BORDER),
        sample((3, 5, 7), axis=FLAT, rule="outside", window=1.0, border=NO_BORDER),
        sample((), axis=FLAT, rule="outside", window=1.0, border=NO_BORDER),
        sample((3, 0), axis=1, rule="negative", window=1.0, border=NO_BORDER),
    ],
    errors=[
        bad(
            (),
            axis=0,
            rule="negative",
            window=1.0,
            border=NO_BORDER,
            error=ShapeError,
            match=r"signs \(\) cannot be packed along axis 0",
        )
    ],
)
def sign_bits(x, /, *, axis, rule, window, border):
    """The words of signs of x, or of where x is outside of a window.

    Shapes: x (*s) -> y (*s without axis, ceil(s[axis] / 32)), uint32
    """
    if axis is FLAT:
        x, axis = x.reshape(-1), 0
    return pack(x, axis, rule, window, border).words


def sign_shape(words, *, shape, axis, border, dtype, zero, one):
    """Shape rule of bit_values: what was packed."""
    if words != words_shape(*flat(shape, axis), border):
        raise ShapeError(f"words {words} do not hold {shape} along axis {axis}, border {border}")
    return shape


@op(
    name="bit_values",
    shape=sign_shape,
    differentiable=False,
    samples=[
        sample(WORDS, shape=(3, 3), axis=1, border=NO_BORDER, dtype="float64", zero=1.0, one=-1.0),
        sample(
            WORDS[:1, 0],
            shape=(2, 5),
            axis=FLAT,
            border=NO_BORDER,
            dtype="float64",
            zero=1.0,
            one=0.0,
        ),
    ],
    errors=[
        bad(
            WORDS,
            shape=(3, 33),
            axis=1,
            border=NO_BORDER,
            dtype="float32",
            zero=1.0,
            one=-1.0,
            error=ShapeError,
            match=r"words \(3, 1\) do not hold \(3, 33\)",
        )
    ],
)
def bit_values(words, /, *, shape, axis, border, dtype, zero, one):
    """What stands for bits of 0 and of 1, in the shape that was packed.

    Shapes: words (*s without axis, ceil(s[axis] / 32)) -> y (*s)
    """
    bits = words_as(words, *flat(shape, axis), border)
    return unpack(bits, dtype, zero, one).reshape(shape)


def pack_bits(x, axis=None, strict=False, border=NO_BORDER):
    """The signs of x, one bit each, for `binary_conv2d`, `binary_matmul` and `BitFilters`.

    Args:
        axis: along which 32 signs share a word; by default 1 for images (N, C, H, W), else the
            last one. `binary_matmul(x, w)` takes x packed along its last axis, w along axis 0.
        strict: only x > 0 is +1. By default only x < 0 is -1: 0, -0.0 and NaN are +1.
        border: pixels (top, bottom, left, right) to leave around images, so that a convolution
            which pads as much need not copy them.

    Shapes: x (*s)

    Raises:
        AxisError: there is no such axis.
        DTypeError: x holds no floats.

    >>> import tape
    >>> bits = tape.pack_bits(tape.tensor([1.5, -2.0, 0.0, -0.0]))
    >>> tape.unpack_bits(bits).tolist()
    [1.0, -1.0, 1.0, 1.0]
    """
    if isinstance(x, PackedBits):
        raise DTypeError(f"pack_bits: x is packed already: {x!r}")
    shape = floats(x, "pack_bits").shape
    axis = axis_of(len(shape), (1 if len(shape) == 4 else -1) if axis is None else axis)
    if (
        not isinstance(border, (tuple, list))
        or len(border) != 4
        or not all(hasattr(n, "__index__") and 0 <= n < 1 << 31 for n in border)
    ):
        raise ShapeError(f"pack_bits: border is {border!r}, expected (top, bottom, left, right)")
    if any(border) and (len(shape) != 4 or axis != 1):
        raise ShapeError(f"pack_bits: only images packed along axis 1 have a border, x is {shape}")
    rule = "not positive" if strict else "negative"
    words = sign_bits(x, axis=axis, rule=rule, window=0.0, border=tuple(border))
    return words_as(words.numpy(), tuple(shape), axis, tuple(border))


def unpack_bits(bits, dtype="float32"):
    """The tensor of signs, 1.0 and -1.0, that were packed.

    Shapes: the signs bits.shape (*s) -> y (*s)

    Raises:
        DTypeError: bits is no `PackedBits`.

    >>> import numpy as np, tape
    >>> tape.unpack_bits(tape.pack_bits(np.array([[0.5, -0.5]]))).tolist()
    [[1.0, -1.0]]
    """
    if not isinstance(bits, PackedBits):
        raise DTypeError(f"unpack_bits: bits is a {type(bits).__name__}, expected PackedBits")
    return bit_values(
        bits.words,
        shape=bits.shape,
        axis=bits.axis,
        border=bits.border,
        dtype=np.dtype(dtype).name,
        zero=1.0,
        one=-1.0,
    )


def gate_of(x, window):
    """The bits that tell where x is outside of a window, 0 if no gradient will ask for them."""
    if window is None or not isinstance(x, Tensor) or not (x.requires_grad and is_recording()):
        return 0
    return sign_bits(x, axis=FLAT, rule="outside", window=float(window), border=NO_BORDER)


def gated(g, gate, shape):
    """g where the window was open; see gate_of."""
    if not hasattr(gate, "dtype") or gate.dtype != np.uint32:
        return g
    dtype = "float32" if g.dtype == np.float32 else "float64"
    return g * bit_values(
        gate, shape=tuple(shape), axis=FLAT, border=NO_BORDER, dtype=dtype, zero=1.0, one=0.0
    )


def checked_window(window, op_name):
    """window, a number of at least 0 or None, or ShapeError."""
    if window is None or (isinstance(window, float) and window >= 0):
        return window
    if hasattr(window, "__index__") and 0 <= window < 1 << 53:
        return float(window)
    if isinstance(window, np.floating) and window >= 0:
        return float(window)
    raise ShapeError(f"{op_name}: window is a number of at least 0 or None, got {window!r}")


def sign_ste(x, window=1.0, strict=False):
    """The sign of x, 1.0 or -1.0, with the gradient of the identity where |x| <= window.

    The straight-through estimator; the rules remember one bit an element.

    Args:
        window: beyond which the gradient is 0; None lets everything through.
        strict: only x > 0 gives 1. By default only x < 0 gives -1: 0 and NaN give 1.

    Shapes: x (*s) -> y (*s)

    Source: Bengio et al. 2013, Estimating or Propagating Gradients Through Stochastic Neurons;
    the window is Hubara et al. 2016, Binarized Neural Networks.

    >>> import tape
    >>> x = tape.tensor([0.5, -0.25, 3.0, 0.0], requires_grad=True)
    >>> y = tape.sign_ste(x)
    >>> y.tolist(), tape.grad(y.sum(), x).tolist()
    ([1.0, -1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 1.0])
    """
    window = checked_window(window, "sign_ste")
    return straight_sign(floats(x, "sign_ste"), gate_of(x, window), strict=bool(strict))


GATE = np.array([0b101101], np.uint32)


def guarded(x, gate, /):
    """Shape rule: that of x, whose gate has a bit for each of its elements, or is a number."""
    if gate not in ((), words_shape(*flat(x, FLAT), NO_BORDER)):
        raise ShapeError(f"a gate of {gate} words does not fit x {x}")
    return x


@op(
    name="sign_ste",
    shape=guarded,
    saves="gate x.shape",
    smooth=False,
    samples=[
        sample((2, 3), GATE, strict=False),
        sample((2, 3), GATE, strict=True),
        sample((2, 3), 0, strict=False),
        sample((), GATE, strict=False),
        sample((0, 3), np.array([], np.uint32), strict=False),
    ],
    errors=[
        bad((2, 40), GATE, strict=False, error=ShapeError, match=r"gate of \(1,\) .* x \(2, 40\)")
    ],
)
def straight_sign(x, gate, /, *, strict):
    """sign_ste, given the bits that tell where x is outside of the window.

    Shapes: x (*s) -> y (*s)
    """
    x = np.asarray(x)
    return np.where(x > 0 if strict else ~(x < 0), x.dtype.type(1), x.dtype.type(-1))


@straight_sign.defvjp("x")
def straight_sign_vjp(g, gate, x_shape):
    return gated(g, gate, x_shape)


@straight_sign.defjvp
def straight_sign_jvp(dx, gate, x_shape):
    return gated(dx, gate, x_shape)


def sign_thresholds(f, reach, filters, strict=False):
    """Whole numbers that tell the sign of f(a) from a: what `BitFilters` takes as least and flip.

    The sign is that of a < least, the other way round where flip is set. So normalisation and sign
    after a convolution cost nothing, and are what they would be unfused to the last bit: f is the
    very float32 expression, evaluated at whole numbers until only one place is left where it can
    change its sign.

    Args:
        f: of an array (filters) of correlations, float32, gives the numbers whose sign is taken,
            each of them rising or falling with its correlation, as every step of batch_norm is.
        reach: the greatest correlation: how many signs a filter has.
        strict: only f(a) > 0 is +1. By default only f(a) < 0 is -1.

    Raises:
        ValueError: f gives NaN or another shape, or reach or filters is no such number.

    >>> import numpy as np, tape
    >>> least, flip = tape.sign_thresholds(lambda a: np.float32([1, -1]) * (a - 2.5), 9, 2)
    >>> least.tolist(), flip.tolist()
    ([3, 3], [False, True])
    """

    for name, number, most in (("reach", reach, 1 << 29), ("filters", filters, 1 << 31)):
        if not hasattr(number, "__index__") or not 0 <= number <= most:
            raise ValueError(
                f"sign_thresholds: {name} is {number!r}, expected a whole number from 0 to {most}"
            )

    def positive(a):
        y = np.asarray(f(a.astype(np.float32)))
        if y.shape != (filters,):
            raise ValueError(f"sign_thresholds: f gives shape {y.shape}, expected {(filters,)}")
        if np.isnan(y).any():
            at = int(np.isnan(y).argmax())
            raise ValueError(f"sign_thresholds: f gives NaN for filter {at} at {int(a[at])}")
        return y > 0 if strict else ~(y < 0)

    reach = int(reach)
    low, high = (np.full(filters, a, np.int64) for a in (-reach, reach))
    at_low, at_high = positive(low), positive(high)
    flip = at_low & ~at_high
    while (high - low > 1).any():
        middle = (low + high) // 2
        same = positive(middle) == at_low
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    ends = np.iinfo(np.int32)
    constant = np.where(at_low, ends.min, ends.max)
    return np.where(at_low == at_high, constant, high).astype(np.int32), flip
