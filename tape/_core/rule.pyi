from collections.abc import Callable, Sequence
from typing import Any, final

FREED: str

@final
class Rule:
    def __init__(
        self,
        function: Callable[..., Any],
        sources: Sequence[tuple[int, int]],
        kwnames: tuple[str, ...],
    ) -> None: ...
    @property
    def function(self) -> Callable[..., Any]: ...

def unchanged(g: Any) -> Any: ...
