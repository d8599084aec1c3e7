"""`FftConv1d`, `FftConv2d`: convolutions by way of frequencies that train, and `SpectralConv`.

Note [Tiles]
A large image is cut into tiles that overlap by the window: the spectra of the weight are then as
small as a tile, a product at one frequency serves all tiles, and transforms are short, but more
numbers are moved. The lowered layer takes the size that costs least as far as one can count, the
whole image among them; those that train take the whole image.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from tape._core.memory import adopt, asarray
from tape._core.tensor import Tensor
from tape.errors import DTypeError, ShapeError, TapeError
from tape.netopt.frequency.circular import (
    LONGEST,
    Line,
    Spots,
    circular_product,
    frequencies,
    inverse,
    multiplied,
    spectrum,
    work,
)
from tape.netopt.lowered import Lowered
from tape.netopt.made import Made
from tape.nn.arguments import settings, shown
from tape.nn.conv import Conv1d, Conv2d
from tape.nn.parameter import Uninferred
from tape.ops.conv import correlated
from tape.ops.convolve import fast_length
from tape.ops.geometry import Geometry, padding_pairs
from tape.ops.shape import permute_dims, reshape

__all__ = ["FftConv1d", "FftConv2d", "SpectralConv", "plane_of", "spots_of"]


def plane_of(layer: Any) -> Geometry:
    """The settings of a convolution of sequences or images in pairs, a sequence as one row."""
    pads = padding_pairs(layer.padding, layer.kernel, layer.stride, layer.dilation)
    if layer.n_axes == 1:
        return Geometry((1, *layer.stride), ((0, 0), *pads), (1, *layer.dilation), layer.groups)
    return Geometry(layer.stride, pads, layer.dilation, layer.groups)


def spots_of(
    image: tuple[int, ...], window: tuple[int, ...], geometry: Geometry, out: tuple[int, ...]
) -> tuple[Spots, tuple[int, int]]:
    """Where pixels, taps and windows stand, and the lengths of rows and columns they do so in.

    Zeros before and after the image may be the same ones, so the larger number of them will do.
    """
    a, b, y, lengths = [], [], [], []
    axes = zip(image, window, out, *geometry[:3], strict=True)
    for n, taps, count, stride, (before, after), dilation in axes:
        a.append(Line(0, 1, n))
        b.append(Line(0, dilation, taps))
        y.append(Line(-before, stride, count))
        reach, last = dilation * (taps - 1), stride * (count - 1)
        length = max(n + max(before, after), reach + 1, last + 1)
        lengths.append(length if length <= LONGEST else fast_length(length))
    return Spots((a[0], a[1]), (b[0], b[1]), (y[0], y[1])), (lengths[0], lengths[1])


class FftPlan:
    """How a convolution of some shapes becomes a product of spectra.

    Args:
        x: shape (N, C, H, W).
        w: shape (n_out, C / groups, R, S).
        geometry: see `plane_of`.

    Raises:
        ShapeError: the channels do not match, or no window fits.
    """

    def __init__(self, x: tuple[int, ...], w: tuple[int, ...], geometry: Geometry) -> None:
        y = correlated(x, w, geometry=geometry)
        groups = self.groups = geometry.groups
        self.spots, self.lengths = spots_of(x[2:], w[2:], geometry, y[2:])
        self.x = x[0], groups, w[1], *x[2:]
        self.w = groups, w[0] // groups, *w[1:]
        self.kernel, self.y = w, y

    @property
    def spectrum_size(self) -> int:
        """How many numbers the spectra of the weight have."""
        return 2 * frequencies(self.lengths) * math.prod(self.w[:3])

    @property
    def multiply_adds(self) -> int:
        """Of a call that has the spectra of the weight."""
        groups, n, r = self.w[:3]
        return work(self.x[0], n, r, groups, self.spots, self.lengths)

    @property
    def cost(self) -> int:
        """Multiply-adds, and what it takes to read the spectra and to move numbers, in these."""
        groups, n, r = self.w[:3]
        spectra = frequencies(self.lengths) * groups * self.x[0] * (2 * r + 6 * n)
        moved = spectra + 2 * (math.prod(self.x) + math.prod(self.y))
        return self.multiply_adds + READ * self.spectrum_size + MOVE * moved


TILES = (8, 16, 24, 32, 48, 64, 96, 128, 192)  # results of a tile along an axis
# Multiply-adds in the time that a number of the weight's spectra comes from memory, and that any
# number is moved: benchmarks "netopt fft conv".
READ, MOVE = 16, 40


@lru_cache(128)
def tiled(
    x: tuple[int, ...], w: tuple[int, ...], geometry: Geometry
) -> tuple[FftPlan, tuple[int, int]]:
    """(plan of tiles as images of a batch, how many lie below and beside each other).

    The arguments, and what is raised, are those of `FftPlan`.
    """
    best, counts = FftPlan(x, w, geometry), (1, 1)
    plain = geometry._replace(padding=((0, 0), (0, 0)))
    high, wide = best.y[2:]
    for size in TILES:
        out = min(size, high), min(size, wide)
        n = -(-high // out[0]), -(-wide // out[1])
        if n == (1, 1):
            break
        axes = zip(out, w[2:], geometry.stride, geometry.dilation, strict=True)
        image = [(o - 1) * s + d * (k - 1) + 1 for o, k, s, d in axes]
        plan = FftPlan((x[0] * n[0] * n[1], x[1], *image), w, plain)
        if plan.cost < best.cost:
            best, counts = plan, n
    return best, counts


def cut(
    images: np.ndarray, plan: FftPlan, counts: tuple[int, int], geometry: Geometry
) -> np.ndarray:
    """Tiles of images as a batch of images.

    Shapes: images (N, C, H, W) -> y (N * counts, C, rows and columns of a tile)
    """
    tile, steps = plan.x[3:], [o * s for o, s in zip(plan.y[2:], geometry.stride, strict=True)]
    sizes = [(n - 1) * step + t for n, step, t in zip(counts, steps, tile, strict=True)]
    whole = np.zeros((*images.shape[:2], *sizes), images.dtype)
    (top, _), (left, _) = geometry.padding
    inside = whole[:, :, top : top + images.shape[2], left : left + images.shape[3]]
    inside[...] = images[:, :, : inside.shape[2], : inside.shape[3]]
    views = np.lib.stride_tricks.sliding_window_view(whole, tile, (2, 3))
    views = views[:, :, :: steps[0], :: steps[1]].transpose(0, 2, 3, 1, 4, 5)
    return views.reshape(-1, images.shape[1], *tile)


def joined(y: np.ndarray, counts: tuple[int, int], shape: tuple[int, ...]) -> np.ndarray:
    """The results of tiles put together.

    Shapes: y (N * counts, n_out, rows and columns of a tile) -> y (N, n_out, Ho, Wo), as `shape`
    """
    n, channels, high, wide = shape
    parts = y.reshape(n, *counts, channels, *y.shape[2:]).transpose(0, 3, 1, 4, 2, 5)
    whole = (n, channels, counts[0] * y.shape[2], counts[1] * y.shape[3])
    return np.ascontiguousarray(parts.reshape(whole)[:, :, :high, :wide])


class ByFrequency:
    """What the two layers that train share: `forward`, and what it costs."""

    def forward(self: Any, x: Any) -> Tensor:
        """The result for x."""
        if type(self.weight) is Uninferred:
            self._infer_from(x)
        images, alone = images_of(self, x)
        w = (
            self.weight
            if self.n_axes == 2
            else reshape(self.weight, (*self.weight.shape[:2], 1, -1))
        )
        p = planned(self, images.shape, w.shape)
        more = {"spots": p.spots, "lengths": p.lengths, "turned": True}
        a = permute_dims(reshape(images, p.x), (1, 0, 2, 3, 4))
        y = permute_dims(circular_product(a, reshape(w, p.w), **more), (1, 0, 2, 3, 4))
        y = reshape(y, p.y)
        if self.bias is not None:
            y = y + reshape(self.bias, (self.n_out, 1, 1))
        y = reshape(y, result_shape(self, p.y, alone))
        return y if self.activation is None else self.activation(y)

    def multiply_adds(self, x: Any, y_shape: tuple[int, ...]) -> int:
        """How many a call costs once it is lowered."""
        return multiply_adds_of(self, x)


class FftConv2d(ByFrequency, Conv2d):
    """An `nn.Conv2d` that computes by way of frequencies, forward and backward.

    The numbers are those of `nn.Conv2d` up to rounding, a relative 1e-5 of the largest in float32;
    NaN or infinity in one pixel spreads over the whole image.

    Arguments, shapes and what is raised are those of `nn.Conv2d`.

    >>> import tape
    >>> from tape import netopt
    >>> layer = netopt.frequency.FftConv2d(8, 15, padding="same", activation=tape.relu)
    >>> layer(tape.ones((2, 3, 20, 20))).shape
    (2, 8, 20, 20)
    """


class FftConv1d(ByFrequency, Conv1d):
    """An `nn.Conv1d` that computes by way of frequencies, see `FftConv2d`.

    >>> import tape
    >>> from tape import netopt
    >>> netopt.frequency.FftConv1d(8, 64, stride=4)(tape.ones((2, 3, 100))).shape
    (2, 8, 10)
    """


class SpectralConv(Lowered):
    """An `FftConv1d` or `FftConv2d`, lowered: the spectra of its weight are computed once.

    They are not saved, and kept for the last size of tiles, see Note [Tiles]: 4 bytes times about
    rows * columns * n_in * n_out / groups of a tile, more than the weight has. Another size makes
    them again.

    Buffers: weight, bias, as those of the layer. Shapes: as the layer

    Args:
        layer: the trained one.
    """

    weight: Any
    bias: Any

    def __init__(self, layer: Any) -> None:
        for name in ("n_axes", "n_out", "kernel", "stride", "padding", "dilation", "groups"):
            setattr(self, name, getattr(layer, name))
        self.n_in, self.activation, self.made = layer.n_in, layer.activation, Made()
        self.register_buffer("weight", layer.weight.numpy())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.numpy())
        self.eval()

    def run(self, x: Any) -> Any:
        """The result for images, or for sequences."""
        images, alone = images_of(self, x)
        w = self.weight.numpy()
        p, counts = lowered_plan(self, images.shape)
        dtype = np.result_type(images.dtype, w.dtype)
        array = images.numpy()
        geometry = plane_of(self)
        whole = (*images.shape[:1], *correlated(images.shape, p.kernel, geometry=geometry)[1:])
        if counts != (1, 1):
            array = cut(array, p, counts, geometry)
        a = np.swapaxes(array.reshape(p.x).astype(dtype, copy=False), 0, 1)
        product = multiplied(spectrum(a, p.spots.a, p.lengths), self.spectra(p, dtype), True)
        y = inverse(product, p.spots.y, p.lengths)
        y = np.ascontiguousarray(np.swapaxes(y, 0, 1)).reshape(p.y)
        y = y if counts == (1, 1) else joined(y, counts, whole)
        if self.bias is not None:
            y += self.bias.numpy().reshape(-1, 1, 1)
        made = adopt(y.reshape(result_shape(self, whole, alone)))
        return made if self.activation is None else self.activation(made)

    def spectra(self, p: FftPlan, dtype: Any) -> np.ndarray:
        """Those of the weight, made once for a size of images."""

        def make() -> np.ndarray:
            w = self.weight.numpy().reshape(p.w).astype(dtype, copy=False)
            return spectrum(w, p.spots.b, p.lengths)

        made: np.ndarray = self.made.of((p.lengths, dtype), [self.weight], make)
        return made

    def multiply_adds(self, x: Any, y_shape: tuple[int, ...]) -> int:
        """How many a call costs."""
        return multiply_adds_of(self, x)

    def describe(self) -> str:
        """Channels, window, and what is kept of spectra."""
        made = self.made.last[2]
        more = {} if made is None else {"spectra": f"{made.nbytes / 1e6:.3g} MB"}
        return settings(self.n_out, shown(self.kernel), **more, activation=self.activation)


def multiply_adds_of(layer: Any, x: Any) -> int:
    """Multiply-adds of a call of a layer once it is lowered."""
    return lowered_plan(layer, images_of(layer, x)[0].shape)[0].multiply_adds


def lowered_plan(layer: Any, images: tuple[int, ...]) -> tuple[FftPlan, tuple[int, int]]:
    """(plan, tiles) for images of a shape, see `tiled`; errors name the layer."""
    w = layer.weight.shape
    try:
        return tiled(images, (*w[:2], *(1, 1, *w[2:])[-2:]), plane_of(layer))
    except TapeError as error:
        error.op = type(layer).__name__
        raise


def images_of(layer: Any, x: Any) -> tuple[Tensor, bool]:
    """x as images (N, C, H, W), and whether it is a single one.

    Raises:
        ShapeError: x has another number of axes.
        DTypeError: x has no floats.
    """
    x = asarray(x)
    n = layer.n_axes
    if x.ndim not in (n + 1, n + 2):
        form = "(N, C, L) or (C, L)" if n == 1 else "(N, C, H, W) or (C, H, W)"
        raise ShapeError(f"{type(layer).__name__}: x must be {form}, got {x.shape}")
    if x.dtype.kind != "f":
        raise DTypeError(f"{type(layer).__name__}: x is {x.dtype}, expected float32 or float64")
    alone = x.ndim == n + 1
    shape = (1, *x.shape) if alone else x.shape
    shape = shape if n == 2 else (*shape[:2], 1, shape[2])
    return (x if shape == x.shape else reshape(x, shape)), alone


def planned(layer: Any, x: tuple[int, ...], w: tuple[int, ...]) -> FftPlan:
    """The plan of a layer's call; errors name the layer."""
    try:
        return FftPlan(x, w, plane_of(layer))
    except TapeError as error:
        error.op = type(layer).__name__
        raise


def result_shape(layer: Any, y: tuple[int, ...], alone: bool) -> tuple[int, ...]:
    """That of the layer's result, from the one of images."""
    shape = y if layer.n_axes == 2 else (*y[:2], y[3])
    return shape[1:] if alone else shape
