from collections.abc import Callable as Function
from typing import Any

class Callable:
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

def chain(layers: list[Function[[Any], Any]], x: Any) -> Any: ...
def on_failure(undo: Function[[], object]) -> None: ...

journal: Any
