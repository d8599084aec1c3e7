"""Every op has every property on every sample. No test here names an op: see `tape.testing`."""

import contextlib
import itertools

import numpy as np
import pytest

import tape
from tape import fft, linalg
from tape.op import OPS
from tape.testing import PROPERTIES, check_bad
from tape.testing.operands import Call
from tape.testing.values import emptied

# Ops that are not exported from tape, each with the reason.
INTERNAL = {
    "activated_conv2d": "conv2d that ends in an activation",
    "activated_linear": "linear that ends in an activation",
    "activated_residual_linear": "linear with a residual that ends in an activation",
    "adaptive_max_index": "where the maxima of adaptive_max_pool2d stand",
    "alias": "gives the functional forms of tape.grad a node of their own",
    "attains": "where an extreme value stands, for the gradients of max and min",
    "band": "the gradient of what bends at two bounds",
    "bit_values": "behind unpack_bits, and what the rules of binary ops read",
    "bowl": "behind huber_loss and smooth_l1_loss",
    "channel_affine": "behind batch_norm",
    "channel_moments": "behind batch_norm",
    "channel_sum": "the gradient of a bias in conv2d and batch_norm",
    "channel_sums": "the gradient of batch_norm",
    "cofactors": "the gradient of det",
    "complex_product": "behind fft.convolve",
    "contract": "einsum of two operands",
    "conv2d_input_grad": "the gradient of conv2d by its images",
    "conv2d_weight_grad": "the gradient of conv2d by its weights",
    "cross_entropy_grad": "the gradient of cross_entropy with integer labels",
    "cross_entropy_soft": "cross_entropy with probabilities, one loss a row",
    "dft": "behind fft.fft, fft.ifft and their forms for several axes",
    "depth_sums": "the gradient of depth_windows",
    "depth_windows": "behind conv3d",
    "volumes_of": "behind conv3d",
    "diagonals": "einsum with a letter twice in one operand",
    "elu_slope": "the gradient of elu, selu and celu",
    "gelu_slope": "the gradient of gelu",
    "get_item": "behind x[...]",
    "get_item_grad": "the gradient of x[...]",
    "gru_grad": "the gradient of gru_states",
    "gru_states": "behind nn.GRU",
    "hardswish_slope": "the gradient of hardswish",
    "leaky_relu_gate": "the gradient of leaky_relu",
    "log_softmax_grad": "the gradient of log_softmax",
    "lstm_grad": "the gradient of lstm_states",
    "lstm_states": "behind nn.LSTM",
    "max_pool2d_index": "where the maxima of max_pool2d stand",
    "mish_slope": "the gradient of mish",
    "modified_bessel": "behind i0, i1, i0e, i1e",
    "on_diagonal": "the adjoint of linalg.diagonal",
    "on_diagonals": "the adjoint of diagonals",
    "outer_sum": "the gradient of linear by its weight",
    "p_norm": "behind normalize, pairwise_distance and cdist",
    "place2d": "the gradient of max_pool2d",
    "real_dft": "behind fft.rfft, fft.rfftn and fft.ihfft",
    "real_idft": "behind fft.irfft, fft.irfftn and fft.hfft",
    "recurrence": "the gradient of cumulative_prod",
    "reframed": "shifts along an axis, for scans",
    "relu_gate": "the gradient of relu",
    "residual_linear": "linear with a residual",
    "resample": "behind interpolate and adaptive_avg_pool",
    "rnn_grad": "the gradient of rnn_states",
    "rnn_states": "behind nn.RNN",
    "set_item": "behind x[...] = v",
    "shared_out": "the gradient of logsumexp",
    "sigmoid_slope": "the gradient of sigmoid",
    "sign_bits": "behind pack_bits, and what binary ops save",
    "silu_slope": "the gradient of silu",
    "sinc_slope": "the derivatives of sinc",
    "softmax_grad": "the gradient of softmax",
    "softplus_slope": "the gradient of softplus",
    "spread_mean2d": "the gradient of avg_pool2d",
    "standardize": "behind layer_norm and batch_norm",
    "standardize_affine": "layer_norm with weight and bias",
    "standardize_slope": "the gradient of layer_norm",
    "standardize_sums": "the gradient of layer_norm by its weight",
    "sum_to_end": "the gradient of cumulative_sum",
    "tanh_slope": "the gradient of tanh",
}
CASES = [
    pytest.param(op, samples, holds, id=f"{name}-{op.name}")
    for name, holds in PROPERTIES.items()
    for op in OPS.values()
    if (samples := [sample for sample in op.samples if holds.applies(op, sample)])
]
BAD = [pytest.param(op, bad, id=f"{op.name}-{bad!r}") for op in OPS.values() for bad in op.errors]
NAMES = sorted(OPS)
ALIENS = ["text", None, [[1.0], [2.0, 3.0]], object(), 1j, np.array(["a"])]
OTHERS = [np.ones((7, 6, 5)), np.ones((2, 3), int), np.ones((), bool), np.zeros((0,))]
SETTINGS = ["text", None, -1, 2.5, (9, 9, 9), object, 2**70]


@pytest.mark.parametrize(("op", "samples", "holds"), CASES)
def test_property(op, samples, holds):
    for sample in samples:
        holds(op, sample)


@pytest.mark.parametrize(("op", "bad"), BAD)
def test_bad_call_is_refused_and_leaves_no_trace(op, bad):
    check_bad(op, bad)


def is_public(op):
    """Whether tape exports the op, or the function of its name that reads its settings."""
    found = [getattr(space, op.name, None) for space in (tape, linalg, fft)]
    return any(f is op or getattr(f, "__module__", "") == op.__module__ for f in found)


@pytest.mark.parametrize("name", NAMES)
def test_op_is_public_or_says_why_not(name):
    internal = name in INTERNAL or name.startswith("_")
    assert is_public(OPS[name]) != internal, f"export {name}, or say in INTERNAL why not"


@pytest.mark.parametrize("op", [op for op in OPS.values() if is_public(op)], ids=repr)
def test_public_op_takes_empty_operands_or_refuses_them_in_its_own_words(op):
    for sample in op.samples:
        call = Call(op, sample)
        for operands in emptied(call):
            with contextlib.suppress(tape.TapeError):
                call(*operands)


@pytest.mark.parametrize("name", NAMES)
def test_op_has_samples_that_reach_every_property_it_can_have(name):
    op = OPS[name]
    assert op.samples, f"{name} has no samples"
    if op.differentiable:
        assert any(PROPERTIES["vjp_is_the_adjoint_of_jvp"].applies(op, s) for s in op.samples)
    if op.differentiable and op.smooth:
        assert any(PROPERTIES["jvp_is_the_central_difference"].applies(op, s) for s in op.samples)


@pytest.mark.parametrize("name", NAMES)
def test_op_says_what_it_refuses(name):
    assert OPS[name].errors, f"{name} has no errors=: tape.ops.cases has what no op takes"


def refusal_of(op, operands, settings):
    """What the op says to a call after its name, "" if it accepts it."""
    try:
        op(*operands, **settings)
    except (tape.TapeError, TypeError) as error:
        name, _, words = str(error).partition(": ")
        return words if name == op.name else f"{op.name} is not named in {error}"
    return ""


@pytest.mark.parametrize("name", NAMES)
def test_op_refuses_operands_that_are_no_numbers_in_its_own_words(name):
    call = Call(OPS[name], OPS[name].samples[0])
    for i, alien in itertools.product(range(len(call.operands)), ALIENS):
        operands = [*call.operands[:i], alien, *call.operands[i + 1 :]]
        words = refusal_of(call.op, operands, call.settings())
        assert words, f"{name} takes {alien!r} as operand {i}"
        assert "is not named in" not in words


@pytest.mark.parametrize("name", NAMES)
def test_op_takes_what_is_given_to_it_or_refuses_it_in_its_own_words(name):
    call = Call(OPS[name], OPS[name].samples[0])
    settings = call.settings()
    for i, other in itertools.product(range(len(call.operands)), OTHERS):
        operands = [*call.operands[:i], other, *call.operands[i + 1 :]]
        assert "is not named in" not in refusal_of(call.op, operands, settings)
    for setting, other in itertools.product(call.op.setting_names, SETTINGS):
        words = refusal_of(call.op, call.operands, {**settings, setting: other})
        assert "is not named in" not in words


@pytest.mark.parametrize("name", NAMES)
def test_samples_of_an_op_differ(name):
    given = [s for s in OPS[name].samples if not any(hasattr(x, "dtype") for x in s.shapes)]
    samples = [repr(s) for s in given]
    assert len(set(samples)) == len(samples), f"{name} has a sample twice: {samples}"


def test_no_name_of_an_internal_op_is_left_over():
    assert set(INTERNAL) <= set(OPS)


def test_the_table_is_not_empty():
    assert len(OPS) > 50
    assert sum(len(case.values[1]) for case in CASES) > 10000
