"""Factored layers: `factor_dense`, `factor_convolution`, and what they are made of.

>>> from tape.netopt import factorization
>>> factorization.energy(0.9)
ranks.energy(0.9)
"""

from tape.netopt.convolution import FactorConvolution, factor_convolution
from tape.netopt.dense import FactorDense, factor_dense
from tape.netopt.evbmf import evbmf_rank
from tape.netopt.factored import FactoredDense
from tape.netopt.ranks import energy, error, evbmf
from tape.netopt.svd import svd_subprojection

__all__ = [
    "FactorConvolution",
    "FactorDense",
    "FactoredDense",
    "energy",
    "error",
    "evbmf",
    "evbmf_rank",
    "factor_convolution",
    "factor_dense",
    "svd_subprojection",
]
