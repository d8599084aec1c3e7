"""`gradcheck`: gradients of a function beside central differences of its values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tape._core.memory import asarray
from tape._core.state import no_grad
from tape._core.tensor import Tensor
from tape.errors import DTypeError, GradError
from tape.grad import jvp, vjp
from tape.testing.closeness import TOLERANCES

__all__ = ["gradcheck"]

# Above this many numbers, in or out, random projections take the place of the whole Jacobian.
WHOLE_JACOBIAN = 64
PROJECTIONS = 3


def gradcheck(
    fn: Callable[..., Any],
    inputs: Any,
    eps: float = 1e-6,
    rtol: float = 1e-3,
    atol: float = 1e-5,
    order: int = 1,
    rng: np.random.Generator | None = None,
) -> bool:
    """True if the gradients of `fn` agree with central differences, else AssertionError.

    Compared are v^T J u for random u and v, for small functions all elements of the Jacobian J, and
    the forward mode with the reverse mode to rounding, where all ops on the way have jvp rules.

    Args:
        fn: of as many tensors as there are inputs; gives a tensor or a tuple or list of them.
        inputs: a list of float64 tensors, arrays or lists, all of which are varied; integers and
            bools are handed on as they are. One tensor or array is the only input.
        eps: step of the central difference.
        rtol, atol: allowed difference, atol + rtol * |numeric|.
        order: 2 checks the gradient's gradient as well.
        rng: draws u and v, by default the same ones each time.

    Raises:
        DTypeError: an input is of another floating-point dtype: differences of float32 say little.
        AssertionError: a gradient is wrong; says which, and both values.

    >>> import tape
    >>> gradcheck(lambda x: (x * x * x).sum(), [tape.tensor([1.0, -2.0], dtype="float64")], order=2)
    True
    """
    rng = np.random.default_rng(0) if rng is None else rng
    inputs = [inputs] if isinstance(inputs, (Tensor, np.ndarray)) else inputs
    constants, arrays, positions = _sorted_inputs(inputs)

    def of(*xs: Any) -> list[Tensor]:
        filled = list(constants)
        for i, x in zip(positions, xs, strict=True):
            filled[i] = x
        y = fn(*filled)
        outputs = list(y) if isinstance(y, (list, tuple)) else [y]
        return [out for out in outputs if out.dtype.kind == "f"]

    labels: list[Any] = list(positions)
    derived: Callable[..., list[Tensor]] = of
    for k in range(1, order + 1):
        if k > 1:
            derived, arrays = _slope(derived, arrays, rng)
            labels += [f"g{i}" for i in range(len(arrays) - len(labels))]
        what = f"order {k}, " if order > 1 else ""
        _Comparison(derived, arrays, labels, eps, rtol, atol, rng, what).run()
    return True


def _sorted_inputs(inputs: Sequence[Any]) -> tuple[list[Any], list[np.ndarray], list[int]]:
    """All inputs, the arrays among them that are varied, and where those stand."""
    constants, arrays, positions = list(inputs), [], []
    for i, x in enumerate(inputs):
        if isinstance(x, (list, float)):
            x = np.asarray(x, np.float64)
        elif not isinstance(x, (Tensor, np.ndarray)):
            continue
        if x.dtype.kind == "f":
            if x.dtype != np.float64:
                raise DTypeError(
                    f"gradcheck: input {i} is {x.dtype}; central differences need float64"
                )
            arrays.append(np.array(x))
            positions.append(i)
    if not arrays:
        raise DTypeError("gradcheck: no input is float64, so there is nothing to vary")
    return constants, arrays, positions


def _slope(
    of: Callable[..., list[Tensor]], arrays: list[np.ndarray], rng: np.random.Generator
) -> tuple[Callable[..., list[Tensor]], list[np.ndarray]]:
    """The gradient of `of` as a function of its arguments and of the cotangents."""
    n = len(arrays)
    with no_grad():
        shapes = [y.shape for y in of(*map(asarray, arrays))]

    def slope(*args: Any) -> list[Tensor]:
        _, pull = vjp(of, *args[:n])
        return list(pull(list(args[n:])))

    return slope, [*arrays, *[rng.standard_normal(shape) for shape in shapes]]


class _Comparison:
    """The derivatives of one function at one point, by all means there are."""

    def __init__(
        self,
        of: Callable[..., list[Tensor]],
        arrays: list[np.ndarray],
        labels: Sequence[Any],
        eps: float,
        rtol: float,
        atol: float,
        rng: np.random.Generator,
        what: str = "",
    ) -> None:
        self.of, self.arrays, self.labels = of, arrays, labels
        self.eps, self.rtol, self.atol, self.rng, self.what = eps, rtol, atol, rng, what

    def run(self) -> None:
        """Raise AssertionError if any two disagree."""
        ys = self.values(self.arrays)
        again = self.values(self.arrays)
        for k, (y, z) in enumerate(zip(ys, again, strict=True)):
            if not np.array_equal(y, z, equal_nan=True):
                raise AssertionError(f"gradcheck: output {k} differs between two equal calls")
        _, pull = vjp(self.of, *map(Tensor, self.arrays))
        n_in, n_out = sum(x.size for x in self.arrays), sum(y.size for y in ys)
        if n_in <= WHOLE_JACOBIAN and n_out <= WHOLE_JACOBIAN:
            self.compare_elements(pull, ys)
        else:
            self.compare_projections(pull, ys)
        self.compare_modes(pull, ys)

    def values(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        with no_grad():
            return [np.array(y) for y in self.of(*map(Tensor, arrays))]

    def numeric(self, directions: list[np.ndarray]) -> list[np.ndarray]:
        """(f(x + eps u) - f(x - eps u)) / 2 eps for all outputs."""
        sides = [
            self.values([x + s * u for x, u in zip(self.arrays, directions, strict=True)])
            for s in (self.eps, -self.eps)
        ]
        return [(up - down) / (2 * self.eps) for up, down in zip(*sides, strict=True)]

    def compare_elements(self, pull: Callable[..., Any], ys: list[np.ndarray]) -> None:
        rows = {}
        for k, row in _elements(ys):
            g = _units(ys, k, row)
            rows[k, row] = [np.array(part) for part in pull([Tensor(e) for e in g])]
        for i, column in _elements(self.arrays):
            differences = self.numeric(_units(self.arrays, i, column))
            for k, row in rows:
                where = (
                    f"output {k} at {row} by input {self.labels[i]} at {column}, "
                    f"which is {self.arrays[i][column]:.6g}"
                )
                self.compare(rows[k, row][i][column], differences[k][row], where)

    def compare_projections(self, pull: Callable[..., Any], ys: list[np.ndarray]) -> None:
        vs = [self.rng.standard_normal(y.shape) for y in ys]
        parts = [np.array(part) for part in pull([Tensor(v) for v in vs])]
        for i, x in enumerate(self.arrays):
            for _ in range(PROJECTIONS):
                u = self.rng.standard_normal(x.shape)
                u /= np.linalg.norm(u) or 1.0
                zeros = [np.zeros_like(a) for a in self.arrays]
                differences = self.numeric([*zeros[:i], u, *zeros[i + 1 :]])
                numeric = sum(float(np.sum(v * d)) for v, d in zip(vs, differences, strict=True))
                self.compare(
                    float(np.sum(parts[i] * u)),
                    numeric,
                    f"v^T J u by input {self.labels[i]}, random u and v",
                )

    def compare(self, analytic: float, numeric: float, where: str) -> None:
        allowed = self.atol + self.rtol * abs(numeric)
        if not abs(analytic - numeric) <= allowed and not _same(analytic, numeric):
            raise AssertionError(
                f"gradcheck: {self.what}{where}: analytic {analytic:.9g}, numeric {numeric:.9g} "
                f"(difference {abs(analytic - numeric):.3g}, allowed {allowed:.3g})"
            )

    def compare_modes(self, pull: Callable[..., Any], ys: list[np.ndarray]) -> None:
        """<v, J u> by forward mode against <J^T v, u> by reverse mode, to rounding."""
        us = [self.rng.standard_normal(x.shape) for x in self.arrays]
        vs = [self.rng.standard_normal(y.shape) for y in ys]
        try:
            _, dys = jvp(self.of, [Tensor(x) for x in self.arrays], [Tensor(u) for u in us])
        except GradError as error:
            if "no jvp rule" in str(error):
                return
            raise
        parts = pull([Tensor(v) for v in vs])
        forward = [v * np.array(dy) for v, dy in zip(vs, dys, strict=True)]
        reverse = [np.array(part) * u for part, u in zip(parts, us, strict=True)]
        sums = [sum(float(np.sum(terms)) for terms in side) for side in (forward, reverse)]
        size = sum(float(np.sum(np.abs(terms))) for terms in [*forward, *reverse])
        allowed = TOLERANCES["float64"].rounding * max(size, 1.0)
        if not abs(sums[0] - sums[1]) <= allowed and not _same(*sums):
            raise AssertionError(
                f"gradcheck: {self.what}forward mode gives <v, J u> = {sums[0]:.12g}, reverse "
                f"mode <J^T v, u> = {sums[1]:.12g}; the two rules of an op differ"
            )


def _same(a: float, b: float) -> bool:
    return a == b or (a != a and b != b)


def _elements(arrays: list[np.ndarray]) -> list[tuple[int, tuple[int, ...]]]:
    return [(k, at) for k, array in enumerate(arrays) for at in np.ndindex(array.shape)]


def _units(arrays: list[np.ndarray], k: int, at: tuple[int, ...]) -> list[np.ndarray]:
    """Zeros like the arrays, with a single one."""
    units = [np.zeros_like(array) for array in arrays]
    units[k][at] = 1.0
    return units
