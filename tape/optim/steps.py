"""How a step is taken: what belongs together is gathered, then all of it is changed at once.

Note [Atomic step]
A step gathers everything first: gradients, new arrays of state, settings as numbers. Then kernels
that check before they write run one after the other, and what they did is noted down. This file is
compiled, so nothing can interrupt these: Python looks for Ctrl-C only where it interprets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tape._core.memory import gradient_arrays, overwrite
from tape._core.tensor import Tensor

__all__ = ["Track", "take_step"]


class Track:
    """How far each parameter of a group is, in their order."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self.tensors = tensors
        self.steps = [0] * len(tensors)
        self.columns: dict[str, list[np.ndarray | None]] = {}  # arrays of state by name
        self.is_even = True  # all have taken as many steps and have the same arrays

    def advance(self) -> None:
        """All have taken a step."""
        self.steps = [n + 1 for n in self.steps]

    def keep(self, members: list[int], state: Mapping[str, list[np.ndarray]]) -> None:
        """Some have taken a step, and have these arrays now."""
        for i in members:
            self.steps[i] += 1
        for name, arrays in state.items():
            column = self.columns.setdefault(name, [None] * len(self.tensors))
            for i, array in zip(members, arrays, strict=True):
                column[i] = array
        self.compare()

    def compare(self) -> None:
        """Find out whether all are equally far."""
        self.is_even = len(set(self.steps)) == 1 and all(
            array is not None for column in self.columns.values() for array in column
        )


# One kernel call, for parameters of a group that are equally far: track, which of its parameters
# (None: all), their tensors, gradients and arrays of state, the kernel and its other arguments.
Call = tuple[Track, "list[int] | None", list, list, dict, Callable[..., None], tuple]


def take_step(optimizer: Any) -> None:
    """Change every parameter that has a gradient: all of them, or none after an error."""
    calls: list[Call] = []
    for group in optimizer.param_groups:
        gather(optimizer, group, group.track, calls)
    if len(calls) == 1:
        _, _, tensors, grads, _, kernel, args = calls[0]
        overwrite(tensors, kernel, grads, *args)
    elif calls:
        overwrite([tensor for call in calls for tensor in call[2]], run, calls)
    for track, members, _, _, state, _, _ in calls:
        if members is None:
            track.advance()
        else:
            track.keep(members, state)


def gather(optimizer: Any, settings: Mapping[str, Any], track: Track, calls: list[Call]) -> None:
    """Append the kernel calls of one group."""
    tensors, columns = track.tensors, track.columns
    grads, n_grads = gradient_arrays(tensors)
    if n_grads == 0:
        return
    names = optimizer.needs(settings)
    ready = track.is_even and n_grads == len(grads)
    for name in names:
        ready = ready and name in columns
    if ready:
        kernel, args = optimizer.kernel_call(settings, columns, track.steps[0] + 1, False)
        calls.append((track, None, tensors, grads, columns, kernel, args))
        return
    alike: dict[tuple[int, tuple[bool, ...]], list[int]] = {}
    for i, grad in enumerate(grads):
        if grad is not None:
            has = tuple([name in columns and columns[name][i] is not None for name in names])
            alike.setdefault((track.steps[i], has), []).append(i)
    for (taken, has), members in alike.items():
        moving = [tensors[i] for i in members]
        state = {}
        for name, is_there in zip(names, has, strict=True):
            if is_there:
                state[name] = [columns[name][i] for i in members]
            else:
                state[name] = [np.zeros(tensor.shape, tensor.dtype) for tensor in moving]
        kernel, args = optimizer.kernel_call(settings, state, taken + 1, not all(has))
        given = [grads[i] for i in members]
        calls.append((track, members, moving, given, state, kernel, args))


def run(arrays: list[np.ndarray], calls: list[Call]) -> None:
    """Call the kernels one after the other; see Note [Atomic step]."""
    start = 0
    for _, _, _, grads, _, kernel, args in calls:
        stop = start + len(grads)
        kernel(arrays[start:stop], grads, *args)
        start = stop
