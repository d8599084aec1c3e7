from typing import Any

class Trace:
    steps: dict[int, Any]
    reads: list[tuple[int, int, str, Any, Any]]

def reads_since(first: int) -> list[tuple[int, str, str]]: ...
def read_at(place: Any) -> str: ...
