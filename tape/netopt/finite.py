"""`finite`: a look for NaN and infinity, where numbers of a model come in."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape.errors import NumericsError

__all__ = ["finite"]


def finite(name: str, *arrays: Any) -> None:
    """Raise NumericsError if there is NaN or infinity in arrays."""
    for array in arrays:
        if not np.isfinite(array).all():
            n = int(np.count_nonzero(~np.isfinite(array)))
            raise NumericsError(f"{name}: {n} of {array.size} numbers are NaN or infinite")
