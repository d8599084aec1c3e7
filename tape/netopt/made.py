"""`Made`: what a lowered layer made of its buffers, until they change."""

from __future__ import annotations

from typing import Any

__all__ = ["Made"]


class Made:
    """What was made of some arrays, until they are others; a copy is empty."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last: tuple[Any, list[Any], Any] = None, [], None  # key, arrays, what was made

    def __deepcopy__(self, memo: dict[int, Any]) -> Made:
        return Made()
