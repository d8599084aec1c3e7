"""Factored layers: `factor_dense` and what it is made of.

>>> from tape.netopt import factorization
>>> factorization.energy(0.9)
ranks.energy(0.9)
"""

from tape.netopt.dense import FactorDense, factor_dense
from tape.netopt.evbmf import evbmf_rank
from tape.netopt.factored import FactoredDense
from tape.netopt.ranks import energy, error, evbmf
from tape.netopt.svd import svd_subprojection

__all__ = [
    "FactorDense",
    "FactoredDense",
    "energy",
    "error",
    "evbmf",
    "evbmf_rank",
    "factor_dense",
    "svd_subprojection",
]
