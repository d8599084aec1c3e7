"""Networks of few bits: binary layers, layers on 8 bits, and `fold_batch_norm`.

>>> from tape.netopt import quantization
>>> quantization.BinaryDense(10, scale="tensor")
BinaryDense(10, scale='tensor') (in inferred): weight (10, ?), bias (10,): 10+ parameters
"""

from tape.netopt.quantization.binarize import BinarizeConvolution, BinarizeDense
from tape.netopt.quantization.binary import (
    binarize_convolution,
    binarize_dense,
    convert_to_binary_convolution,
    convert_to_binary_dense,
    convert_to_native_binary_convolution,
)
from tape.netopt.quantization.binary_layers import BinaryConv2d, BinaryDense, multibit
from tape.netopt.quantization.fold import fold_batch_norm
from tape.netopt.quantization.int8 import QuantizeInt8, quantize_int8
from tape.netopt.quantization.native import NativeBinaryConv2d, NativeBinaryDense
from tape.netopt.quantization.quantized import QuantizedConv2d, QuantizedDense

__all__ = [
    "BinarizeConvolution",
    "BinarizeDense",
    "BinaryConv2d",
    "BinaryDense",
    "NativeBinaryConv2d",
    "NativeBinaryDense",
    "QuantizeInt8",
    "QuantizedConv2d",
    "QuantizedDense",
    "binarize_convolution",
    "binarize_dense",
    "convert_to_binary_convolution",
    "convert_to_binary_dense",
    "convert_to_native_binary_convolution",
    "fold_batch_norm",
    "multibit",
    "quantize_int8",
]
