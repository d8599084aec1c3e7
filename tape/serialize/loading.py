"""`load`: a file into a model, an optimizer and generators, or into arrays."""

from __future__ import annotations

import os
import stat
from typing import Any, NamedTuple, overload

import numpy as np

from tape.errors import CheckpointError
from tape.nn.module import Module
from tape.nn.state import commit, listed, plan, slots
from tape.serialize.contents import Contents, assembled, contents_of
from tape.serialize.format import read_arrays, read_header
from tape.serialize.generators import Generators, checked_state, named

__all__ = ["Loaded", "load"]


class Loaded(NamedTuple):
    """What a file said beside the arrays, and what a load that is not strict passed over."""

    step: int | None
    metadata: dict[str, str]
    missing_keys: list[str]
    unexpected_keys: list[str]


@overload
def load(path: str | os.PathLike[str], *, widen: bool = ...) -> dict[str, np.ndarray]: ...


@overload
def load(
    path: str | os.PathLike[str],
    model: Module | None = ...,
    *,
    optimizer: Any = ...,
    rng: Generators | None = ...,
    strict: bool = ...,
    widen: bool = ...,
) -> Loaded: ...


def load(
    path: str | os.PathLike[str],
    model: Module | None = None,
    *,
    optimizer: Any = None,
    rng: Generators | None = None,
    strict: bool = True,
    widen: bool = False,
) -> Loaded | dict[str, np.ndarray]:
    """Set a model, an optimizer and generators from a file: all of them, or none after an error.

    With none of these, the result is the file's arrays by name: shared ones under all their names,
    without those of an optimizer. Sizes that are not inferred yet are taken from the file. What the
    model shares may stand in the file under any of its paths; where it stands under several, they
    must agree. Files of PyTorch load by name and shape: weights of `Dense` are (out, in), those of
    convolutions (out, in, ...), those of recurrent layers have its names and order of gates.

    Args:
        path: of the file.
        model: whose parameters and buffers are set.
        optimizer: of the same kind, on the same parameters in the same groups. If sizes are to be
            inferred, load the model first, then make the optimizer and load that.
        rng: generators to set, one or several by name, as they were saved.
        strict: whether the file must have every path of the model and no other.
        widen: whether arrays of 16-bit floating point (F16, BF16) are read as float32; otherwise
            they are refused.

    Returns:
        ``(step, metadata, missing_keys, unexpected_keys)``, or arrays by name.

    Raises:
        CheckpointError: the file is damaged, truncated or none at all, or it does not fit; all that
            does not is listed.
        TypeError: an argument is none of these.
        OSError: there is no such file, or it cannot be read.
    """
    name, generators = os.fsdecode(path), named("load", rng)
    if model is not None and not isinstance(model, Module):
        raise TypeError(f"load: takes a module to load into, got a {type(model).__name__}")
    if optimizer is not None and not hasattr(optimizer, "plan_load"):
        raise TypeError(f"load: {type(optimizer).__name__} is no optimizer of tape.optim")
    is_plain = model is None and optimizer is None and rng is None
    known = [] if model is None else slots(model)
    places = None if is_plain else {place for slot in known for place in slot.paths}
    with open(path, "rb", opener=regular) as file:
        header = read_header(file, os.fstat(file.fileno()).st_size, name)
        contents = contents_of(header, name)
        sources = spread(contents, places) if is_plain or model is not None else {}
        wanted = [source for p, source in sources.items() if places is None or p in places]
        wanted += [] if optimizer is None else contents.moments
        arrays = read_arrays(file, header, wanted, name, widen)
    values: dict[str, Any] = {place: arrays.get(source) for place, source in sources.items()}
    if is_plain:
        return values

    planned = plan(known, values, strict)
    faults, attributes = planned.faults, []
    if optimizer is not None:
        paths = {id(slot.entry): slot.paths for slot in known}
        groups, wrong = assembled(optimizer, contents, arrays, paths)
        faults += wrong
        attributes.append((optimizer, "param_groups", groups))
    for key, generator in generators.items():
        state, wrong = checked_state(key, generator, contents.rng.get(key))
        faults += wrong
        attributes.append((generator.bit_generator, "state", state))
    if faults:
        raise CheckpointError(listed(f"load: {name}: nothing was loaded:", faults))
    commit(planned.values, attributes)
    return Loaded(contents.step, contents.metadata, *planned.skipped)


def spread(contents: Contents, places: set[str] | None) -> dict[str, str]:
    """The file's name of what belongs to each path: `places` are those asked for, None for all.

    What is shared counts as unexpected, under its own name, only if none of its names is known.
    """
    sources: dict[str, str] = {}
    for source, names in contents.names.items():
        found = names if places is None else [n for n in names if n in places] or [source]
        sources |= dict.fromkeys(found, source)
    return sources


def regular(path: str, flags: int) -> int:
    """Open a file for `open`; CheckpointError for a pipe, which would keep one waiting."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise CheckpointError(f"load: {os.fsdecode(path)} is no regular file")
    return os.open(path, flags)
