"""Losses beside cross_entropy: what they refuse, and where a plain formula would go wrong."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tape
from tape.testing import gradcheck


@pytest.fixture
def rng():
    return np.random.default_rng(0)


X = tape.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, -2.0]], dtype="float64")
ROW = X[0]
REFUSED = [
    (lambda: tape.l1_loss(X, ROW), tape.ShapeError, r"l1_loss: x has shape \(2, 3\), target \(3,"),
    (lambda: tape.l1_loss(X, X, "max"), ValueError, "l1_loss: reduction is 'max', not 'mean'"),
    (lambda: tape.huber_loss(X, X, delta=0), ValueError, "huber_loss: delta is 0, not a number ab"),
    (lambda: tape.smooth_l1_loss(X, X, beta=-1), ValueError, "smooth_l1_loss: beta is -1, not"),
    (lambda: tape.gaussian_nll_loss(X, X, -X), ValueError, "a variance is -0.5, below 0"),
    (
        lambda: tape.gaussian_nll_loss(X, X, tape.ones((3, 2))),
        tape.ShapeError,
        r"gaussian_nll_loss: var \(3, 2\) fits neither x \(2, 3\) nor",
    ),
    (lambda: tape.gaussian_nll_loss(X, X, X, eps=0), ValueError, "eps is 0, not a number above 0"),
    (lambda: tape.poisson_nll_loss(X, ROW), tape.ShapeError, "poisson_nll_loss: x has shape"),
    (lambda: tape.binary_cross_entropy(X, X), ValueError, r"x has -1.0, outside of \[0, 1\]"),
    (
        lambda: tape.binary_cross_entropy_with_logits(X, X, tape.ones((3, 3))),
        tape.ShapeError,
        r"with_logits: shapes \(2, 3\) and \(3, 3\) do not broadcast",
    ),
    (
        lambda: tape.binary_cross_entropy_with_logits(ROW, ROW, X),
        tape.ShapeError,
        r"weight \(2, 3\) does not broadcast to the losses \(3,\)",
    ),
    (
        lambda: tape.nll_loss(X, [0, 3]),
        tape.IndexRangeError,
        "nll_loss: label 3 at position 1 is out of range for 3 classes",
    ),
    (lambda: tape.nll_loss(X, [0]), tape.ShapeError, r"x \(2, 3\) needs one label each, got lab"),
    (lambda: tape.nll_loss(X, [0, 1], [1.0]), tape.ShapeError, r"weight has shape \(1,\), expect"),
    (lambda: tape.nll_loss(X, [0.0, 1.0]), tape.DTypeError, "nll_loss: labels are float"),
    (lambda: tape.kl_div(X, ROW), tape.ShapeError, "kl_div: x has shape"),
    (lambda: tape.kl_div(X, X, "batch"), ValueError, "kl_div: reduction is 'batch'"),
    (lambda: tape.soft_margin_loss(X, ROW), tape.ShapeError, "soft_margin_loss: x has shape"),
    (
        lambda: tape.hinge_embedding_loss(X, [1.0, 1.0]),
        tape.ShapeError,
        "hinge_embedding_loss: shapes .* do not broadcast",
    ),
    (
        lambda: tape.margin_ranking_loss(X, X, [1.0, 1.0]),
        tape.ShapeError,
        "margin_ranking_loss: shapes .* do not broadcast",
    ),
    (
        lambda: tape.cosine_embedding_loss(X, X, [1.0]),
        tape.ShapeError,
        r"cosine_embedding_loss: .* target \(1,\) then \(N\)",
    ),
    (lambda: tape.triplet_margin_loss(X, X, ROW), tape.ShapeError, "triplet_margin_loss: anchor"),
    (lambda: tape.triplet_margin_loss(X, X, X, margin=0), ValueError, "margin is 0, not above 0"),
    (lambda: tape.multi_margin_loss(X, [0, 1], p=3), ValueError, "p is 3, neither 1 nor 2"),
    (lambda: tape.multi_margin_loss(X, [0]), tape.ShapeError, "must be .* one label a row"),
    (
        lambda: tape.multi_margin_loss(X, [0, -1]),
        tape.IndexRangeError,
        "multi_margin_loss: label -1 at position 1",
    ),
    (
        lambda: tape.multilabel_margin_loss(X, [[0, -1, 9], [3, -1, 0]]),
        tape.IndexRangeError,
        r"multilabel_margin_loss: label 3 at \(1, 0\) is out of range for 3 classes",
    ),
    (
        lambda: tape.multilabel_margin_loss(X, X),
        tape.DTypeError,
        "labels are float64, expected int",
    ),
    (lambda: tape.margin_ranking_loss(X, X, X, "a"), TypeError, "margin_ranking_loss: unsupported"),
    (lambda: tape.pairwise_distance(X, X, p="2"), ValueError, "p is '2', not a number"),
    (lambda: tape.cdist(X, ROW), tape.ShapeError, r"cdist: x1 \(2, 3\) and x2 \(3,\) must be mat"),
    (lambda: tape.normalize(X, axis=2), tape.AxisError, "normalize: axis 2 is out of range"),
]


@pytest.mark.parametrize(("call", "error", "match"), REFUSED)
def test_a_wrong_call_is_refused_in_the_name_of_the_loss(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize(
    "loss",
    [
        tape.l1_loss,
        tape.huber_loss,
        tape.smooth_l1_loss,
        tape.poisson_nll_loss,
        tape.binary_cross_entropy_with_logits,
        tape.soft_margin_loss,
        tape.kl_div,
        tape.hinge_embedding_loss,
    ],
)
def test_reductions_are_the_mean_and_sum_of_the_losses(loss):
    target = tape.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, 1.0]], dtype="float64")
    if loss is tape.kl_div:
        target = abs(target)
    each = loss(X, target, reduction="none").numpy()
    assert each.shape == X.shape
    assert loss(X, target).item() == pytest.approx(each.mean())
    assert loss(X, target, reduction="sum").item() == pytest.approx(each.sum())


def test_a_logit_of_any_size_has_a_finite_loss_and_gradient():
    x = tape.tensor([-1e4, 1e4, -1e4, 1e4], dtype="float64", requires_grad=True)
    target = tape.tensor([0.0, 1.0, 1.0, 0.0])
    loss = tape.binary_cross_entropy_with_logits(x, target, reduction="none")
    assert loss.tolist() == [0.0, 0.0, 1e4, 1e4]
    assert tape.grad(loss.sum(), x).tolist() == [0.0, 0.0, -1.0, 1.0]


def test_a_certain_error_costs_100_and_has_a_finite_gradient():
    x = tape.tensor([0.0, 1.0, 0.0, 1.0], dtype="float64", requires_grad=True)
    loss = tape.binary_cross_entropy(x, tape.tensor([1.0, 0.0, 0.0, 1.0]), reduction="none")
    assert loss.tolist() == [100.0, 100.0, 0.0, 0.0]
    assert tape.grad(loss.sum(), x).tolist() == [-1e12, 1e12, 0.0, 0.0]


def test_ignored_labels_may_have_any_logits():
    x = tape.tensor([[math.nan, math.inf], [-1.0, -2.0]], dtype="float64", requires_grad=True)
    loss = tape.nll_loss(x, [-100, 1], ignore_index=-100)
    assert loss.item() == 2.0
    assert tape.grad(loss, x).tolist() == [[0.0, 0.0], [0.0, -1.0]]
    assert math.isnan(tape.nll_loss(x, [7, 7], ignore_index=7).item())


def test_nothing_to_learn_from_equal_vectors():
    x = tape.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    for distance in (tape.cdist(x, x), tape.pairwise_distance(x, x, eps=0.0)):
        assert np.isfinite(tape.grad(distance.sum(), x).numpy()).all()


SIGNS = np.array([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]])
SHARES = np.array([[0.2, 0.7, 0.1], [0.5, 0.4, 0.9]])
MEANS = np.array([[0.5, -1.0, 2.0], [1.0, 0.25, -2.0]])
SMOOTH = [
    (tape.huber_loss, [MEANS, SHARES], {"delta": 0.4}),
    (tape.smooth_l1_loss, [MEANS, SHARES], {"beta": 5.0}),
    (tape.l1_loss, [MEANS, SHARES], {}),
    (tape.gaussian_nll_loss, [MEANS, SHARES, SHARES], {"full": True}),
    (tape.poisson_nll_loss, [MEANS, 1 + SHARES], {"full": True}),
    (tape.poisson_nll_loss, [SHARES, SHARES], {"log_input": False}),
    (tape.binary_cross_entropy, [SHARES, 1 - SHARES], {}),
    (tape.binary_cross_entropy_with_logits, [MEANS, SHARES], {"pos_weight": [1.0, 2.0, 3.0]}),
    (tape.kl_div, [MEANS, SHARES], {"reduction": "batchmean"}),
    (tape.kl_div, [MEANS, MEANS], {"log_target": True}),
    (tape.soft_margin_loss, [MEANS, SIGNS], {}),
    (tape.multilabel_soft_margin_loss, [MEANS, SHARES], {"weight": [1.0, 2.0, 3.0]}),
    (lambda x: tape.hinge_embedding_loss(x, SIGNS, 1.5), [MEANS], {}),
    (lambda a, b: tape.margin_ranking_loss(a, b, SIGNS, 3.0), [MEANS, SHARES], {}),
    (lambda a, b: tape.cosine_embedding_loss(a, b, [1.0, -1.0]), [MEANS, SHARES], {}),
    (tape.triplet_margin_loss, [MEANS, SHARES, SIGNS], {"margin": 5.0, "swap": True}),
    (lambda x: tape.multi_margin_loss(x, [0, 2], 2, 5.0), [MEANS], {}),
    (lambda x: tape.multilabel_margin_loss(x, [[0, -1, 1], [1, 2, -1]]), [MEANS], {}),
    (lambda x: tape.nll_loss(x, [0, 2], [0.5, 1.0, 2.0]), [MEANS], {}),
    (tape.cosine_similarity, [MEANS, SHARES], {}),
    (tape.pairwise_distance, [MEANS, SHARES], {"p": 3.0}),
    (tape.pairwise_distance, [MEANS, SHARES], {"p": math.inf}),
    (tape.normalize, [MEANS], {"p": 1.5}),
    (tape.cdist, [MEANS, SHARES], {}),
]


@pytest.mark.parametrize(("loss", "operands", "settings"), SMOOTH)
def test_gradients_are_right_to_second_order(loss, operands, settings):
    assert gradcheck(lambda *xs: loss(*xs, **settings), operands, order=2)


def test_a_number_is_a_vector_of_one():
    x = tape.tensor(-3.0)
    assert tape.normalize(x, axis=0).item() == -1.0
    assert tape.cosine_similarity(x, 5.0, axis=-1).item() == -1.0
    with pytest.raises(tape.AxisError, match="normalize: axis 1 is out of range"):
        tape.normalize(x)


def paths_to(labels, times, n_classes, blank):
    """Every way to name a class for each time that gives the labels."""
    for path in np.ndindex(*[n_classes] * times):
        merged = [c for i, c in enumerate(path) if i == 0 or c != path[i - 1]]
        if [c for c in merged if c != blank] == list(labels):
            yield path


@pytest.mark.parametrize("labels", [[], [1], [1, 2], [1, 1], [2, 1, 2]])
@pytest.mark.parametrize("blank", [0, 3])
def test_ctc_is_the_sum_over_all_alignments(labels, blank, rng):
    labels = [label % 3 if blank == 3 else label for label in labels]
    x = rng.normal(size=(4, 4))
    p = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    paths = list(paths_to(labels, 4, 4, blank))
    total = sum(math.prod(p[t, c] for t, c in enumerate(path)) for path in paths)
    padded = np.array([labels + [0] * (3 - len(labels))])
    loss = tape.ctc_loss(x[:, None], padded, [4], [len(labels)], blank, "sum")
    assert loss.item() == pytest.approx(-math.log(total))
    alone = tape.ctc_loss(x, labels, 4, len(labels), blank, "none")
    assert alone.shape == ()
    assert alone.item() == pytest.approx(-math.log(total))


def test_gradients_of_ctc_are_right_to_second_order(rng):
    def loss(x):
        return tape.ctc_loss(x, [[1, 2], [1, 1]], [4, 3], [2, 2], reduction="sum")

    assert gradcheck(loss, [rng.normal(size=(4, 2, 3))], order=2)


def test_a_sequence_too_short_for_its_labels_costs_inf_or_nothing():
    x = tape.zeros((2, 1, 3), requires_grad=True)
    assert tape.ctc_loss(x, [[1, 1]], [2], [2]).item() == math.inf
    loss = tape.ctc_loss(x, [[1, 1]], [2], [2], zero_infinity=True)
    assert loss.item() == 0.0
    assert not tape.grad(loss, x).numpy().any()


CTC = [
    (([[1]], [3], [1]), tape.ShapeError, r"ctc_loss: input_lengths: 3 is not in \[0, 2\]"),
    (([[1]], [2], [2]), tape.ShapeError, r"label_lengths: 2 is not in \[0, 1\]"),
    (([[5]], [2], [1]), tape.IndexRangeError, r"label 5 at \(0, 0\) is out of range for 3 classes"),
    (([[1]], [2], [1], 3), tape.IndexRangeError, "blank 3 is out of range for 3 classes"),
    (([[1.5]], [2], [1]), tape.DTypeError, "labels must be integers, got float64"),
    (([[1], [1]], [2], [1]), tape.ShapeError, r"labels \(2, 1\) must be \(1, S\)"),
    (([1, 1], [2], [1]), tape.ShapeError, "2 labels, but label_lengths sum to 1"),
    (([[1]], [2, 2], [1]), tape.ShapeError, r"input_lengths \(2,\) must be one for each of 1"),
]


@pytest.mark.parametrize(("arguments", "error", "match"), CTC)
def test_ctc_refuses_what_does_not_fit(arguments, error, match):
    with pytest.raises(error, match=match):
        tape.ctc_loss(tape.zeros((2, 1, 3)), *arguments)


@pytest.mark.parametrize("shape", [(1, 3, 2), (4, 1, 2), (4, 3, 1), (4, 3), (1,)])
def test_a_variance_may_stand_for_all_of_one_axis(shape):
    x, target = (np.random.default_rng(i).normal(size=(4, 3, 2)) for i in (0, 1))
    var = np.random.default_rng(2).uniform(0.5, 2.0, shape)
    whole = np.broadcast_to(var[..., None] if var.ndim == 2 else var, x.shape)
    y = tape.gaussian_nll_loss(x, target, var, reduction="none")
    assert y.tolist() == tape.gaussian_nll_loss(x, target, whole, reduction="none").tolist()
    with pytest.raises(tape.ShapeError, match=r"var \(1, 1, 2\) fits neither"):
        tape.gaussian_nll_loss(x, target, np.ones((1, 1, 2)))


def test_a_sequence_without_an_alignment_has_no_gradient_and_harms_no_other():
    x = tape.tensor(np.random.default_rng(0).normal(size=(4, 2, 3)), requires_grad=True)
    labels, times, counts = [[1, 2], [1, 1]], [4, 2], [2, 2]  # 1, 1 takes three times
    y = tape.ctc_loss(x, labels, times, counts, reduction="none")
    alone = tape.ctc_loss(x[:, :1], labels[:1], times[:1], counts[:1], reduction="none")
    assert y.tolist() == [alone.item(), np.inf]
    g = tape.grad(y.sum(), x).numpy()
    np.testing.assert_allclose(g[:, 0], tape.grad(alone.sum(), x).numpy()[:, 0], rtol=1e-12)
    assert np.isnan(g[:2, 1]).all()
    assert not g[2:, 1].any()
    y = tape.ctc_loss(x, labels, times, counts, reduction="sum", zero_infinity=True)
    assert np.isfinite(tape.grad(y, x).numpy()).all()


@given(
    hnp.array_shapes(min_dims=0, min_side=0, max_side=4),
    st.integers(0, 2**32).map(np.random.default_rng),
)
def test_mse_is_its_definition(shape, rng):
    x, target = rng.normal(size=shape), rng.normal(size=shape)
    squares = np.square(x - target)  # of one number, ** 2 is rounded otherwise
    np.testing.assert_array_equal(tape.mse_loss(x, target, reduction="none").numpy(), squares)
    assert tape.mse_loss(x, target, reduction="sum").item() == pytest.approx(squares.sum())
    t = tape.tensor(x, requires_grad=True)
    loss = tape.mse_loss(t, target)
    if squares.size:
        assert loss.item() == pytest.approx(squares.mean())
        dx = tape.grad(loss, t).numpy()
        np.testing.assert_allclose(dx, 2 * (x - target) / x.size, rtol=1e-12)
    else:
        assert math.isnan(loss.item())


def test_mse_broadcasts_nothing():
    with pytest.raises(tape.ShapeError, match=r"mse_loss: x has shape \(3, 1\), target \(3,\)"):
        tape.mse_loss(np.zeros((3, 1)), np.zeros(3))
    with pytest.raises(ValueError, match="mse_loss: reduction is None, not 'mean'"):
        tape.mse_loss(np.zeros(3), np.zeros(3), reduction=None)
    assert tape.mse_loss(np.ones(3), 3.0).item() == 4
