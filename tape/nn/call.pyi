from collections.abc import Callable
from typing import Any

class Called:
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

def chain(layers: list[Callable[[Any], Any]], x: Any) -> Any: ...
def on_failure(undo: Callable[[], object]) -> None: ...

journal: Any
