"""Losses and distances as modules, where one is kept with its settings; else functions do.

`nn.CrossEntropyLoss(label_smoothing=0.1)(x, labels)` is `tape.cross_entropy(x, labels,
label_smoothing=0.1)`. What a setting means stands at the function.
"""

from __future__ import annotations

from tape.nn.applied import Applied
from tape.ops.ctc import ctc_loss
from tape.ops.distance import cosine_similarity, pairwise_distance
from tape.ops.likelihood import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    kl_div,
    multilabel_soft_margin_loss,
    nll_loss,
    soft_margin_loss,
)
from tape.ops.loss import cross_entropy, mse_loss
from tape.ops.margin import (
    cosine_embedding_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    triplet_margin_loss,
)
from tape.ops.regression import (
    gaussian_nll_loss,
    huber_loss,
    l1_loss,
    poisson_nll_loss,
    smooth_l1_loss,
)

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CTCLoss",
    "CosineEmbeddingLoss",
    "CosineSimilarity",
    "CrossEntropyLoss",
    "GaussianNLLLoss",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "MSELoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NLLLoss",
    "PairwiseDistance",
    "PoissonNLLLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "TripletMarginLoss",
]


class CrossEntropyLoss(Applied):
    """`tape.cross_entropy` as a module."""

    function = staticmethod(cross_entropy)
    names = ("weight", "axis", "label_smoothing", "ignore_index", "reduction")


class MSELoss(Applied):
    """`tape.mse_loss` as a module."""

    function = staticmethod(mse_loss)
    names = ("reduction",)


class L1Loss(Applied):
    """`tape.l1_loss` as a module."""

    function = staticmethod(l1_loss)
    names = ("reduction",)


class SmoothL1Loss(Applied):
    """`tape.smooth_l1_loss` as a module."""

    function = staticmethod(smooth_l1_loss)
    names = ("reduction", "beta")


class HuberLoss(Applied):
    """`tape.huber_loss` as a module."""

    function = staticmethod(huber_loss)
    names = ("reduction", "delta")


class GaussianNLLLoss(Applied):
    """`tape.gaussian_nll_loss` as a module."""

    function = staticmethod(gaussian_nll_loss)
    names = ("full", "eps", "reduction")


class PoissonNLLLoss(Applied):
    """`tape.poisson_nll_loss` as a module."""

    function = staticmethod(poisson_nll_loss)
    names = ("log_input", "full", "eps", "reduction")


class BCELoss(Applied):
    """`tape.binary_cross_entropy` as a module."""

    function = staticmethod(binary_cross_entropy)
    names = ("weight", "reduction")


class BCEWithLogitsLoss(Applied):
    """`tape.binary_cross_entropy_with_logits` as a module."""

    function = staticmethod(binary_cross_entropy_with_logits)
    names = ("weight", "reduction", "pos_weight")


class NLLLoss(Applied):
    """`tape.nll_loss` as a module."""

    function = staticmethod(nll_loss)
    names = ("weight", "ignore_index", "reduction")


class KLDivLoss(Applied):
    """`tape.kl_div` as a module."""

    function = staticmethod(kl_div)
    names = ("reduction", "log_target")


class SoftMarginLoss(Applied):
    """`tape.soft_margin_loss` as a module."""

    function = staticmethod(soft_margin_loss)
    names = ("reduction",)


class MultiLabelSoftMarginLoss(Applied):
    """`tape.multilabel_soft_margin_loss` as a module."""

    function = staticmethod(multilabel_soft_margin_loss)
    names = ("weight", "reduction")


class HingeEmbeddingLoss(Applied):
    """`tape.hinge_embedding_loss` as a module."""

    function = staticmethod(hinge_embedding_loss)
    names = ("margin", "reduction")


class MarginRankingLoss(Applied):
    """`tape.margin_ranking_loss` as a module."""

    function = staticmethod(margin_ranking_loss)
    names = ("margin", "reduction")


class CosineEmbeddingLoss(Applied):
    """`tape.cosine_embedding_loss` as a module."""

    function = staticmethod(cosine_embedding_loss)
    names = ("margin", "reduction")


class TripletMarginLoss(Applied):
    """`tape.triplet_margin_loss` as a module."""

    function = staticmethod(triplet_margin_loss)
    names = ("margin", "p", "eps", "swap", "reduction")


class MultiMarginLoss(Applied):
    """`tape.multi_margin_loss` as a module."""

    function = staticmethod(multi_margin_loss)
    names = ("p", "margin", "weight", "reduction")


class MultiLabelMarginLoss(Applied):
    """`tape.multilabel_margin_loss` as a module."""

    function = staticmethod(multilabel_margin_loss)
    names = ("reduction",)


class CTCLoss(Applied):
    """`tape.ctc_loss` as a module."""

    function = staticmethod(ctc_loss)
    names = ("blank", "reduction", "zero_infinity")


class CosineSimilarity(Applied):
    """`tape.cosine_similarity` as a module."""

    function, names = staticmethod(cosine_similarity), ("axis", "eps")


class PairwiseDistance(Applied):
    """`tape.pairwise_distance` as a module."""

    function, names = staticmethod(pairwise_distance), ("p", "eps", "keepdims")
