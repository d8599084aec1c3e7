"""Properties of an op's values: what it gives for which operands."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from tape._core.tensor import Tensor
from tape.errors import TapeError
from tape.grad import grad
from tape.testing.closeness import TOLERANCES, assert_close, lowest_float
from tape.testing.operands import LAYOUTS, Call
from tape.testing.properties import always, elementwise, property_of

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, 1e-310, -1e-40, 1e30, -1e30, 3.0]


@property_of(always)
def is_described(call: Call) -> None:
    """A docstring with Shapes, and samples."""
    op = call.op
    assert op.__doc__, f"{op.name}: no docstring"
    assert "Shapes:" in op.__doc__, f"{op.name}: the docstring has no Shapes"
    assert op.samples, f"{op.name}: no samples"


@property_of(always)
def shape_rule_gives_the_shape(call: Call) -> None:
    """The shape rule's answer is the shape of the result, whose dtype is one of ours."""
    op, y = call.op, call(*call.operands)
    settings = {**dict(zip(op.setting_names, op.defaults, strict=True)), **call.settings()}
    settings = {name: _frozen(settings[name]) for name in op.shape_settings}
    ruled = op.shape(*[np.shape(x) for x in call.operands], **settings)
    if ruled is not None:
        assert ruled == y.shape, f"{op.name}: shape rule {ruled}, result {y.shape}"
        assert all(type(n) is int for n in ruled), f"{op.name}: shape rule gives {ruled!r}"
    assert y.numpy().dtype.isnative
    assert y.dtype.kind in "bfiu"


def _frozen(setting: Any) -> Any:
    return tuple(map(_frozen, setting)) if type(setting) in (list, tuple) else setting


@property_of(always)
def forward_is_the_reference(call: Call) -> None:
    """The result is that of the slow reference, in dtype too."""
    for dtype in ("float64", "float32"):
        drawn = Call(call.op, call.sample, dtype)
        y, truth = np.asarray(drawn(*drawn.operands)), drawn.reference(*drawn.operands)
        allowed = TOLERANCES[lowest_float([*drawn.operands, y])].function
        assert_close(y, truth, allowed, f"{call.op.name} in {dtype}")
        if any(isinstance(x, np.ndarray) for x in drawn.operands):
            assert y.dtype == truth.dtype, f"{call.op.name}: {y.dtype}, reference {truth.dtype}"


@property_of(always)
def float32_agrees_with_float64(call: Call) -> None:
    """In float32 the result is float32 (Python numbers are weak) and differs by rounding only."""
    op = call.op
    narrow = Call(op, call.sample, "float32").operands
    wide = [x.astype("float64") if _is_float(x) else x for x in narrow]
    y, truth = call(*narrow), call(*wide)
    if truth.dtype.kind != "f":
        assert y.dtype == truth.dtype, f"{op.name}: {y.dtype} in float32, {truth.dtype} in float64"
        return
    kinds = {x.dtype.kind for x in narrow if isinstance(x, np.ndarray)}
    narrowed = kinds and all(x.dtype == "float32" for x in narrow if _is_float(x))
    if narrowed and kinds <= {"f", "b"} and "dtype" not in op.setting_names:
        assert y.dtype == "float32", f"{op.name}: float32 operands give {y.dtype}"
    assert_close(y, truth, TOLERANCES["float32"].function, f"{op.name} in float32")


def _is_float(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


@property_of(always)
def layouts_do_not_matter(call: Call) -> None:
    """Operands may lie in memory in any way; they are not written to."""
    for name, layout in LAYOUTS.items():
        # Broadcasting changes the values; only numbers may take any value, indices may not.
        laid = [
            layout(x) if _is_float(x) or (isinstance(x, np.ndarray) and name != "broadcast") else x
            for x in call.operands
        ]
        plain = [np.array(x) if isinstance(x, np.ndarray) else x for x in laid]
        if name == "broadcast" and _outcome(call, plain) is None:
            assert _outcome(call, laid) is None  # such as the inverse of a matrix of equal numbers
            continue
        y, truth = call(*laid), call(*plain)
        allowed = TOLERANCES[lowest_float([*plain, truth])].rounding
        assert_close(y, truth, allowed, f"{call.op.name} of {name} operands")
        assert y.dtype == truth.dtype, f"{call.op.name} of {name} operands: {y.dtype}"
        for before, after in zip(plain, laid, strict=True):
            np.testing.assert_array_equal(after, before, f"{call.op.name} wrote to an operand")


def _outcome(call: Call, operands: list[Any]) -> Any:
    """The result, or None where it is refused in words."""
    try:
        return np.asarray(call(*operands))
    except (TapeError, ValueError, IndexError):
        return None


@property_of(lambda call: "layout" not in call.op.setting_names)  # a key is parted from tensors
def a_number_is_a_0d_operand(call: Call) -> None:
    """A Python number does, and is refused, where a 0-d array of its value is."""
    for i, x in enumerate(call.operands):
        if not isinstance(x, np.ndarray) or not x.size:
            continue
        number = x.flat[0].item()
        array = np.asarray(number, np.float32 if len(call.operands) == 1 and _is_float(x) else None)
        rest = call.operands
        y = _outcome(call, [*rest[:i], number, *rest[i + 1 :]])
        truth = _outcome(call, [*rest[:i], array, *rest[i + 1 :]])
        what = f"{call.op.name} with the number {number!r} as operand {i}"
        assert (y is None) == (truth is None), f"{what}: {y}, of a 0-d array {truth}"
        if y is not None:
            assert_close(y, truth, TOLERANCES["float32"].function, what)


def emptied(call: Call) -> Iterator[list[Any]]:
    """The call's operands with axes of length 0: once for each length, all axes of that length."""
    arrays = [x for x in call.operands if isinstance(x, np.ndarray)]
    for length in sorted({n for x in arrays for n in x.shape if n}):
        yield [
            x[(..., *[slice(0, 0) if n == length else slice(None) for n in x.shape])]
            if isinstance(x, np.ndarray)
            else x
            for x in call.operands
        ]


@property_of(lambda call: any(isinstance(s, tuple) for s in call.sample.shapes))
def empty_operands_work_or_are_refused(call: Call) -> None:
    """With axes of length 0 an op gives what NumPy gives, or says why not; never garbage."""
    for operands in emptied(call):
        leaves = [
            Tensor(x, requires_grad=i in call.floats) if isinstance(x, np.ndarray) else x
            for i, x in enumerate(operands)
        ]
        try:
            y = call(*leaves)
        except (TapeError, ValueError, IndexError):
            continue
        assert_close(y, call.reference(*operands), 1e-6, f"{call.op.name} of empty operands")
        # A setting that is a shape belongs to the sample's operands, not to empty ones.
        if y.requires_grad and not any(isinstance(v, tuple) for v in call.settings().values()):
            wanted = [leaves[i] for i in call.floats]
            found = grad(y, wanted, g=np.ones(y.shape), unused="zeros")
            for x, dx in zip(wanted, found, strict=True):
                assert dx.shape == x.shape
                if not y.size:
                    assert not np.any(np.array(dx)), f"{call.op.name}: gradient of an empty result"


@property_of(elementwise)
def any_number_of_axes_will_do(call: Call) -> None:
    """From 0-d to more axes than a node stores inline, and several empty axes at once."""
    for shape in [(), (1,), (2, 1, 2, 1, 2, 2), (0,), (3, 0), (2, 0, 3)]:
        size = int(np.prod(shape))
        operands = [
            np.resize(x, size).reshape(shape) if isinstance(x, np.ndarray) and x.size else x
            for x in call.operands
        ]
        if any(isinstance(x, np.ndarray) and x.shape != shape for x in operands):
            return
        y = call(*operands)
        assert_close(y, call.reference(*operands), 1e-9, f"{call.op.name} of shape {shape}")


@property_of(lambda call: elementwise(call) and bool(call.floats))
def special_values_pass_as_in_numpy(call: Call) -> None:
    """NaN, infinities, zeros and subnormals give what NumPy gives, wherever they stand.

    The vector body of a loop, its scalar tail and its strided form must not differ. No warning.
    """
    n = len(call.operands)
    columns = [np.array(c) for c in np.broadcast_arrays(*np.ix_(*[SPECIAL] * min(n, 2)))]
    for dtype in ("float64", "float32"):
        with np.errstate(all="ignore"):
            special = [c.ravel().astype(dtype) for c in columns]
        operands = [
            special[i % len(special)]
            if i in call.floats
            else np.resize(x, special[0].shape)
            if isinstance(x, np.ndarray)
            else x
            for i, x in enumerate(call.operands)
        ]
        truth = call.reference(*operands)
        results = _without_warnings(call, operands)
        allowed = TOLERANCES[dtype].function
        for where, first, y in results:
            _assert_special(y, truth[first:], allowed, f"{call.op.name} of special values, {where}")


def _without_warnings(call: Call, operands: list[Any]) -> list[tuple[str, int, np.ndarray]]:
    """(how they lie, the first one taken, result) of the operands; a warning is an error."""
    results = []
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        for name in ("C", "strided", "negative strides"):
            laid = [LAYOUTS[name](x) if isinstance(x, np.ndarray) else x for x in operands]
            results.append((name, 0, call(*laid).numpy()))
        for first in (1, 10):
            part = [x[first:] if isinstance(x, np.ndarray) else x for x in operands]
            results.append((f"from {first}", first, call(*part).numpy()))
    return results


def _assert_special(a: Any, b: Any, allowed: float, what: str) -> None:
    """NaN, infinities and zeros (their signs too) where they were, other numbers close."""
    a, b = np.asarray(a), np.asarray(b)
    np.testing.assert_allclose(a, b, rtol=allowed, atol=0, err_msg=what)
    zeros = b == 0
    np.testing.assert_array_equal(np.signbit(a[zeros]), np.signbit(b[zeros]), what)
