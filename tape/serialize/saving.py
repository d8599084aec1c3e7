"""`save`: models, optimizers and arrays into a file."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from tape._core.tensor import Tensor
from tape.nn.module import Module
from tape.nn.parameter import refuse_uninferred
from tape.nn.state import slots
from tape.serialize.atomic import replace
from tape.serialize.contents import OPTIMIZER, OWN, dismantled, text_of
from tape.serialize.format import header_of, write
from tape.serialize.generators import Generators, named, state_of

__all__ = ["save"]


def save(
    path: str | os.PathLike[str],
    model: Module | Mapping[str, Any],
    *,
    optimizer: Any = None,
    step: int | None = None,
    rng: Generators | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a checkpoint in the safetensors format: the whole of it, or the old file stays.

    A kill or a power cut at any moment leaves what was there before, or all of the new. What the
    model shares is written once. Other libraries read the file: parameters have their paths for
    names. Equal content makes equal files.

    Args:
        path: of the file; its folder must be there. A link stays, and so do the old file's
            permissions.
        model: a module, or arrays by name; an array under several names is written once.
        optimizer: whose settings and state are written too.
        step: number of the step, >= 0.
        rng: generators whose states are written: one, or several by name; that of the process is
            `tape.random.generator()`.
        metadata: more texts by name.

    Raises:
        ShapeError: sizes of the model are not inferred yet.
        DTypeError: an array is complex, of 16-bit floating point, text or of objects.
        TypeError, ValueError: an argument is none of these.
        OSError: the disk is full, or the folder is not there or not writable.
        CheckpointError: a name is not valid Unicode, or is `__metadata__`.

    >>> import tempfile, tape
    >>> from tape import nn
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = folder.name + "/net.safetensors"
    >>> net = nn.Sequential(nn.Dense(4, 3, activation=tape.tanh), nn.Dense(1, 4))
    >>> adam = tape.optim.Adam(net.parameters())
    >>> tape.save(path, net, optimizer=adam, step=7)
    >>> tape.load(path, net, optimizer=adam).step
    7
    >>> list(tape.load(path))
    ['0.weight', '0.bias', '1.weight', '1.bias']
    >>> folder.cleanup()
    """
    texts = checked_texts(metadata)
    arrays, aliases, paths = gathered(model)
    own: dict[str, Any] = {"aliases": aliases} if aliases else {}
    if optimizer is not None:
        if not hasattr(optimizer, "plan_load"):
            raise TypeError(f"save: {type(optimizer).__name__} is no optimizer of tape.optim")
        taken = next((name for name in [*arrays, *aliases] if name.startswith(OPTIMIZER)), None)
        if taken is not None:
            raise ValueError(f"save: {taken}: names with {OPTIMIZER!r} are the optimizer's")
        own["optimizer"], moments = dismantled(optimizer, paths)
        arrays |= moments
    if step is not None:
        own["step"] = checked_step(step)
    if generators := named("save", rng):
        own["rng"] = {name: state_of(g.bit_generator) for name, g in generators.items()}
    header = header_of(arrays, text_of(own) | texts)
    replace(os.fsdecode(path), lambda file: write(file, header, arrays))


def gathered(model: Any) -> tuple[dict[str, np.ndarray], dict[str, str], dict[int, str]]:
    """Arrays by their first names, first names by the others, and first names by identity."""
    held: list[tuple[Any, list[str]]]
    if isinstance(model, Module):
        held = [(slot.entry, slot.paths) for slot in slots(model)]
        refuse_uninferred([(names[0], entry) for entry, names in held], "save")
    elif isinstance(model, Mapping):
        same: dict[int, tuple[Any, list[str]]] = {}
        for name, value in model.items():
            if not isinstance(name, str):
                raise TypeError(f"save: names of arrays are texts, got {name!r}")
            same.setdefault(id(value), (value, []))[1].append(name)
        held = list(same.values())
    else:
        raise TypeError(
            f"save: takes a module or a dictionary of arrays by name, got a {type(model).__name__}"
        )
    # A view makes steps taken meanwhile write elsewhere: what is saved stays as it is now.
    arrays = {
        names[0]: value.numpy() if isinstance(value, Tensor) else np.asarray(value)
        for value, names in held
    }
    aliases = {name: names[0] for _, names in held for name in names[1:]}
    return arrays, aliases, {id(value): names[0] for value, names in held}


def checked_texts(metadata: Any) -> dict[str, str]:
    """The user's texts by name; TypeError or ValueError if they are none."""
    texts = {} if metadata is None else dict(metadata)
    for name, text in texts.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(f"save: metadata are texts by name, got {text!r} at {name!r}")
        if name.startswith(OWN):
            raise ValueError(f"save: metadata: names that start with {OWN!r} are taken: {name!r}")
    return texts


def checked_step(step: Any) -> int:
    """The step as Python's integer; TypeError or ValueError if it is none."""
    n = operator.index(step)
    if n < 0 or isinstance(step, bool):
        raise ValueError(f"save: step is a number >= 0, got {step!r}")
    return n
