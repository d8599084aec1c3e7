"""Networks of few numbers: `lookup_convolution`, and what it is made of.

>>> from tape.netopt import sparsification
>>> sparsification.LookupConv2d(8, 3, size=6, lookups=2, n_in=12, bias=False)
LookupConv2d(8, 3, size=6, lookups=2, bias=False): dictionary (6, 12), ... 504 parameters
"""

from tape.netopt.lookup import LookupConvolution, lookup_convolution
from tape.netopt.lookup_layers import LookupConv2d, LoweredLookupConv2d

__all__ = ["LookupConv2d", "LookupConvolution", "LoweredLookupConv2d", "lookup_convolution"]
