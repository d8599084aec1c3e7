"""`clip_grad_norm`: keeps the gradients of all parameters together from being too large."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from tape._core.memory import gradient_arrays, overwrite
from tape._core.tensor import Tensor
from tape._kernels.update import scale, sum_squares
from tape.errors import GradError
from tape.nn.arguments import number
from tape.optim.groups import listed

__all__ = ["clip_grad_norm"]


def clip_grad_norm(
    params: Iterable[Tensor] | Tensor,
    max_norm: float,
    norm_type: float | str = 2.0,
    error_if_nonfinite: bool = False,
) -> float:
    """The norm of all gradients as one vector, which is scaled down to `max_norm` if it is longer.

    g = g * max_norm / (norm + 1e-6)   if that is less than g, as PyTorch does it

    Args:
        params: tensors; those without a gradient are passed over, those given twice count once.
        max_norm: >= 0; inf leaves the gradients as they are.
        norm_type: > 0; 2 is the length, inf (or "inf") the largest absolute value.
        error_if_nonfinite: whether to refuse a norm that is infinite or NaN. If not, all gradients
            become 0 and NaN, or all NaN.

    Raises:
        TypeError: `params` holds something that is no tensor, or a norm is no number.
        ValueError: `max_norm` is negative or `norm_type` not positive.
        GradError: the norm is not finite, with `error_if_nonfinite`; the gradients are as before.

    >>> import tape
    >>> w = tape.tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w / 2).sum().backward()
    >>> tape.optim.clip_grad_norm([w], max_norm=1.0)
    5.0
    >>> w.grad
    tensor([0.6, 0.8], shape=(2,), float32)
    """
    max_norm = number("clip_grad_norm", "max_norm", max_norm, least=0, infinite=True)
    if norm_type == "inf":  # as PyTorch takes it
        norm_type = math.inf
    norm_type = number("clip_grad_norm", "norm_type", norm_type, infinite=True)
    if norm_type <= 0:
        raise ValueError(f"clip_grad_norm: norm_type must be above 0, got {norm_type}")
    tensors = [params] if isinstance(params, Tensor) else listed("clip_grad_norm", params)
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(f"clip_grad_norm: params[{i}] is a {type(t).__name__}, not a tensor")
    found = {id(t.grad): t for t in tensors if t.grad is not None and t.requires_grad}
    arrays, _ = gradient_arrays(list(found.values()))
    norm = _norm(arrays, norm_type)
    if error_if_nonfinite and not math.isfinite(norm):
        raise GradError(
            f"clip_grad_norm: the norm of the {len(arrays)} gradients is {norm}; some gradient is "
            "not finite"
        )
    factor = max_norm / (norm + 1e-6)
    if not factor >= 1:
        del arrays  # so that the gradients have one owner again
        overwrite([tensor.grad for tensor in found.values()], scale, factor)
    return norm


def _norm(arrays: list[np.ndarray], norm_type: float) -> float:
    """The norm of all numbers as one vector."""
    if norm_type == 2:
        norm = math.sqrt(sum_squares(arrays))
        if math.isfinite(norm):
            return norm
    sizes = [np.abs(array).astype(np.float64) for array in arrays if array.size]
    largest = float(np.max([np.max(size) for size in sizes], initial=0.0))
    if math.isinf(norm_type) or largest == 0 or not math.isfinite(largest):
        return largest
    with np.errstate(under="ignore"):
        total = sum(float(np.sum((size / largest) ** norm_type)) for size in sizes)
    return largest * total ** (1 / norm_type)
