"""cross_entropy against its definition, and where logits are extreme, labels wrong, classes few."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tape
from tape.ops.loss import cross_entropy_soft

OPTIONS = ["axis", "weight", "label_smoothing", "ignore_index"]
seeds = st.integers(0, 2**32).map(np.random.default_rng)


def logarithms(x, axis):
    top = x.max(axis, keepdims=True)
    return x - top - np.log(np.exp(x - top).sum(axis, keepdims=True))


def by_definition(x, labels, axis, weight, smoothing, ignored):
    """Loss of every example and its weight, one example at a time."""
    logs = np.moveaxis(logarithms(x, axis), axis, -1)
    n = logs.shape[-1]
    soft = labels.dtype.kind == "f"
    shares = np.moveaxis(labels, axis, -1) if soft else None
    losses, weights = np.zeros(logs.shape[:-1]), np.zeros(logs.shape[:-1])
    factor = np.ones(n) if weight is None else weight
    for i in np.ndindex(losses.shape):
        if not soft and labels[i] == ignored:
            continue
        p = shares[i] if soft else np.eye(n)[labels[i]]
        p = p * (1 - smoothing) + smoothing / n
        losses[i] = -(p * factor * logs[i]).sum()
        weights[i] = 1 if soft else factor[labels[i]]
    return losses, weights


@st.composite
def examples(draw):
    rng = draw(seeds)
    outer = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    axis = draw(st.integers(0, len(outer)))
    n = draw(st.integers(1, 4))
    x = rng.normal(size=(*outer[:axis], n, *outer[axis:])) * draw(st.sampled_from([1, 30]))
    ignored = None
    if draw(st.booleans()):
        labels = rng.random(x.shape)
        labels /= labels.sum(axis, keepdims=True)
    else:
        labels = rng.integers(0, n, outer)
        ignored = draw(st.none() | st.sampled_from([-100, 0]))
        if ignored is not None:
            labels[rng.random(outer) < 0.4] = ignored
    weight = rng.random(n) + 0.1 if draw(st.booleans()) else None
    smoothing = draw(st.sampled_from([0.0, 0.1, 1.0]))
    return x, labels, axis, weight, smoothing, ignored


@given(examples())
def test_cross_entropy_is_its_definition(example):
    x, labels = example[:2]
    losses, weights = by_definition(*example)
    options = dict(zip(OPTIONS, example[2:], strict=True))
    found = tape.cross_entropy(x, labels, reduction="none", **options)
    np.testing.assert_allclose(np.array(found), losses, rtol=1e-9, atol=1e-12)
    total = tape.cross_entropy(x, labels, reduction="sum", **options)
    np.testing.assert_allclose(total.item(), losses.sum(), rtol=1e-9, atol=1e-12)
    mean = tape.cross_entropy(x, labels, **options).item()
    if weights.sum():
        np.testing.assert_allclose(mean, losses.sum() / weights.sum(), rtol=1e-9, atol=1e-12)
    else:
        assert math.isnan(mean)


@given(examples())
def test_gradients_of_cross_entropy_are_differences(example):
    x, labels = example[:2]
    options = dict(zip(OPTIONS, example[2:], strict=True))
    t = tape.tensor(x, requires_grad=True)
    loss = tape.cross_entropy(t, labels, reduction="sum", **options)
    u, step = np.random.default_rng(0).normal(size=x.shape), 1e-5
    sides = [by_definition(x + s * u, labels, *example[2:])[0].sum() for s in (step, -step)]
    slope = 0.0
    if loss.requires_grad:
        slope = float((np.array(tape.grad(loss, t, unused="zeros")) * u).sum())
    assert slope == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-4, abs=1e-5)


@given(hnp.arrays(np.float32, (3, 5), elements=st.integers(-50, 50)), seeds)
def test_adding_a_number_to_all_logits_changes_no_bit(x, rng):
    labels = rng.integers(0, 5, 3)
    truth = np.array(tape.cross_entropy(x, labels, reduction="none"))
    for shift in (2.0**20, -(2.0**23)):
        far = x + np.float32(shift)  # exact: the sums have at most 24 bits
        np.testing.assert_array_equal(tape.cross_entropy(far, labels, reduction="none"), truth)


def test_huge_logits_give_their_difference():
    for size in (1e4, 1e8, 1e30):
        x = tape.tensor([[0.0, size], [size, 0.0]], requires_grad=True)
        y = tape.cross_entropy(x, [0, 0], reduction="none")
        np.testing.assert_array_equal(y.numpy(), np.array([size, 0], np.float32))
        assert tape.grad(y.sum(), x).tolist() == [[-1, 1], [0, 0]]


def test_a_sure_answer_keeps_the_digits_of_its_gradient():
    x = tape.tensor([[0.0, 20.0]], requires_grad=True)
    small = math.exp(-20)
    np.testing.assert_allclose(
        tape.grad(tape.cross_entropy(x, [1]), x).numpy(), [[small, -small]], rtol=1e-6
    )


@pytest.mark.parametrize("masked", [-np.inf, -1e30, np.finfo(np.float32).min])
def test_masked_classes_take_no_part(masked):
    x = tape.tensor(np.array([[1.0, masked, 2.0]], np.float32), requires_grad=True)
    plain = tape.tensor([[1.0, 2.0]], requires_grad=True)
    y, truth = tape.cross_entropy(x, [2]), tape.cross_entropy(plain, [1])
    assert y.item() == pytest.approx(truth.item(), rel=1e-6)
    dx = tape.grad(y, x).tolist()[0]
    assert [dx[0], dx[2]] == pytest.approx(tape.grad(truth, plain).tolist()[0], rel=1e-6)
    assert dx[1] == 0
    shares = tape.cross_entropy(x, np.array([[0.5, 0.0, 0.5]], np.float32))
    assert np.isfinite(shares.item())
    assert np.all(np.isfinite(tape.grad(shares, x).numpy()))


def test_the_label_of_a_masked_class_costs_infinitely_much():
    assert tape.cross_entropy(np.array([[0.0, -np.inf]]), [1]).item() == np.inf


def test_what_is_ignored_may_be_nan_and_gets_no_gradient():
    x = np.array([[0.5, 1.0], [np.nan, np.inf], [0.0, 2.0]])
    t = tape.tensor(x, requires_grad=True)
    loss = tape.cross_entropy(t, [0, -1, 1], ignore_index=-1)
    kept = tape.tensor(x[[0, 2]], requires_grad=True)
    truth = tape.cross_entropy(kept, [0, 1])
    assert loss.item() == pytest.approx(truth.item())
    dx = tape.grad(loss, t).numpy()
    np.testing.assert_allclose(dx[[0, 2]], tape.grad(truth, kept).numpy())
    assert dx[1].tolist() == [0, 0]
    assert math.isnan(tape.cross_entropy(x, [-1, -1, -1], ignore_index=-1).item())


@pytest.mark.parametrize("label", [10, -1, 2**31, -(2**31), 2**63 - 1, -(2**63)])
def test_a_label_out_of_range_is_named_with_its_place(label):
    labels = np.array([1, 2, 3, label])
    words = rf"(?m)^cross_entropy: label {label} at position 3 is out of range for 10 classes$"
    with pytest.raises(tape.IndexRangeError, match=words):
        tape.cross_entropy(np.zeros((4, 10)), labels)
    with pytest.raises(tape.IndexRangeError, match=words):
        tape.cross_entropy(np.zeros((4, 10)), labels, ignore_index=3)
    words = (
        rf"(?m)^cross_entropy: label {label} at position \(1, 1\) is out of range for 10 classes$"
    )
    with pytest.raises(tape.IndexRangeError, match=words):
        tape.cross_entropy(np.zeros((2, 10, 2)), labels.reshape(2, 2), label_smoothing=0.1)


def test_a_label_too_large_for_int64_is_named_as_well():
    labels = np.array([2**64 - 1], np.uint64)
    with pytest.raises(tape.IndexRangeError, match="label 18446744073709551615 at"):
        tape.cross_entropy(np.zeros((1, 3)), labels)


def test_labels_of_a_wrong_kind_are_refused():
    x = np.zeros((3, 4))
    with pytest.raises(tape.DTypeError, match=r"labels are float64 \(3,\), expected integers"):
        tape.cross_entropy(x, np.zeros(3))
    with pytest.raises(tape.DTypeError, match=r"labels are bool \(3,\)"):
        tape.cross_entropy(x, np.zeros(3, bool))
    with pytest.raises(tape.ShapeError, match=r"labels are int64 \(3, 4\), logits \(3, 4\)"):
        tape.cross_entropy(x, np.zeros((3, 4), np.int64))
    with pytest.raises(tape.ShapeError, match=r"labels are float64 \(3, 3\), .* expected integers"):
        tape.cross_entropy(x, np.zeros((3, 3)))
    with pytest.raises(tape.ShapeError, match=r"need one label a row, got labels \(2,\)"):
        tape.cross_entropy(x, np.zeros(2, np.int64))
    with pytest.raises(tape.AxisError, match="cross_entropy: axis 2 is out of range"):
        tape.cross_entropy(x, [0, 0, 0], axis=2)
    with pytest.raises(tape.AxisError, match="cross_entropy: axis 0 is out of range for 0 axes"):
        tape.cross_entropy(np.zeros(()), 0, axis=0)
    with pytest.raises(tape.ShapeError, match=r"weight has shape \(3,\), expected \(4,\)"):
        tape.cross_entropy(x, [0, 0, 0], weight=np.ones(3))
    with pytest.raises(ValueError, match="label_smoothing is 2, not in"):
        tape.cross_entropy(x, [0, 0, 0], label_smoothing=2)
    with pytest.raises(ValueError, match="cross_entropy: reduction is 'average', not 'mean'"):
        tape.cross_entropy(x, [0, 0, 0], reduction="average")


def test_logits_without_a_batch_go_with_one_label():
    x = np.array([1.0, 2.0, 3.0])
    truth = tape.cross_entropy(x[None], [1]).item()
    assert tape.cross_entropy(x, 1).item() == pytest.approx(truth)
    assert tape.cross_entropy(x, 1, reduction="none").shape == ()
    assert tape.cross_entropy(x, np.array([0.0, 1.0, 0.0])).item() == pytest.approx(truth)


def test_an_empty_batch_has_no_mean():
    x, labels = tape.zeros((0, 3), requires_grad=True), np.zeros(0, np.int64)
    assert tape.cross_entropy(x, labels, reduction="sum").item() == 0
    loss = tape.cross_entropy(x, labels)
    assert math.isnan(loss.item())
    assert tape.grad(loss, x).shape == (0, 3)


def test_labels_may_be_of_any_integer_dtype_and_logits_integers():
    x = np.arange(12).reshape(3, 4) % 5
    truth = tape.cross_entropy(x.astype(float), [3, 0, 1]).item()
    for dtype in (np.int8, np.uint8, np.int32, np.uint64):
        assert tape.cross_entropy(x, np.array([3, 0, 1], dtype)).item() == truth


def test_probabilities_get_a_gradient_too():
    x, p = np.array([[1.0, 2.0]]), tape.tensor(np.array([[0.25, 0.75]]), requires_grad=True)
    dp = tape.grad(tape.cross_entropy(x, p, reduction="sum"), p)
    np.testing.assert_allclose(dp.numpy(), -logarithms(x, 1))


def test_what_has_no_probability_counts_for_nothing_even_at_minus_infinity():
    x = np.array([[-np.inf, 1.0, 1.0], [0.0, 0.0, -np.inf]])
    y = cross_entropy_soft(x, np.array([[0.0, 0.5, 0.5], [0.0, 0.5, 0.5]]))
    np.testing.assert_allclose(y.numpy(), [math.log(2), np.inf])


def test_cross_entropy_has_the_second_derivative_of_softmax():
    x = np.array([[0.3, -1.0, 2.0]])
    p = np.exp(logarithms(x, 1))[0]
    found = tape.hessian(lambda t: tape.cross_entropy(t, [1]))(tape.tensor(x)).numpy()
    np.testing.assert_allclose(found.reshape(3, 3), np.diag(p) - np.outer(p, p), atol=1e-12)
