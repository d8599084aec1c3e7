"""Layers that compute by way of frequencies: `fft_convolution`, `circulant_dense`, their parts.

>>> from tape.netopt import frequency
>>> frequency.BlockCirculantDense(8, block=4, n_in=8)
BlockCirculantDense(8, block=4): weight (2, 2, 4), bias (8,): 24 parameters
"""

from tape.netopt.frequency.circulant import (
    BlockCirculantDense,
    CirculantDense,
    SpectralDense,
    circulant_dense,
    circulant_projection,
)
from tape.netopt.frequency.fft_conv import FftConvolution, fft_convolution
from tape.netopt.frequency.fft_layers import FftConv1d, FftConv2d, SpectralConv

__all__ = [
    "BlockCirculantDense",
    "CirculantDense",
    "FftConv1d",
    "FftConv2d",
    "FftConvolution",
    "SpectralConv",
    "SpectralDense",
    "circulant_dense",
    "circulant_projection",
    "fft_convolution",
]
