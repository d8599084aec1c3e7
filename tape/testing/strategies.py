"""Hypothesis strategies for shapes, arrays and tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tape._core.memory import asarray
from tape._core.tensor import Tensor
from tape.testing.operands import LAYOUTS

__all__ = ["arrays", "broadcastable", "broadcastable_shapes", "tensors"]


def broadcastable_shapes(
    n: int, *, max_dims: int = 3, min_side: int = 0, max_side: int = 4
) -> st.SearchStrategy[tuple[tuple[int, ...], ...]]:
    """Tuples of n shapes that NumPy can broadcast together, 0-d and empty ones among them."""
    return npst.mutually_broadcastable_shapes(
        num_shapes=n, max_dims=max_dims, min_side=min_side, max_side=max_side
    ).map(lambda found: found.input_shapes)


def _shapes() -> st.SearchStrategy[tuple[int, ...]]:
    return npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


def _elements(dtype: np.dtype) -> st.SearchStrategy[Any]:
    """Numbers whose squares and exponentials stay finite; no subnormals."""
    if dtype.kind == "f":
        return npst.from_dtype(
            dtype, min_value=-8, max_value=8, allow_nan=False, allow_subnormal=False
        )
    return npst.from_dtype(dtype)


@st.composite
def arrays(
    pick: Any,
    shape: Any = None,
    dtype: Any = "float64",
    elements: Any = None,
    layouts: Any = tuple(LAYOUTS),
) -> np.ndarray:
    """NumPy arrays in all kinds of memory: see `tape.testing.LAYOUTS`.

    Args:
        shape, dtype: fixed, or a strategy; by default up to three axes of length 0 to 4.
        elements: strategy for the elements, by default -8 to 8 for floating-point dtypes.
        layouts: names of the layouts to choose from.
    """
    shape = pick(_shapes() if shape is None else shape) if _is_open(shape) else shape
    dtype = np.dtype(pick(dtype) if _is_open(dtype) else dtype)
    drawn = pick(
        npst.arrays(dtype, shape, elements=_elements(dtype) if elements is None else elements)
    )
    return LAYOUTS[pick(st.sampled_from(sorted(layouts)))](drawn)


def _is_open(value: Any) -> bool:
    return value is None or isinstance(value, st.SearchStrategy)


@st.composite
def tensors(
    pick: Any,
    shape: Any = None,
    dtype: Any = "float64",
    elements: Any = None,
    requires_grad: Any = False,
    layouts: Any = tuple(LAYOUTS),
) -> Tensor:
    """Tensors, leaves; arguments as for `arrays`.

    Those that want a gradient are in memory of their own, others share it with an array of the
    layout drawn.
    """
    wanted = pick(requires_grad) if _is_open(requires_grad) else requires_grad
    array = pick(arrays(shape, dtype, elements, layouts))
    return Tensor(array, requires_grad=True) if wanted else asarray(array)


@st.composite
def broadcastable(
    pick: Any,
    n: int,
    *,
    dtype: Any = None,
    elements: Any = None,
    layouts: Any = tuple(LAYOUTS),
    min_side: int = 0,
) -> tuple[np.ndarray, ...]:
    """Tuples of n arrays that broadcast together, in all kinds of memory: arguments for `check`.

    Args:
        n: how many.
        dtype, elements, layouts: as for `arrays`, for each; by default float64 or float32.
        min_side: the least length of an axis; 1 leaves out empty arrays.
    """
    dtype = st.sampled_from(["float64", "float32"]) if dtype is None else dtype
    shapes = pick(broadcastable_shapes(n, min_side=min_side))
    return tuple(pick(arrays(shape, dtype, elements, layouts)) for shape in shapes)
