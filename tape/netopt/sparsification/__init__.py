"""Networks of fewer weights: pruned, of single weights or whole neurons and filters; looked up.

>>> from tape.netopt import sparsification
>>> sparsification.polynomial(0.9, end=4, power=1)(2)
0.45
"""

from tape.netopt.sparsification.lookup import LookupConvolution, lookup_convolution
from tape.netopt.sparsification.lookup_layers import LookupConv2d, LoweredLookupConv2d
from tape.netopt.sparsification.lowering import LowerMasks, lower_masks
from tape.netopt.sparsification.magnitude import PruneMagnitude, prune_magnitude
from tape.netopt.sparsification.masked import MaskedConv1d, MaskedConv2d, MaskedConv3d, MaskedDense
from tape.netopt.sparsification.pruner import Pruner
from tape.netopt.sparsification.pruning_schedule import constant, one_shot, polynomial
from tape.netopt.sparsification.sparse_dense import SparseDense
from tape.netopt.sparsification.structured import PruneStructured, prune_structured

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
