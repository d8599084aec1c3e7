"""Strategies for tests of kernels: layouts that keep an array's values, dtypes, generators."""

import numpy as np
from hypothesis import strategies as st

from tape.testing import LAYOUTS

KEEPING = [name for name in LAYOUTS if name != "broadcast"]


def laid_out(array, layout):
    """An array equal to `array` whose memory looks as `layout` says."""
    return LAYOUTS[layout](array)


layouts = st.sampled_from(KEEPING)
dtypes = st.sampled_from([np.float32, np.float64])
generators = st.integers(0, 2**32).map(np.random.default_rng)
