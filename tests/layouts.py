"""The same numbers in every layout that an array can have, for tests of kernels."""

import numpy as np
from hypothesis import strategies as st

LAYOUTS = ["plain", "reversed", "fortran", "strided", "read-only", "swapped", "misaligned"]


def laid_out(array, layout):
    """An array equal to `array` whose memory looks as `layout` says."""
    if layout == "reversed":
        back = (slice(None, None, -1),) * array.ndim
        return array[back].copy()[back]
    if layout == "fortran":
        return np.asfortranarray(array)
    if layout == "strided":
        wide = np.full((*array.shape, 2), -7, array.dtype)
        wide[..., 0] = array
        return wide[..., 0]
    if layout == "swapped":
        return array.astype(array.dtype.newbyteorder())
    if layout == "misaligned":
        memory = np.empty(array.nbytes + 1, np.uint8)
        odd = memory[1:].view(array.dtype).reshape(array.shape)
        odd[...] = array
        return odd
    result = array.copy()
    result.flags.writeable = layout != "read-only"
    return result


layouts = st.sampled_from(LAYOUTS)
dtypes = st.sampled_from([np.float32, np.float64])
generators = st.integers(0, 2**32).map(np.random.default_rng)
