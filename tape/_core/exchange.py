"""Tensors handed to other libraries and taken from them: DLPack, NumPy, the Array API.

A value never changes, so what is handed out without a copy is read-only.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from tape._core.memory import asarray
from tape._core.tensor import Tensor
from tape.errors import DTypeError

CPU = (1, 0)
API_VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12")


def check_device(device: Any, name: str) -> None:
    """ValueError, in the name of a function, unless the device is None or "cpu"."""
    if device is not None and device != "cpu":
        raise ValueError(f"{name}: device: {device!r} is not there, only None or 'cpu'")


def array(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    """The value for NumPy: a read-only view, or a copy where the dtype or `copy` wants one.

    Raises:
        ValueError: `copy` is False, and another dtype is asked for.
    """
    if dtype is not None and self.dtype != dtype:
        if copy is False:
            raise ValueError(f"a {self.dtype} tensor cannot become {np.dtype(dtype)} uncopied")
        return self.numpy().astype(dtype)
    return self.numpy().copy() if copy else self.numpy()


def dlpack(
    self: Tensor,
    /,
    *,
    stream: None = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """A DLPack capsule of the value: read-only, on the tensor's own memory, which it keeps alive.

    A consumer that knows only versions below 1.0 is not told what is read-only: it gets a copy; so
    does one of a tensor that runs backwards, as ``x[::-1]``, since not every library can do that.

    Args:
        self: the tensor.
        stream: None, for there are none.
        max_version: newest version of DLPack that the consumer reads, None for those below 1.0.
        dl_device: None or (1, 0), the CPU.
        copy: True for memory of its own, False for none, None for a copy where one is needed.

    Raises:
        BufferError: the tensor requires a gradient; another device or a stream is asked for; a copy
            is needed but not allowed.

    >>> import numpy as np, tape
    >>> np.from_dlpack(tape.tensor([1.0, 2.0])).flags.writeable
    False
    """
    if self.requires_grad:
        raise BufferError("__dlpack__: the tensor requires a gradient: detach() it first")
    if stream is not None:
        raise BufferError(f"__dlpack__: stream {stream!r} for a tensor on the CPU, expected None")
    if dl_device is not None and tuple(dl_device) != CPU:
        raise BufferError(f"__dlpack__: device {dl_device}, there is only the CPU, {CPU}")
    value = self.numpy()
    if min(value.strides, default=0) < 0:  # PyTorch ends the process
        if copy is False:
            raise BufferError(f"__dlpack__: strides {value.strides} are below 0: allow a copy")
        copy = True
    if max_version is not None and max_version[0] >= 1:
        return value.__dlpack__(max_version=max_version, copy=copy)
    if copy is False:
        raise BufferError(
            "__dlpack__: memory is read-only, which DLPack cannot say before version 1.0: "
            "allow a copy, or ask with max_version=(1, 0)"
        )
    return value.copy().__dlpack__()


def dlpack_device(self: Tensor) -> tuple[int, int]:
    """Where the elements are, in DLPack's numbers: (1, 0), the CPU."""
    return CPU


def from_dlpack(x: Any, /, *, device: str | None = None, copy: bool | None = None) -> Tensor:
    """A tensor on the memory of another library's array, which stays alive as long as it is used.

    As with `asarray`, what depends directly on such shared memory is computed anew each time, since
    its owner may write to it.

    Args:
        x: an object with `__dlpack__`: an array of NumPy, PyTorch, JAX, CuPy, ...
        device: None or "cpu".
        copy: True for memory of its own, False for an error where it cannot be shared.

    Raises:
        TypeError: x has no `__dlpack__`.
        DTypeError: its dtype is none of tape's.
        BufferError: it is not in this machine's memory, or requires a gradient.
        ValueError: device is neither None nor "cpu".

    >>> import numpy as np, tape
    >>> tape.from_dlpack(np.array([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """
    check_device(device, "from_dlpack")
    if not hasattr(x, "__dlpack__"):
        raise TypeError(f"from_dlpack: a {type(x).__name__} has no __dlpack__; see asarray")
    try:
        shared = np.from_dlpack(x) if copy is not False else np.from_dlpack(x, copy=False)
    except RuntimeError as error:
        raise DTypeError(f"from_dlpack: {error}") from error
    try:
        return asarray(shared.copy() if copy else shared)
    except DTypeError:
        raise DTypeError(f"from_dlpack: dtype {shared.dtype} is not supported") from None


def array_namespace(self: Tensor, /, *, api_version: str | None = None) -> Any:
    """The module whose functions take this tensor, by the Array API standard: `tape`.

    Raises:
        ValueError: tape does not follow that version of the standard.
    """
    if api_version is not None and api_version not in API_VERSIONS:
        known = ", ".join(API_VERSIONS)
        raise ValueError(f"__array_namespace__: version {api_version!r} is none of {known}")
    return sys.modules["tape"]


def to_device(self: Tensor, device: str, /, *, stream: None = None) -> Tensor:
    """The tensor itself, which is on the only device.

    Raises:
        ValueError: the device is not "cpu", or a stream is given.
    """
    check_device(device, "to_device")
    if stream is not None:
        raise ValueError(f"to_device: stream {stream!r} for a tensor on the CPU, expected None")
    return self


def to_complex(self: Tensor) -> complex:
    """The only element, as a complex number; ShapeError if there is not just one."""
    return complex(self.item())
