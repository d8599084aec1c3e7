"""Factored layers: `factor_dense`, `factor_convolution`, and what they are made of.

>>> from tape.netopt import factorization
>>> factorization.energy(0.9)
ranks.energy(0.9)
"""

from tape.netopt.factorization.convolution import FactorConvolution, factor_convolution
from tape.netopt.factorization.dense import FactorDense, factor_dense
from tape.netopt.factorization.evbmf import evbmf_rank
from tape.netopt.factorization.factored import FactoredDense
from tape.netopt.factorization.ranks import energy, error, evbmf
from tape.netopt.factorization.svd import svd_subprojection

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
