"""Convolution by way of frequencies."""

from __future__ import annotations

from tape import shapes
from tape.errors import AxisError, ShapeError
from tape.ops.dtype import real
from tape.ops.fourier import complex_product
from tape.ops.naming import named
from tape.ops.transform import known_axes, real_inverse, real_transform, resized


def fast_length(n):
    """The smallest product of 2, 3, 5 and 7 that is at least n."""
    odds = [1]
    for prime in (3, 5, 7):
        powers = [1]
        while powers[-1] < n:
            powers.append(powers[-1] * prime)
        odds = [odd * power for odd in odds for power in powers if odd * power < 2 * n]
    return min([odd << (-(-n // odd) - 1).bit_length() for odd in odds])


@named
def convolve(x, w, /, *, axes=-1, circular=False):
    """Convolution along axes by way of frequencies: y[i] = sum_j w[j] x[i - j].

    Long filters cost as much as short ones: n log(n) steps.

    Args:
        x: signals of real numbers.
        w: filters, not turned round as those of `conv2d` are.
        axes: one or several, counted from the end where x and w differ in axes.
        circular: take i - j modulo the length of x, which w must not exceed; else x is continued by
            zeros, and the result is the whole convolution.

    Shapes: x (..., n), w (..., m), whose other axes broadcast -> y (..., n + m - 1), or (..., n)

    Raises:
        ShapeError: an axis is empty, w is longer than x and circular, or other axes do not
            broadcast.
        AxisError: there is no such axis, or it is given twice.

    >>> import tape
    >>> [round(y, 4) for y in tape.fft.convolve([1.0, 2.0, 3.0], [1.0, 10.0]).tolist()]
    [1.0, 12.0, 23.0, 30.0]
    """
    x, w = real(x), real(w)
    ndim = max(x.ndim, w.ndim)
    of_x, _ = known_axes("convolve", x.ndim, None, axes, 1)
    of_w, _ = known_axes("convolve", w.ndim, None, axes, 1)
    if [a - x.ndim for a in of_x] != [a - w.ndim for a in of_w]:
        raise AxisError(
            f"convolve: x {x.shape} and w {w.shape} differ in axes: count {axes} from the end"
        )
    long, short = [x.shape[a] for a in of_x], [w.shape[a] for a in of_w]
    if 0 in long or 0 in short:
        raise ShapeError(f"convolve: an axis of x {x.shape} or w {w.shape} is empty")
    if circular and any(m > n for n, m in zip(long, short, strict=True)):
        raise ShapeError(f"convolve: w {w.shape} is longer than x {x.shape}")
    whole = [n if circular else n + m - 1 for n, m in zip(long, short, strict=True)]
    s = whole if circular else [fast_length(n) for n in whole]
    of_x = [a - x.ndim for a in of_x]
    kept = [[n for a, n in enumerate(t.shape) if a - t.ndim not in of_x] for t in (x, w)]
    try:
        shapes.broadcast(*[tuple(n) for n in kept])
    except ShapeError:
        text = f"convolve: x {x.shape} and w {w.shape} do not broadcast beside axes {axes}"
        raise ShapeError(text) from None
    of_signal = real_transform("convolve", x, s, of_x, None)
    of_filter = real_transform("convolve", w, s, of_x, None)
    product = complex_product(of_signal, of_filter)
    y = real_inverse("convolve", product, s, of_x, None)
    return resized(y, [a + ndim for a in of_x], whole)
