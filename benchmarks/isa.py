"""Kernels of one instruction set or another, for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


def using(isa: str) -> Callable[[], contextlib.AbstractContextManager]:
    """A scope in which the kernels of an instruction set are used."""
    from tape._kernels import table

    @contextlib.contextmanager
    def scope() -> Iterator[None]:
        before = table.used()
        table.use(isa)
        try:
            yield
        finally:
            table.use(before)

    return scope
