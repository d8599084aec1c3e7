from typing import Any

import numpy as np
from numpy.typing import DTypeLike

def known_dtype(dtype: DTypeLike, name: str) -> np.dtype[Any]: ...
