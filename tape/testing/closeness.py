"""How close two computed numbers must be: the tolerances of all tests, by dtype."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["TOLERANCES", "Tolerance", "assert_close", "lowest_float"]


class Tolerance(NamedTuple):
    """Allowed differences, each relative to the largest number that went into the result.

    Args:
        rounding: between two orders of the same additions and multiplications.
        function: between two ways to compute a function, such as a kernel and its reference.
        difference: between a derivative and a central difference with `step`.
        step: width of that central difference.
    """

    rounding: float
    function: float
    difference: float
    step: float


# float64: an error of 1.001 in a rule must show, one of the C library's last digits must not.
TOLERANCES = {
    "float32": Tolerance(rounding=2e-5, function=1e-4, difference=5e-2, step=1e-2),
    "float64": Tolerance(rounding=1e-11, function=1e-10, difference=1e-6, step=1e-5),
}


def lowest_float(arrays: Any) -> str:
    """The name of the least precise floating dtype among arrays; float64 where there is none."""
    dtypes = {np.asarray(a).dtype.name for a in arrays}
    return "float32" if "float32" in dtypes else "float64"


def assert_close(actual: Any, desired: Any, allowed: float, what: str = "") -> None:
    """AssertionError unless arrays agree within `allowed`, relative to the largest finite number.

    Shapes must be equal, infinities and NaN must sit in the same places.

    Raises:
        AssertionError: they do not agree; the message holds `what`.

    >>> assert_close([1.0, 2e-9], [1.0, 0.0], allowed=1e-8)
    """
    actual, desired = np.asarray(actual), np.asarray(desired)
    if actual.shape != desired.shape:
        raise AssertionError(f"{what}: shape {actual.shape}, expected {desired.shape}")
    finite = np.abs(desired[np.isfinite(desired)], dtype=np.float64)
    scale = max(1.0, float(finite.max(initial=0.0)))
    np.testing.assert_allclose(
        actual.astype(np.float64),
        desired.astype(np.float64),
        rtol=0.0,
        atol=allowed * scale,
        equal_nan=True,
        err_msg=what,
    )
