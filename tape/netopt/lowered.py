"""`Lowered`: base of layers that compute forward only, fast, and say so when walked back."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape._core.state import no_grad
from tape._core.tensor import Tensor
from tape.errors import GradError
from tape.nn.module import Module
from tape.op import op

__all__ = ["Lowered"]


class Lowered(Module):
    """A layer without gradients: a subclass computes in `run`, and its tensors are buffers.

    Nothing of `run` is recorded. A result that depends on what needs a gradient can be used as
    any other, but walking back through it raises.

    Raises:
        GradError: backward came to this layer.

    >>> import tape
    >>> from tape import netopt
    >>> class Whole(netopt.Lowered):
    ...     def run(self, x):
    ...         return tape.round(x)
    >>> x = tape.tensor([1.4, 2.6], requires_grad=True)
    >>> y = Whole()(x)
    >>> y.tolist()
    [1.0, 3.0]
    >>> y.sum().backward()
    Traceback (most recent call last):
    ...
    tape.errors.GradError: Whole is lowered, it computes forward only: train the model first...
    """

    def run(self, x: Any) -> Any:
        """What the layer computes: every lowered layer says it for itself."""
        raise NotImplementedError(f"{type(self).__name__} has no run(self, x)")

    @property
    def n_weights(self) -> int:
        """How many learned numbers the layer stands for: by default those that it holds."""
        return sum(held.size for _, held in self.entries() if isinstance(held, Tensor))

    def forward(self, x: Any) -> Any:
        """What `run` gives for x, with an end to gradients."""
        with no_grad():
            y = self.run(x)
        if isinstance(x, Tensor) and x.requires_grad and isinstance(y, Tensor):
            return forward_only(x, y, layer=type(self).__name__)
        return y


def shape_of_result(x: Any, y: Any, *, layer: str) -> Any:
    """That of y."""
    return y


@op(shape=shape_of_result)
def forward_only(x, y, /, *, layer):
    """y, which has been computed from x by a lowered layer."""
    return np.array(y)


@forward_only.defvjp("x")
def forward_only_vjp(g, layer):
    """Raise GradError."""
    raise GradError(
        f"{layer} is lowered, it computes forward only: train the model first, then lower it"
    )
