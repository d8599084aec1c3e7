"""Fourier transforms: the names of the Array API's extension `fft`, and convolution by them.

As complex dtypes do not exist, complex numbers are a `Spectrum`, the named tuple (real, imag) of
two tensors; any such tuple is taken where complex numbers are asked for, and a tensor stands for
real ones. Gradients of all orders run through the parts.

>>> import tape
>>> x = tape.tensor([1.0, 2.0, 0.0, -1.0])
>>> real, imag = tape.fft.rfft(x)
>>> power = real**2 + imag**2
>>> power.tolist(), tape.fft.irfft((real, imag)).tolist()
([4.0, 10.0, 0.0], [1.0, 2.0, 0.0, -1.0])
"""

from tape.ops.convolve import convolve
from tape.ops.transform import (
    Spectrum,
    fft,
    fftfreq,
    fftn,
    fftshift,
    hfft,
    ifft,
    ifftn,
    ifftshift,
    ihfft,
    irfft,
    irfftn,
    rfft,
    rfftfreq,
    rfftn,
)

__all__ = [
    "Spectrum",
    "convolve",
    "fft",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfftn",
    "rfft",
    "rfftfreq",
    "rfftn",
]
