from typing import Any

from numpy import floating, int32
from numpy.typing import NDArray

__all__ = ["SparseRows"]

class SparseRows:
    starts: NDArray[int32]
    places: NDArray[int32]
    values: NDArray[floating[Any]]
    rows: int
    columns: int
    def __init__(
        self,
        starts: NDArray[int32],
        places: NDArray[int32],
        values: NDArray[floating[Any]],
        columns: int,
    ) -> None: ...
    def product(
        self, x: NDArray[floating[Any]], bias: NDArray[floating[Any]] | None = None
    ) -> NDArray[Any]: ...
