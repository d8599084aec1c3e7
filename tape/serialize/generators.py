"""The states of NumPy's generators as what JSON can hold, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["Generators", "checked_state", "named", "state_of"]

Generators = np.random.Generator | Mapping[str, np.random.Generator]


def named(function: str, rng: Any) -> dict[str, np.random.Generator]:
    """Generators by name; one by itself is called "rng".

    Raises:
        TypeError: something else was given.
    """
    given = rng if isinstance(rng, Mapping) else {} if rng is None else {"rng": rng}
    for name, generator in given.items():
        if not isinstance(name, str) or not isinstance(generator, np.random.Generator):
            raise TypeError(
                f"{function}: rng is a numpy.random.Generator or several by name, got "
                f"{type(generator).__name__}"
            )
    return dict(given)


def state_of(bits: np.random.BitGenerator) -> Any:
    """The state, arrays as lists."""
    return plain(bits.state)


def plain(value: Any) -> Any:
    """Python's own dictionaries, lists and numbers for NumPy's."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def checked_state(name: str, generator: np.random.Generator, state: Any) -> tuple[Any, list[str]]:
    """A state that can be set on the generator's bits without failing, and what is wrong with it.

    Args:
        name: for what is wrong.
        generator: is not changed.
        state: what `state_of` gave, after JSON; None if the file has none of this name.
    """
    bits = generator.bit_generator
    kind = type(bits).__name__
    if state is None:
        return None, [f"rng {name}: the file has no generator of this name"]
    found = state.get("bit_generator") if isinstance(state, dict) else None
    if found != kind:
        return None, [f"rng {name}: this is a {kind!r}, in the file it is {found!r}"]
    fresh = type(bits)()
    try:
        fresh.state = state
        is_same = state_of(fresh) == state
    except (ArithmeticError, LookupError, TypeError, ValueError):
        is_same = False
    return fresh.state, [] if is_same else [f"rng {name}: its state in the file is damaged"]
