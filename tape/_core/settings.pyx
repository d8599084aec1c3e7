"""Settings of an op as part of a key: frozen, compared by type and bits, hashed."""

from libc.stdint cimport uint64_t
from libc.string cimport memcmp, memcpy

import numpy as np


cdef object frozen(setting):
    """A setting as an immutable value: sequences become tuples."""
    if type(setting) is list or type(setting) is tuple:
        return tuple([frozen(part) for part in setting])
    return setting


cdef bint same_setting(a, b) except -1:
    """Equal in type and bits: 1, 1.0 and True differ, so do 0.0 and -0.0; NaN equals itself."""
    cdef double x, y
    cdef Py_ssize_t i
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if type(a) is tuple:
        if len(<tuple>a) != len(<tuple>b):
            return False
        for i in range(len(<tuple>a)):
            if not same_setting((<tuple>a)[i], (<tuple>b)[i]):
                return False
        return True
    if type(a) is float:
        x, y = a, b
        return memcmp(&x, &y, sizeof(double)) == 0
    if type(a) is slice:
        return (same_setting(a.start, b.start) and same_setting(a.stop, b.stop)
                and same_setting(a.step, b.step))
    if isinstance(a, np.generic):
        return a.tobytes() == b.tobytes()
    return bool(a == b)


cdef uint64_t digest(setting) except? 0:
    """A hash that agrees with same_setting; TypeError if the setting cannot be hashed."""
    cdef uint64_t h = 0
    cdef double x
    if type(setting) is tuple:
        for part in <tuple>setting:
            h = mix(h, digest(part))
        return h
    if type(setting) is float:
        x = setting
        memcpy(&h, &x, sizeof(double))
        return h
    if type(setting) is slice:
        return mix(mix(digest(setting.start), digest(setting.stop)), digest(setting.step))
    return <uint64_t>hash(setting)


cdef uint64_t digest_of(str op, tuple names, tuple settings) except? 0:
    """A hash of all settings of an op; TypeError names one that cannot be hashed."""
    try:
        return digest(settings)
    except TypeError:
        for name, setting in zip(names, settings):
            try:
                digest(setting)
            except TypeError:
                raise TypeError(
                    f"{op}: setting {name!r} must be hashable, "
                    f"a {type(setting).__name__} is not"
                ) from None
        raise
