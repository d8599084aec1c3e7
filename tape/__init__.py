"""A small, fast, eager autodiff framework for Python: a tape that reuses its nodes."""

from typing import TYPE_CHECKING

from tape import _compiled as _compiled  # before all that is compiled, which it loads
from tape._core.exchange import from_dlpack as from_dlpack
from tape._core.memory import asarray as asarray
from tape._core.node import live_nodes as live_nodes
from tape._core.numerics import check_numerics as check_numerics
from tape._core.state import (
    enable_grad as enable_grad,
    is_recording as is_recording,
    no_grad as no_grad,
    reuse as reuse,
)
from tape._core.tape import Tape as Tape
from tape._core.tensor import Tensor as Tensor
from tape import random as random
from tape._kernels.table import (
    get_num_threads as get_num_threads,
    set_num_threads as set_num_threads,
    show_config as show_config,
)
from tape.errors import *  # noqa: F403
from tape.flow import *  # noqa: F403
from tape.grad import *  # noqa: F403
from tape.namespace import *  # noqa: F403
from tape.op import OPS as OPS, op as op
from tape.ops.activation import (
    erf as erf,
    erfc as erfc,
    leaky_relu as leaky_relu,
    relu as relu,
    sigmoid as sigmoid,
)
from tape.ops.smooth import gelu as gelu, silu as silu, softplus as softplus
from tape.ops.arithmetic import (
    add as add,
    conj as conj,
    divide as divide,
    floor_divide as floor_divide,
    imag as imag,
    logaddexp as logaddexp,
    multiply as multiply,
    negative as negative,
    positive as positive,
    power as power,
    real as real,
    remainder as remainder,
    subtract as subtract,
)
from tape.ops.arrange import (
    broadcast_arrays as broadcast_arrays,
    flip as flip,
    meshgrid as meshgrid,
    repeat as repeat,
    roll as roll,
    tile as tile,
)
from tape.ops.attention import scaled_dot_product_attention as scaled_dot_product_attention
from tape.ops.bags import embedding_bag as embedding_bag
from tape.ops.bessel import i0 as i0, i0e as i0e, i1 as i1, i1e as i1e
from tape.ops.adaptive import (
    adaptive_avg_pool1d as adaptive_avg_pool1d,
    adaptive_avg_pool2d as adaptive_avg_pool2d,
    adaptive_max_pool1d as adaptive_max_pool1d,
    adaptive_max_pool2d as adaptive_max_pool2d,
)
from tape._kernels.bit_filters import BitFilters as BitFilters
from tape._kernels.bits import PackedBits as PackedBits
from tape.ops.binary import binary_matmul as binary_matmul
from tape.ops.binary_conv import (
    binary_conv2d as binary_conv2d,
    binary_max_pool2d as binary_max_pool2d,
)
from tape.ops.bitwise import (
    bitwise_and as bitwise_and,
    bitwise_invert as bitwise_invert,
    bitwise_left_shift as bitwise_left_shift,
    bitwise_or as bitwise_or,
    bitwise_right_shift as bitwise_right_shift,
    bitwise_xor as bitwise_xor,
)
from tape.ops.conv import conv2d as conv2d
from tape.ops.conv_nd import conv1d as conv1d, conv3d as conv3d
from tape.ops.conv_transpose import (
    conv_transpose1d as conv_transpose1d,
    conv_transpose2d as conv_transpose2d,
)
from tape.ops.create import (
    arange as arange,
    empty as empty,
    empty_like as empty_like,
    eye as eye,
    full as full,
    full_like as full_like,
    linspace as linspace,
    ones as ones,
    ones_like as ones_like,
    tril as tril,
    triu as triu,
    zeros as zeros,
    zeros_like as zeros_like,
)
from tape.ops.diagonal import (
    diag as diag,
    diagonal as diagonal,
    kron as kron,
    trace as trace,
)
from tape.ops.difference import diff as diff
from tape.ops.ctc import ctc_loss as ctc_loss
from tape.ops.distance import (
    cdist as cdist,
    cosine_similarity as cosine_similarity,
    normalize as normalize,
    pairwise_distance as pairwise_distance,
)
from tape.ops.dropout import (
    alpha_dropout as alpha_dropout,
    dropout as dropout,
    dropout1d as dropout1d,
    dropout2d as dropout2d,
    dropout3d as dropout3d,
    feature_alpha_dropout as feature_alpha_dropout,
)
from tape.ops.dtype import astype as astype
from tape.ops.einsum import einsum as einsum, tensordot as tensordot, vecdot as vecdot
from tape.ops.elementwise import (
    abs as abs,
    cos as cos,
    exp as exp,
    expm1 as expm1,
    log as log,
    log1p as log1p,
    log2 as log2,
    log10 as log10,
    reciprocal as reciprocal,
    sign as sign,
    sin as sin,
    sqrt as sqrt,
    square as square,
    tanh as tanh,
)
from tape.ops.elu import (
    celu as celu,
    elu as elu,
    selu as selu,
)
from tape.ops.extremes import (
    all as all,
    any as any,
    argmax as argmax,
    argmin as argmin,
    count_nonzero as count_nonzero,
    max as max,
    min as min,
)
from tape.ops.group_norm import (
    group_norm as group_norm,
    instance_norm as instance_norm,
    local_response_norm as local_response_norm,
    rms_norm as rms_norm,
)
from tape.ops.interpolate import interpolate as interpolate
from tape.ops.join import concat as concat, split as split, stack as stack, unstack as unstack
from tape.ops.int8 import int8_codes as int8_codes, int8_linear as int8_linear
from tape.ops.int8_conv import int8_conv2d as int8_conv2d
from tape.ops.linalg import matmul as matmul, outer as outer
from tape.ops.linear import linear as linear
from tape.ops.likelihood import (
    binary_cross_entropy as binary_cross_entropy,
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
    kl_div as kl_div,
    multilabel_soft_margin_loss as multilabel_soft_margin_loss,
    nll_loss as nll_loss,
    soft_margin_loss as soft_margin_loss,
)
from tape.ops.linear_bits import linear_bits as linear_bits
from tape.ops.logic import (
    clip as clip,
    equal as equal,
    greater as greater,
    greater_equal as greater_equal,
    isfinite as isfinite,
    isinf as isinf,
    isnan as isnan,
    less as less,
    less_equal as less_equal,
    logical_and as logical_and,
    logical_not as logical_not,
    logical_or as logical_or,
    logical_xor as logical_xor,
    maximum as maximum,
    minimum as minimum,
    not_equal as not_equal,
    where as where,
)
from tape.ops.lookup import (
    argwhere as argwhere,
    embedding as embedding,
    nonzero as nonzero,
    one_hot as one_hot,
    take as take,
    take_along_axis as take_along_axis,
)
from tape.ops.loss import cross_entropy as cross_entropy, mse_loss as mse_loss
from tape.ops.margin import (
    cosine_embedding_loss as cosine_embedding_loss,
    hinge_embedding_loss as hinge_embedding_loss,
    margin_ranking_loss as margin_ranking_loss,
    multi_margin_loss as multi_margin_loss,
    multilabel_margin_loss as multilabel_margin_loss,
    triplet_margin_loss as triplet_margin_loss,
)
from tape.ops.norm import batch_norm as batch_norm, layer_norm as layer_norm
from tape.ops.polygamma import digamma as digamma, polygamma as polygamma
from tape.ops.pad import pad as pad
from tape.ops.patches import (
    fold as fold,
    pixel_shuffle as pixel_shuffle,
    pixel_unshuffle as pixel_unshuffle,
    unfold as unfold,
)
from tape.ops.pool import avg_pool2d as avg_pool2d, max_pool2d as max_pool2d
from tape.ops.pool1d import (
    avg_pool1d as avg_pool1d,
    lp_pool1d as lp_pool1d,
    lp_pool2d as lp_pool2d,
    max_pool1d as max_pool1d,
)
from tape.ops.rank import (
    median as median,
    quantile as quantile,
    topk as topk,
)
from tape.ops.rectifiers import (
    hardsigmoid as hardsigmoid,
    hardswish as hardswish,
    hardtanh as hardtanh,
    prelu as prelu,
    relu6 as relu6,
    threshold as threshold,
)
from tape.ops.reduce import (
    broadcast_to as broadcast_to,
    mean as mean,
    prod as prod,
    std as std,
    sum as sum,
    sum_to as sum_to,
    var as var,
)
from tape.ops.rounding import (
    ceil as ceil,
    copysign as copysign,
    floor as floor,
    nextafter as nextafter,
    round as round,
    signbit as signbit,
    trunc as trunc,
)
from tape.ops.regression import (
    gaussian_nll_loss as gaussian_nll_loss,
    huber_loss as huber_loss,
    l1_loss as l1_loss,
    poisson_nll_loss as poisson_nll_loss,
    smooth_l1_loss as smooth_l1_loss,
)
from tape.ops.running import (
    cumulative_max as cumulative_max,
    cumulative_min as cumulative_min,
    logcumsumexp as logcumsumexp,
)
from tape.ops.scan import cumulative_prod as cumulative_prod, cumulative_sum as cumulative_sum
from tape.ops.scatter import (
    gather as gather,
    index_add as index_add,
    masked_fill as masked_fill,
    scatter as scatter,
    scatter_add as scatter_add,
)
from tape.ops.shape import (
    expand_dims as expand_dims,
    flatten as flatten,
    matrix_transpose as matrix_transpose,
    moveaxis as moveaxis,
    permute_dims as permute_dims,
    reshape as reshape,
    squeeze as squeeze,
    swapaxes as swapaxes,
    transpose as transpose,
)
from tape.ops.shrink import (
    glu as glu,
    hardshrink as hardshrink,
    logsigmoid as logsigmoid,
    mish as mish,
    softmin as softmin,
    softshrink as softshrink,
    softsign as softsign,
    tanhshrink as tanhshrink,
)
from tape.ops.signs import (
    pack_bits as pack_bits,
    sign_ste as sign_ste,
    sign_thresholds as sign_thresholds,
    unpack_bits as unpack_bits,
)
from tape.ops.softmax import log_softmax as log_softmax, logsumexp as logsumexp, softmax as softmax
from tape.ops.sort import (
    argsort as argsort,
    searchsorted as searchsorted,
    sort as sort,
    unique as unique,
    unique_all as unique_all,
    unique_counts as unique_counts,
    unique_inverse as unique_inverse,
    unique_values as unique_values,
)
from tape.ops.trig import (
    acos as acos,
    acosh as acosh,
    asin as asin,
    asinh as asinh,
    atan as atan,
    atan2 as atan2,
    atanh as atanh,
    cosh as cosh,
    hypot as hypot,
    sinh as sinh,
    tan as tan,
)
from tape.ops.special import (
    erfinv as erfinv,
    lgamma as lgamma,
    logit as logit,
    sinc as sinc,
    xlogy as xlogy,
)

tensor = Tensor
pow = power  # NumPy's name, and the Array API's

if TYPE_CHECKING:
    from tape import data as data, fft as fft, graph as graph, linalg as linalg, netopt as netopt
    from tape import nn as nn, optim as optim, serialize as serialize, testing as testing
    from tape.graph import clone_function as clone_function, extract as extract, splice as splice
    from tape.serialize import load as load, save as save


# Where to find what is imported when it is first asked for; None for a package of that name.
LATER = {
    **dict.fromkeys(("data", "fft", "graph", "linalg", "netopt", "nn")),
    **dict.fromkeys(("optim", "serialize", "testing")),
    **dict.fromkeys(("clone_function", "extract", "splice"), "graph"),
    **dict.fromkeys(("load", "save"), "serialize"),
}


def __getattr__(name: str) -> object:
    """`nn`, `save` and other packages and functions are imported when they are first asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("tape-autodiff")
    if name not in LATER:
        raise AttributeError(f"module 'tape' has no attribute {name!r}")
    import importlib

    module = importlib.import_module(f"tape.{LATER[name] or name}")
    return getattr(module, name) if LATER[name] else module


def __dir__() -> list[str]:
    """All names, those that nobody has asked for yet as well."""
    return sorted({*globals(), *LATER})
