"""Networks of fewer weights: pruning of single weights, and of whole neurons and filters.

>>> from tape.netopt import sparsification
>>> sparsification.polynomial(0.9, end=4, power=1)(2)
0.45
"""

from tape.netopt.lower_masks import LowerMasks, lower_masks
from tape.netopt.magnitude import PruneMagnitude, prune_magnitude
from tape.netopt.masked import MaskedConv1d, MaskedConv2d, MaskedConv3d, MaskedDense
from tape.netopt.pruner import Pruner
from tape.netopt.pruning_schedule import constant, one_shot, polynomial
from tape.netopt.sparse_dense import SparseDense
from tape.netopt.structured import PruneStructured, prune_structured

__all__ = [
    "LowerMasks",
    "MaskedConv1d",
    "MaskedConv2d",
    "MaskedConv3d",
    "MaskedDense",
    "PruneMagnitude",
    "PruneStructured",
    "Pruner",
    "SparseDense",
    "constant",
    "lower_masks",
    "one_shot",
    "polynomial",
    "prune_magnitude",
    "prune_structured",
]
