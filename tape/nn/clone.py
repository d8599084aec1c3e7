"""Copies of modules: deep ones with own or shared parameters, and shallow ones.

Note [Copies of trees]
A copy makes an empty module for every one below first, then fills them: what is shared in the
original is shared in the copy, and no depth is too deep. `__init__` does not run. Generators of
random numbers stay the same objects, so that a module and its clone do not draw the same noise. A
weak reference to a module that is copied refers to its copy. A plain tensor that an operation
computed stays the same object, as do functions with all that they close over.
"""

from __future__ import annotations

import copy
import weakref
from typing import Any

import numpy as np

from tape._core.convert import known_dtype
from tape._core.tensor import Tensor
from tape.errors import DTypeError, TapeError
from tape.nn.call import Called
from tape.nn.freeze import holding
from tape.nn.parameter import Uninferred, holders_of, is_parameter
from tape.nn.state import settle
from tape.nn.tree import below, held

__all__ = ["astype", "check_mode", "clone", "shallow", "twins"]

MODES = ("learnable", "constant", "shared")


def clone(module: Any, parameters: str) -> Any:
    """A copy of a module and all below; see `Module.clone`."""
    check_mode("clone", parameters)
    twin = twins(module, {}, parameters == "shared")
    return twin.freeze() if parameters == "constant" else twin


def astype(module: Any, dtype: Any) -> Any:
    """A copy of a module and all below in another dtype; see `Module.astype`."""
    known = known_dtype(dtype, "astype")
    if known.kind != "f":
        raise DTypeError(f"astype: the dtype of a module is a floating-point one, got {known}")
    return twins(module, {}, share=False, dtype=known)


def check_mode(function: str, parameters: Any) -> None:
    """ValueError unless `parameters` is one of the three that copies know."""
    if not isinstance(parameters, str) or parameters not in MODES:
        raise ValueError(
            f"{function}: parameters is 'learnable', 'constant' or 'shared', got {parameters!r}"
        )


def twins(root: Any, memo: dict[int, Any], share: bool, dtype: Any = None) -> Any:
    """The copy of a module, with the copies that `memo` knows by the ids of the originals.

    With `dtype`, floating-point parameters and buffers have that one.

    Raises:
        TapeError: an attribute cannot be copied.
    """
    modules = [module for module in below(root) if id(module) not in memo]
    memo |= {id(module): bare(module) for module in modules}
    made = []
    for module in modules:
        for _, part in held(module):
            value = part.value if isinstance(part, Uninferred) else None
            for entry in (value, part):  # what is made already comes first
                if not (entry is None or isinstance(entry, Called) or id(entry) in memo):
                    memo[id(entry)] = entry if share else own(entry, memo, dtype)
                    made.append(entry)
    at: Any = root, "", None  # what is being copied, for the error
    try:
        for module in modules:
            for at in attributes(module):
                put(memo[id(module)], at, mapped(at[2], memo, share))
    except Exception as error:
        path = next(path for path, m in root.named_modules() if m is at[0])
        where = ".".join([type(root).__name__, *filter(None, [path]), at[1]])
        raise TapeError(
            f"clone: {where}, a {type(at[2]).__name__}, cannot be copied: {error}"
        ) from error
    frozen = [memo[id(module)] for module in modules if module.is_frozen]
    changes = [] if share else [inherited(memo[id(entry)], entry, memo) for entry in made]
    settle([], [change for change in changes if change is not None])
    settle([], holding(frozen, stop=False) if share else [])
    return memo[id(root)]


def bare(original: Any) -> Any:
    """A module of the same class without any attributes, or a tensor without a value."""
    kind: Any = type(original)
    return kind.__new__(kind)


def own(entry: Any, memo: dict[int, Any], dtype: Any = None) -> Any:
    """A copy of a parameter or buffer, without its gradient and its name, which stays one's."""
    if dtype is None or entry.dtype.kind != "f":
        dtype = entry.dtype
    if isinstance(entry, Uninferred):
        twin = Uninferred(entry.shape, entry.init, entry.rng, dtype, entry.kind)
        twin.value = None if entry.value is None else memo[id(entry.value)]
        return twin
    if entry.dtype == dtype:
        twin = copy.copy(entry)
    else:
        twin = bare(entry)
        Tensor.__init__(twin, entry.numpy(), dtype, entry.requires_grad)
    twin.name = None
    twin.zero_grad()
    return twin


def inherited(twin: Any, entry: Any, memo: dict[int, Any]) -> Any:
    """What `settle` takes so that the copies of frozen modules hold the copy of a parameter."""
    holders = holders_of(entry)
    if not holders or not is_parameter(entry):
        return None
    left = tuple([weakref.ref(memo[id(at())]) for at in holders if id(at()) in memo])
    return twin, left, None if left or isinstance(entry, Uninferred) else True


def attributes(module: Any) -> list[tuple[Any, str, Any]]:
    """(module, name, value) of all attributes, those in slots too."""
    slots = [
        name
        for cls in type(module).__mro__
        for name in (cls.__dict__.get("__slots__") or ())
        if name not in ("__dict__", "__weakref__") and hasattr(module, name)
    ]
    own = list(vars(module).items())
    return [(module, name, value) for name, value in own] + [
        (module, name, getattr(module, name)) for name in slots
    ]


def put(twin: Any, at: tuple[Any, str, Any], value: Any) -> None:
    """Set the attribute of a copy that `at` is in the original, as it is."""
    if at[1] in vars(at[0]):
        vars(twin)[at[1]] = value
    else:
        object.__setattr__(twin, at[1], value)


def mapped(value: Any, memo: dict[int, Any], share: bool) -> Any:
    """The value of an attribute for a copy."""
    if id(value) in memo:
        return memo[id(value)]
    if value is None or isinstance(value, (bool, int, float, str, np.random.Generator)):
        return value
    if type(value) in (list, dict):
        twin = memo[id(value)] = type(value)()
        if isinstance(value, list):
            twin += [mapped(part, memo, share) for part in value]
        else:
            twin |= {key: mapped(part, memo, share) for key, part in value.items()}
        return twin
    if type(value) is tuple:
        return tuple([mapped(part, memo, share) for part in value])
    if type(value) is weakref.ref:
        target = memo.get(id(value()))
        return value if target is None else weakref.ref(target)
    if isinstance(value, Tensor):
        twin = memo[id(value)] = value if share or not value.is_leaf else own(value, memo)
        return twin
    return copy.deepcopy(value, memo)


def shallow(module: Any, parts: dict[int, Any]) -> Any:
    """A copy that holds the same parts, but for those whose ids are in `parts`.

    Lists, tuples and dictionaries are copied, so that changing one does not change the original.
    """
    twin = bare(module)
    for at in attributes(module):
        put(twin, at, with_parts(at[2], parts))
    if module.is_frozen:
        settle([], holding([twin], stop=False))
    return twin


def with_parts(value: Any, parts: dict[int, Any]) -> Any:
    """The value of an attribute with other parts in it."""
    if id(value) in parts:
        return parts[id(value)]
    twin: Any
    if isinstance(value, list):
        twin = copy.copy(value)
        twin[:] = [with_parts(part, parts) for part in value]
        return twin
    if isinstance(value, dict):
        twin = copy.copy(value)
        for key, part in value.items():
            twin[key] = with_parts(part, parts)
        return twin
    if isinstance(value, tuple):
        made = [with_parts(part, parts) for part in value]
        if all(a is b for a, b in zip(made, value, strict=True)):
            return value
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    return value
