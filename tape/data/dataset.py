"""What a data set is: a length, and examples that are read many at once."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tape.errors import DataError

__all__ = ["ArrayDataset", "Dataset"]

Index: TypeAlias = "int | slice | NDArray[np.integer[Any]]"


class Dataset(Protocol):
    """Anything with a length whose examples can be read one, a slice or an integer array at a time.

    A NumPy array is one. To write your own, define the two methods (subclassing is optional); with
    a batch index the result is one array, or a tuple of arrays, whose first axis is the batch.
    """

    def __len__(self) -> int:
        """Number of examples."""
        ...

    def __getitem__(self, index: Index, /) -> Any:
        """Read the example or the batch at `index`."""
        ...


class ArrayDataset:
    """Arrays of equal length read together: k arrays give k-tuples.

    Args:
        arrays: examples along the first axis; kept as they are, not copied.

    Raises:
        DataError: no array, an array without a first axis, or lengths that differ.

    >>> import numpy as np
    >>> data = ArrayDataset(np.arange(6.0).reshape(3, 2), [7, 8, 9])
    >>> len(data), data[1]
    (3, (array([2., 3.]), np.int64(8)))
    >>> data[np.array([2, 0])][1]
    array([9, 7])
    """

    def __init__(self, *arrays: ArrayLike) -> None:
        self.arrays: tuple[NDArray[Any], ...] = tuple(np.asarray(a) for a in arrays)
        if not arrays:
            raise DataError("ArrayDataset: give at least one array")
        flat = [i for i, a in enumerate(self.arrays) if a.ndim == 0]
        if flat:
            raise DataError(f"ArrayDataset: array {flat[0]} is 0-d; examples lie along axis 0")
        lengths = [len(a) for a in self.arrays]
        if len(set(lengths)) > 1:
            shapes = ", ".join(str(a.shape) for a in self.arrays)
            raise DataError(f"ArrayDataset: lengths differ: {lengths} (shapes {shapes})")

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.arrays[0])

    def __getitem__(self, index: Index, /) -> tuple[Any, ...]:
        """Read the example or the batch at `index` from every array."""
        return tuple(a[index] for a in self.arrays)

    def __repr__(self) -> str:
        fields = ", ".join(f"{a.dtype}{list(a.shape[1:])}" for a in self.arrays)
        return f"ArrayDataset({len(self)} x ({fields}))"
