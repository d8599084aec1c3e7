"""Bags of embeddings: how rows are put together, padding, offsets, what is refused."""

import numpy as np
import pytest

import tape
from tape.testing import gradcheck

WEIGHT = tape.tensor([[1.0, -1.0], [2.0, -2.0], [4.0, -4.0]], dtype="float64")
bag = tape.embedding_bag
REFUSED = [
    (
        lambda: bag([[0]], WEIGHT, mode="min"),
        ValueError,
        "embedding_bag: mode is 'min', none of sum",
    ),
    (lambda: bag([[0]], WEIGHT, max_norm=-1.0), ValueError, "max_norm must be a number of at"),
    (
        lambda: bag([[0]], WEIGHT, mode="max", scale_grad_by_freq=True),
        ValueError,
        "scale_grad_by_freq is for modes 'sum' and 'mean'",
    ),
    (lambda: bag([[0]], WEIGHT, per_sample_weights=[[1.0]]), ValueError, "mode 'sum', not 'mean'"),
    (
        lambda: bag([[3]], WEIGHT),
        tape.IndexRangeError,
        r"embedding_bag: index 3 at \(0,\) .* 3 rows",
    ),
    (lambda: bag([0], WEIGHT), tape.ShapeError, r"indices \(1,\) must be \(B, n\), or \(n\) with"),
    (lambda: bag([[0]], WEIGHT, [0]), tape.ShapeError, "are bags already: no offsets"),
    (lambda: bag([0, 1], WEIGHT, [1]), tape.ShapeError, r"offsets \[1\] must start with 0"),
    (lambda: bag([0, 1], WEIGHT, [0, 3]), tape.ShapeError, "end within 2 indices"),
    (lambda: bag([0, 1], WEIGHT, [0.0]), tape.DTypeError, "offsets must be integers"),
    (lambda: bag([[0]], WEIGHT, padding_idx=3), tape.IndexRangeError, "padding_idx 3 is none of 3"),
    (lambda: bag([[0]], WEIGHT[0]), tape.ShapeError, r"weight \(N, m\) has two axes, got \(2,\)"),
    (
        lambda: bag([[0]], WEIGHT, mode="sum", per_sample_weights=[1.0]),
        tape.ShapeError,
        r"per_sample_weights \(1,\), but indices \(1, 1\)",
    ),
]


@pytest.mark.parametrize(("call", "error", "match"), REFUSED)
def test_a_wrong_call_is_refused_in_the_name_of_the_function(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize(
    ("mode", "truth"),
    [("sum", [7.0, 0.0, 2.0]), ("mean", [7 / 3, 0.0, 2.0]), ("max", [4.0, 0.0, 2.0])],
)
def test_bags_are_put_together_and_an_empty_one_is_zero(mode, truth):
    y = bag([2, 0, 1, 1], WEIGHT, [0, 3, 3], mode=mode)
    np.testing.assert_allclose(y.numpy()[:, 0], truth)
    assert gradcheck(lambda w: bag([[2, 0, 1], [1, 1, 0]], w, mode=mode), [WEIGHT.numpy()], order=2)


def test_padding_is_in_no_bag():
    weight = tape.tensor(WEIGHT.numpy(), requires_grad=True)
    y = bag([[2, 0], [2, 2]], weight, padding_idx=-1)
    assert y.tolist() == [[1.0, -1.0], [0.0, 0.0]]
    assert not tape.grad(y.sum(), weight).numpy()[2].any()


def test_the_last_offset_may_end_the_last_bag():
    y = bag([0, 1, 2, 2], WEIGHT, [0, 1, 3], mode="sum", include_last_offset=True)
    assert y.numpy()[:, 0].tolist() == [1.0, 6.0]


def test_weights_of_samples_have_gradients():
    def weighed(w, scales):
        return bag([[0, 2]], w, mode="sum", per_sample_weights=scales)

    assert gradcheck(weighed, [WEIGHT.numpy(), np.array([[0.5, -2.0]])], order=2)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_take_long_rows_scaled_and_share_gradients_by_frequency(mode):
    weight = tape.tensor([[3.0, 4.0], [0.3, 0.4]], dtype="float64", requires_grad=True)
    y = bag([0, 1, 1], weight, [0], mode=mode, max_norm=1.0)
    rows = tape.tensor([[0.6, 0.8], [0.3, 0.4]], dtype="float64", requires_grad=True)
    wanted = bag([0, 1, 1], rows, [0], mode=mode)
    np.testing.assert_allclose(y.numpy(), wanted.numpy(), rtol=1e-6)
    slope, kept = tape.grad(y.sum(), weight), tape.grad(wanted.sum(), rows)
    assert slope.tolist() == kept.tolist()  # as if the rows had been that short
    if mode != "max":
        shared = bag([0, 1, 1], weight, [0], mode=mode, scale_grad_by_freq=True)
        kept = kept.numpy() / [[1.0], [2.0]]
        assert tape.grad(shared.sum(), weight).tolist() == kept.tolist()
