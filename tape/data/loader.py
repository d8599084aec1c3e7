"""Batches of a data set, in order or shuffled, read ahead by a thread if wanted."""

from __future__ import annotations

import operator
import os
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tape._core.tensor import Tensor
from tape.data.dataset import Dataset
from tape.errors import DataError
from tape.ops.random import generator

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["DataLoader"]


class DataLoader:
    """Batches of a data set: iterate over it once per epoch.

    Every batch is `dataset[index]` for an integer array `index`: an array, or a tuple, list or
    dictionary of arrays, which stays what it is; a list of numbers counts as an array. An epoch's
    whole order is drawn when its iteration starts, so what the loop or a transform draws meanwhile,
    an early `break` and `prefetch` change no later epoch's order.

    Args:
        dataset: see `Dataset`; a plain array will do, a tuple of arrays needs `ArrayDataset`.
        batch_size: examples per batch, at least 1.
        shuffle: draw a new permutation for each epoch.
        drop_last: leave out a last batch of fewer than `batch_size` examples.
        rng: a generator, or the seed of one, for `shuffle`; by default that of `tape.random`.
        prefetch: batches that a thread reads ahead while the loop works; 0 for no thread.
        transform: `batch -> batch` on NumPy arrays, such as augmentation; runs in that thread.
        tensors: give tensors; with False the batches stay NumPy arrays.

    Raises:
        DataError: a data set that cannot be indexed by an array, or a setting out of range; while
            iterating, a batch of something that no tensor can be made of.
        TypeError: a setting that must be a whole number is none.

    >>> import numpy as np
    >>> loader = DataLoader(np.arange(5), batch_size=2, shuffle=True, rng=3, tensors=False)
    >>> len(loader), sorted(int(i) for batch in loader for i in batch)
    (3, [0, 1, 2, 3, 4])
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        rng: np.random.Generator | int | None = None,
        prefetch: int = 0,
        transform: Callable[[Any], Any] | None = None,
        tensors: bool = True,
    ) -> None:
        if isinstance(dataset, tuple | list | dict | str | bytes):
            kind = type(dataset).__name__
            raise DataError(f"DataLoader: a {kind} is no data set; use ArrayDataset(x, y)")
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            raise DataError(
                f"DataLoader: a {type(dataset).__name__} is no data set, which needs __len__ and "
                "__getitem__; see Dataset"
            )
        self.batch_size = _whole("batch_size", batch_size, 1)
        self.prefetch = _whole("prefetch", prefetch, 0)
        self.dataset = dataset
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.rng = rng if rng is None else np.random.default_rng(rng)
        self.transform = transform
        self.tensors = tensors

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        """Start an epoch: draw its order and give its batches."""
        order = self._draw_order()
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        indices = (order[i : i + self.batch_size] for i in starts)
        if self.prefetch:
            batches = read_ahead(self._read, indices, self.prefetch)
        else:
            batches = map(self._read, indices)
        # Tensors are made in the loop's thread: the tape is per thread.
        return map(as_tensors, batches) if self.tensors else batches

    def _draw_order(self) -> NDArray[np.intp]:
        n = len(self.dataset)
        if not self.shuffle:
            return np.arange(n)
        if self.rng is not None:
            return self.rng.permutation(n)
        return generator().permutation(n)

    def _read(self, index: NDArray[np.intp]) -> Any:
        batch = self.dataset[index]
        return batch if self.transform is None else self.transform(batch)


def read_ahead(read: Callable[[Any], Any], indices: Iterator[Any], n_ahead: int) -> Iterator[Any]:
    """Give `read(index)` for each index, up to `n_ahead` of them read by a thread in advance.

    An exception of `read` is raised here, at its place in the order, with its traceback. The
    thread ends with this generator: exhausted, closed, or dropped by a `break`.
    """
    from concurrent.futures import (
        ThreadPoolExecutor,
    )  # late: a sixth of what importing tape may cost

    owner = os.getpid()
    thread = ThreadPoolExecutor(1, thread_name_prefix="tape-prefetch")
    pending: deque[tuple[Any, Future[Any]]] = deque()

    def refill(n: int) -> None:
        pending.extend((index, thread.submit(read, index)) for index in islice(indices, n))

    def take() -> Any:
        index, future = pending.popleft()
        if os.getpid() != owner:  # forked in mid-epoch: the thread is not in this process
            return read(index)
        batch = future.result()
        refill(1)
        return batch

    try:
        refill(n_ahead)
        while pending:
            yield take()
        yield from map(read, indices)  # what is left after a fork
    finally:
        if os.getpid() == owner:
            thread.shutdown(wait=True, cancel_futures=True)


def as_tensors(batch: Any) -> Any:
    """Make an array, or each array of a tuple, list or dictionary, a tensor of its own.

    It copies: on memory that a transform or a data set may still hold nothing would be reused.

    Raises:
        DataError: there is something else in it.
    """
    if isinstance(batch, dict):
        return {key: as_tensors(part) for key, part in batch.items()}
    is_array = isinstance(batch, list) and batch and all(isinstance(n, Number) for n in batch)
    if isinstance(batch, tuple | list) and not is_array:
        parts = [as_tensors(part) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    if not is_array and not isinstance(batch, Number) and not hasattr(batch, "__array__"):
        raise DataError(
            f"DataLoader: a {type(batch).__name__} in a batch, which needs arrays, or tuples, "
            "lists or dictionaries of them; tensors=False gives it as it is"
        )
    return Tensor(batch)


def _whole(name: str, value: Any, least: int) -> int:
    try:
        n = operator.index(value)
    except TypeError:
        raise TypeError(f"DataLoader: {name} must be a whole number, got {value!r}") from None
    if n < least:
        raise DataError(f"DataLoader: {name} is {n}, needs at least {least}")
    return n
