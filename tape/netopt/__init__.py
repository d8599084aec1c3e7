"""Trained networks made smaller and faster: transform, train, lower, each with a report.

>>> import tape
>>> from tape import netopt, nn
>>> net = nn.Sequential(nn.Dense(60, 40, activation=tape.tanh), nn.Dense(10, 60))
>>> small = netopt.factorization.factor_dense(net, rank=4)
>>> small[0].first.shape, small[0].second.shape
((4, 40), (60, 4))
"""

from tape.netopt import factorization, frequency, quantization, sparsification
from tape.netopt.export import export_report
from tape.netopt.factorization import ranks
from tape.netopt.frame import Optimization, Optimized, lower, optimize, transform
from tape.netopt.judge import Kept, Place
from tape.netopt.lowered import Lowered
from tape.netopt.plan import Plan, plan
from tape.netopt.quantization.int8 import quantize_int8
from tape.netopt.recipe import Recipe, load
from tape.netopt.report import Report, Row
from tape.netopt.rewrite import rewrite

__all__ = [
    "Kept",
    "Lowered",
    "Optimization",
    "Optimized",
    "Place",
    "Plan",
    "Recipe",
    "Report",
    "Row",
    "export_report",
    "factorization",
    "frequency",
    "load",
    "lower",
    "optimize",
    "plan",
    "quantization",
    "quantize_int8",
    "ranks",
    "rewrite",
    "sparsification",
    "transform",
]
