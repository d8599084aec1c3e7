"""`check`: Hypothesis looks for a call whose value or gradient is wrong, and for the smallest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tape._core.memory import asarray
from tape._core.state import no_grad
from tape._core.tensor import Tensor
from tape.errors import GradError
from tape.grad import grad, jvp
from tape.testing.closeness import TOLERANCES, assert_close
from tape.testing.differences import hold_slope, places
from tape.testing.operands import LAYOUTS

__all__ = ["check"]


def need_hypothesis() -> None:
    """ImportError that says what to do, unless Hypothesis is installed."""
    try:
        import hypothesis  # noqa: F401
    except ImportError as error:
        raise ImportError("tape.testing: this needs Hypothesis: pip install hypothesis") from error


LARGEST = 1e6  # beyond it central differences of float64 say nothing


def check(
    function: Callable[..., Any],
    *strategies: Any,
    like: Callable[..., Any] | None = None,
    order: int = 2,
    max_examples: int = 100,
) -> None:
    """AssertionError with the smallest call that Hypothesis finds on which a function is wrong.

    Each call drawn is held to what `check_op` holds the samples of an op to: the function writes to
    none of its arguments; it gives the same twice, whatever its arguments' layout in memory, and in
    float32 what it gives in float64; gradients have their argument's shape and dtype, do not depend
    on layouts either, alone they are what they are together, and forward mode agrees with reverse
    mode; they are what central differences show, and so is the gradient's gradient. At a kink any
    slope between those on its two sides will do, unless `like` says which. Calls whose results are
    not finite, or above a million, are passed over.

    Args:
        function: of tensors, and of what else is drawn; gives a tensor, or several.
        *strategies: one for each argument; of an array or tensor the function is given a tensor, of
            a tuple its parts as arguments of their own, see `tape.testing.broadcastable`.
        like: a function of the same arguments, on tensors, with the values and gradients that are
            right: also at kinks, where there are several.
        order: 1 leaves out the gradient's gradient.
        max_examples: how many calls are drawn.

    Raises:
        AssertionError: a call is wrong: the message says which and how.
        ImportError: Hypothesis is not installed.

    >>> import tape
    >>> from tape.testing import check, tensors
    >>> check(lambda x: x * tape.sigmoid(x), tensors())
    >>> check(lambda x: x * tape.stop_gradient(x), tensors())
    Traceback (most recent call last):
        ...
    AssertionError: check: smallest wrong call: ...
    """
    need_hypothesis()
    from hypothesis import HealthCheck, assume, given, settings
    from hypothesis import strategies as st

    wrong: list[Any] = []

    @settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.tuples(*strategies))
    def holds(drawn: tuple[Any, ...]) -> None:
        call = _Call(function, drawn)
        assume(call.is_tame())
        try:
            with np.errstate(all="ignore"):
                call.hold(like, order)
        except Exception as error:
            wrong[:] = [call, error]
            raise

    try:
        holds()
    except Exception as error:
        if not wrong:
            raise
        call, cause = wrong
        text = f"{type(cause).__name__}: {cause}"
        text = str(cause) if isinstance(cause, AssertionError) else text
        raise AssertionError(f"check: smallest wrong call: {call!r}: {text}") from error


def _described(x: Any) -> str:
    """An argument in words: an array with its dtype and its layout, if that is not the usual."""
    if not isinstance(x, np.ndarray):
        return repr(x)
    text = np.array2string(x, separator=", ", threshold=24, floatmode="unique").replace("\n", "")
    parts = [text if x.size else f"zeros({x.shape})", str(x.dtype)]
    if not x.flags.c_contiguous or (0 in x.strides and x.size > 1):
        parts.append(f"strides {x.strides}")
    return f"array({', '.join(parts)})"


class _Call:
    """One call of a function, and all that must hold of it."""

    def __init__(self, function: Callable[..., Any], drawn: tuple[Any, ...]) -> None:
        self.function = function
        parts: list[Any] = []
        for x in drawn:
            parts += list(x) if isinstance(x, tuple) else [x]
        parts = [np.asarray(x) if isinstance(x, np.generic) else x for x in parts]
        self.args = [x.numpy() if isinstance(x, Tensor) else x for x in parts]
        self.floats = [
            i for i, x in enumerate(self.args) if isinstance(x, np.ndarray) and x.dtype.kind == "f"
        ]
        self.rng = np.random.default_rng(0)

    def __repr__(self) -> str:
        name = getattr(self.function, "__name__", "function")
        name = "function" if name == "<lambda>" else name
        return f"{name}({', '.join(map(_described, self.args))})"

    def given(self, arrays: Iterable[Any] | None = None, requires_grad: bool = False) -> list[Any]:
        """The arguments, tensors where arrays were drawn: other arrays at the places of floats."""
        args = list(self.args)
        for i, x in zip(self.floats, arrays or [], strict=False):
            args[i] = np.asarray(x) if isinstance(x, np.generic) else x
        wanted = self.floats if requires_grad else ()
        return [
            Tensor(x, requires_grad=True)
            if i in wanted
            else (asarray(x) if isinstance(x, np.ndarray) else x)
            for i, x in enumerate(args)
        ]

    def outputs(self, args: Sequence[Any], function: Any = None) -> list[Tensor]:
        """What the function gives, as a list of tensors."""
        y = (function or self.function)(*args)
        parts = list(y) if isinstance(y, (list, tuple)) else [y]
        for part in parts:
            if not isinstance(part, Tensor):
                raise TypeError(f"the function must give tensors, got a {type(part).__name__}")
        return parts

    def values(self, arrays: Iterable[Any] | None = None, function: Any = None) -> list[np.ndarray]:
        """The results' values."""
        with no_grad():
            return [np.array(y) for y in self.outputs(self.given(arrays), function)]

    def wide(self) -> list[np.ndarray]:
        """The floats among the arguments, plain and in float64."""
        return [np.array(self.args[i], np.float64, order="C") for i in self.floats]

    def is_tame(self) -> bool:
        """Whether all results are finite and of a size that differences can be taken of."""
        try:
            ys = self.values(self.wide())
        except Exception:
            return True  # it is for `hold` to say
        return all(bool(np.all(np.abs(y) < LARGEST)) for y in ys if y.dtype.kind == "f")

    def hold(self, like: Callable[..., Any] | None, order: int) -> None:
        """AssertionError, or what the function raises, unless all is right."""
        ys = self.hold_values(like)
        flowing = [k for k, y in enumerate(ys) if y.dtype.kind == "f"]
        if not self.floats or not flowing:
            return
        gs = [self.rng.standard_normal(y.shape).astype(y.dtype) for y in ys]
        slopes = self.slopes(self.plain(), gs)
        self.hold_gradients(slopes, gs)
        if like is not None:
            truth = self.slopes(self.plain(), gs, like)
            for i, dx, right in zip(self.floats, slopes, truth, strict=True):
                allowed = TOLERANCES[self.args[i].dtype.newbyteorder("=").name].function
                assert_close(dx, right, allowed, f"gradient by argument {i}, of `like`")
        wide = [g.astype(np.float64) for g in gs]
        self.hold_differences(lambda xs: [self.values(xs)[k] for k in flowing], wide, flowing)
        if order > 1:
            self.hold_second_order(wide)
        self.hold_narrow(wide)

    def plain(self) -> list[np.ndarray]:
        """The floats among the arguments as they are, plain."""
        return [np.array(self.args[i].astype(self.args[i].dtype.newbyteorder("="), order="C"))
                for i in self.floats]  # fmt: skip

    def hold_values(self, like: Callable[..., Any] | None) -> list[np.ndarray]:
        """The values, of plain arguments."""
        before = [np.array(x) if isinstance(x, np.ndarray) else x for x in self.args]
        ys = self.values()
        for i, (x, old) in enumerate(zip(self.args, before, strict=True)):
            if isinstance(x, np.ndarray):
                np.testing.assert_array_equal(x, old, f"argument {i} was written to")
        for k, (y, again) in enumerate(zip(ys, self.values(), strict=True)):
            np.testing.assert_array_equal(again, y, f"result {k} of two equal calls")
        plain = self.plain()
        dtypes = {x.dtype.name for x in plain} or {"float64"}
        rounding = TOLERANCES["float32" if "float32" in dtypes else "float64"]
        for k, (y, of_plain) in enumerate(zip(ys, self.values(plain), strict=True)):
            assert_close(y, of_plain, rounding.rounding, f"result {k}, of plain arguments")
            assert y.dtype == of_plain.dtype, f"result {k} is {y.dtype}, plain {of_plain.dtype}"
        for name, layout in LAYOUTS.items():
            if name == "broadcast":
                continue  # which has other values
            for k, (y, laid) in enumerate(zip(ys, self.values(map(layout, plain)), strict=True)):
                assert_close(
                    laid, y, rounding.rounding, f"result {k}, of arguments that are {name}"
                )
        for k, (y, wide) in enumerate(zip(ys, self.values(self.wide()), strict=True)):
            if y.dtype.kind == "f":
                assert_close(y, wide, rounding.function, f"result {k}, of float64 arguments")
        if like is not None:
            for k, (y, right) in enumerate(zip(ys, self.values(plain, like), strict=True)):
                assert_close(y, right, rounding.function, f"result {k}, of `like`")
        return ys

    def hold_narrow(self, gs: list[np.ndarray]) -> None:
        """In float32 the values and the gradients are what they are in float64."""
        narrow = [x.astype(np.float32) for x in self.wide()]
        wide = [x.astype(np.float64) for x in narrow]
        gs = [g.astype(np.float32) for g in gs]
        allowed = 10 * TOLERANCES["float32"].function
        for k, (y, truth) in enumerate(zip(self.values(narrow), self.values(wide), strict=True)):
            if y.dtype.kind == "f":
                assert_close(y, truth, allowed, f"result {k} in float32, beside float64")
        pairs = zip(self.slopes(narrow, gs), self.slopes(wide, gs), strict=True)
        for i, (dx, truth) in zip(self.floats, pairs, strict=True):
            assert_close(dx, truth, allowed, f"gradient by argument {i} in float32")

    def slopes(
        self, arrays: Sequence[Any], gs: Sequence[Any], function: Any = None, only: Any = None
    ) -> list[np.ndarray]:
        """Gradients of <g, y> by the floats among the arguments, zeros where there is none."""
        args = self.given(arrays, requires_grad=True)
        xs = [args[i] for i in self.floats]
        xs = xs if only is None else [xs[only]]
        total = [np.zeros(x.shape, x.dtype) for x in xs]
        for y, g in zip(self.outputs(args, function), gs, strict=True):
            if y.requires_grad:
                for k, dx in enumerate(grad(y, xs, g=asarray(g), unused="zeros")):
                    total[k] = total[k] + np.array(dx)
        return total

    def hold_gradients(self, slopes: list[np.ndarray], gs: list[np.ndarray]) -> None:
        """Gradients: their kind, alone as together, by any layout, in float64, in forward mode."""
        plain = self.plain()
        for i, x, dx in zip(self.floats, plain, slopes, strict=True):
            assert dx.shape == x.shape, f"gradient by argument {i}: {dx.shape}, it is {x.shape}"
            assert dx.dtype == x.dtype, f"gradient by argument {i}: {dx.dtype}, it is {x.dtype}"
        name = "float32" if any(x.dtype == np.float32 for x in plain) else "float64"
        allowed = TOLERANCES[name]
        for k, i in enumerate(self.floats):
            alone = self.slopes(plain, gs, only=k)[0]
            np.testing.assert_array_equal(alone, slopes[k], f"gradient by argument {i} alone")
        for layout in ("negative strides", "F", "broadcast"):
            laid = [LAYOUTS[layout](g) for g in gs]
            truth = slopes if layout != "broadcast" else self.slopes(plain, [*map(np.array, laid)])
            for i, dx, right in zip(self.floats, self.slopes(plain, laid), truth, strict=True):
                what = f"gradient by argument {i} of a cotangent, {layout}"
                assert_close(dx, right, allowed.rounding, what)
        drawn = self.slopes([self.args[i] for i in self.floats], gs)
        for i, dx, right in zip(self.floats, drawn, slopes, strict=True):
            assert_close(dx, right, allowed.rounding, f"gradient by argument {i}, of plain ones")
        wide = self.slopes(self.wide(), [g.astype(np.float64) for g in gs])
        for i, dx, right in zip(self.floats, slopes, wide, strict=True):
            assert_close(dx, right, 10 * allowed.function, f"gradient by argument {i}, of float64")
        self.hold_modes(gs)

    def hold_modes(self, gs: list[np.ndarray]) -> None:
        """<g, J u> as forward mode gives it beside <J^T g, u>."""
        xs = self.wide()
        us = [self.rng.standard_normal(x.shape) for x in xs]

        def of(*primals: Tensor) -> list[Tensor]:
            return self.outputs(self.given(primals))

        try:
            _, dys = jvp(of, [Tensor(x) for x in xs], [Tensor(u) for u in us])
        except GradError as error:
            if "no jvp rule" in str(error):
                return
            raise
        pairs = zip(gs, dys, strict=True)
        forward = [g * np.array(dy) for g, dy in pairs if dy.dtype.kind == "f"]
        slopes = self.slopes(xs, [g.astype(np.float64) for g in gs])
        reverse = [dx * u for dx, u in zip(slopes, us, strict=True)]
        sums = [sum(float(np.sum(terms)) for terms in side) for side in (forward, reverse)]
        if not np.all(np.isfinite(sums)):
            return  # next to a pole
        size = sum(float(np.sum(np.abs(terms))) for terms in [*forward, *reverse])
        allowed = 10 * TOLERANCES["float64"].rounding * max(size, 1.0)
        assert abs(sums[0] - sums[1]) <= allowed, (
            f"forward mode gives <g, J u> = {sums[0]:.12g}, reverse mode {sums[1]:.12g}"
        )

    def hold_differences(self, of: Any, gs: list[np.ndarray], flowing: list[int]) -> None:
        """Every element's slope beside what moving it shows, on either side."""
        xs = self.wide()
        slopes = self.slopes(xs, gs)
        weights = [gs[k] for k in flowing]

        def total(arrays: list[np.ndarray]) -> float:
            pairs = zip(weights, of(arrays), strict=True)
            return float(sum(np.sum(g * y) for g, y in pairs))

        for k, i in enumerate(self.floats):
            for at in places(xs[k].shape, self.rng):
                where = f"by argument {i} at {at}, which is {xs[k][at]:.6g}"
                hold_slope(total, xs, k, at, float(slopes[k][at]), f"gradient {where}")

    def hold_second_order(self, gs: list[np.ndarray]) -> None:
        """The gradient of <w, gradient> beside differences of <w, gradient>."""
        xs = self.wide()
        ws = [self.rng.standard_normal(x.shape) for x in xs]

        def weighed(arrays: list[np.ndarray]) -> float:
            slopes = self.slopes(arrays, gs)
            return float(sum(np.sum(w * dx) for w, dx in zip(ws, slopes, strict=True)))

        args = self.given(xs, requires_grad=True)
        leaves = [args[i] for i in self.floats]
        total = None
        for y, g in zip(self.outputs(args), gs, strict=True):
            if not y.requires_grad:
                continue
            slopes = grad(y, leaves, g=asarray(g), create_graph=True, unused="zeros")
            for w, dx in zip(ws, slopes, strict=True):
                part = (dx * w).sum()
                total = part if total is None else total + part
        if total is None:
            return
        curves = [np.zeros(x.shape) for x in xs]
        if total.requires_grad:
            curves = [np.array(d) for d in grad(total, leaves, unused="zeros")]
        for k, i in enumerate(self.floats):
            for at in places(xs[k].shape, self.rng):
                where = f"by argument {i} at {at}, which is {xs[k][at]:.6g}"
                hold_slope(weighed, xs, k, at, float(curves[k][at]), f"second order {where}")
