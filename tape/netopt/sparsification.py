"""Networks of fewer weights: pruned, of single weights or whole neurons and filters; looked up.

>>> from tape.netopt import sparsification
>>> sparsification.polynomial(0.9, end=4, power=1)(2)
0.45
"""

from tape.netopt.lookup import LookupConvolution, lookup_convolution
from tape.netopt.lookup_layers import LookupConv2d, LoweredLookupConv2d
from tape.netopt.lower_masks import LowerMasks, lower_masks
from tape.netopt.magnitude import PruneMagnitude, prune_magnitude
from tape.netopt.masked import MaskedConv1d, MaskedConv2d, MaskedConv3d, MaskedDense
from tape.netopt.pruner import Pruner
from tape.netopt.pruning_schedule import constant, one_shot, polynomial
from tape.netopt.sparse_dense import SparseDense
from tape.netopt.structured import PruneStructured, prune_structured

__all__ = [
    "LookupConv2d",
    "LookupConvolution",
    "LowerMasks",
    "LoweredLookupConv2d",
    "MaskedConv1d",
    "MaskedConv2d",
    "MaskedConv3d",
    "MaskedDense",
    "PruneMagnitude",
    "PruneStructured",
    "Pruner",
    "SparseDense",
    "constant",
    "lookup_convolution",
    "lower_masks",
    "one_shot",
    "polynomial",
    "prune_magnitude",
    "prune_structured",
]
