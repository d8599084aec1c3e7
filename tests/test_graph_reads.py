"""What a program reads, checks and asks beside a section: guards where it matters, else nothing."""

import numpy as np
import pytest

import tape
from tape import nn

rng = np.random.default_rng(0)


def drawn(*shape, **settings):
    return tape.tensor(rng.standard_normal(shape), **settings)


def test_an_op_that_checks_values_is_a_guard_though_nothing_uses_its_result():
    def program(k):
        try:
            tape.linalg.cholesky(k)
        except tape.TapeError:
            return k * 3.0
        return k * 2.0

    k = tape.tensor(np.eye(2)).named("k")
    clone = tape.clone_function(k, program(k))
    assert clone(k * 5.0).tolist() == (k * 10.0).tolist()
    with pytest.raises(tape.TapeError, match="not positive definite"):
        clone(k * -1.0)


@pytest.mark.parametrize("loss", [tape.nll_loss, tape.multi_margin_loss, tape.cross_entropy])
def test_labels_that_were_refused_refuse_the_section(loss):
    x = tape.tensor([[1.0, 2.0], [4.0, 5.0]]).named("x")
    labels = (x > 0.0).sum(axis=1)
    with pytest.raises(IndexError):
        loss(x, labels)
    with pytest.raises(tape.GraphError, match="an op refused values"):
        tape.clone_function(x, x * 2.0)


@pytest.mark.parametrize("by", ["optimizer", "in place"])
def test_a_leaf_that_is_made_and_learns_inside_is_refused(by):
    def program(h, leaf):
        if by == "in place":
            with tape.no_grad():
                leaf -= h * 2.0
            return h * leaf
        optimizer = tape.optim.SGD([leaf], lr=0.1)
        ((leaf - h) ** 2).sum().backward()
        optimizer.step()
        return h * leaf

    def leaf():
        return tape.zeros(3, dtype="float64").requires_grad_(True)

    x = drawn(3).named("x")
    with pytest.raises(tape.GraphError, match="made after the inputs and has learned since"):
        tape.clone_function(x, program(x, leaf()))
    older = leaf()
    x = drawn(3).named("x")
    y = program(x, older)
    assert tape.clone_function(x, y)(x).tolist() == y.tolist()


def test_a_layer_that_was_made_by_the_first_call_and_trained_since_is_taken():
    x, layer = drawn(4, 3).named("x"), nn.Dense(2, dtype="float64")
    optimizer = None
    for _ in range(3):
        loss = (layer(x) ** 2).sum()
        optimizer = optimizer or tape.optim.SGD(layer.parameters(), lr=0.1)
        loss.backward()
        optimizer.step()
    clone = tape.clone_function(x, layer(x))
    z = drawn(5, 3)
    np.testing.assert_array_equal(clone(z).numpy(), layer(z).numpy())


def test_a_branch_on_what_does_not_depend_on_the_input_is_let_be():
    w, z, x = drawn(3, 2), drawn(2, 3), drawn(2, 3).named("x")
    y = (x @ w) * 0.7
    if (z @ w).sum() > 0:
        y = y + 1.0
    clone = tape.clone_function(x, y)
    if (z @ w).sum() > 0:
        pass
    other = tape.clone_function(x, y)
    assert clone(z).tolist() == other(z).tolist()


@pytest.mark.parametrize("grad", [False, True])
def test_a_branch_on_a_parameter_frozen_or_not_is_refused(grad):
    layer, x = nn.Dense(2, 3), tape.ones((2, 3)).named("x")
    layer.weight.requires_grad_(grad)
    y = layer(x)
    if layer.weight.sum() > -100.0:
        y = y * 2.0
    with pytest.raises(tape.GraphError, match="a value was read at"):
        tape.clone_function(x, y)


@pytest.mark.parametrize("grad", [False, True])
def test_calling_one_clone_does_not_forbid_another(grad):
    w = drawn(3, 2, requires_grad=grad)
    x = drawn(2, 3).named("x")
    y = x @ w
    if y.sum() > -1e9:
        y = y * 0.7
    first = tape.clone_function(x, y)
    z = drawn(2, 3)
    first(z)
    second = tape.clone_function(x, y)
    assert second(z).tolist() == first(z).tolist() == ((z @ w) * 0.7).tolist()
    with pytest.raises(tape.GuardError, match="a branch"):
        second(z * -1e12 * tape.sign((z @ w).sum()))


def test_a_clone_in_a_section_hands_its_guards_on():
    x = drawn(3).named("x")
    inner = tape.clone_function(x, x * 2.0 if x.sum() > -1e9 else x)
    z = drawn(3).named("z")
    outer = tape.clone_function(z, inner(z * 1.5))
    assert outer(x).tolist() == (x * 1.5 * 2.0).tolist()
    with pytest.raises(tape.GuardError, match="a branch"):
        outer(x * 0.0 - 1e10)


def test_sizes_of_other_values_may_be_asked_for():
    x, other = drawn(2, 3).named("x"), drawn(5, 5)
    y = x * 0.7
    assert other.shape == (5, 5)
    assert (other * 2.0).size == 25
    y = y + other.shape[0]
    assert tape.clone_function(x, y)(drawn(4, 3)).shape == (4, 3)


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x.shape[0],
        lambda x: len(x),
        lambda x: (x * 2.0).shape[0],
        lambda x: x.detach().size,
        lambda x: (x > 0.0).size,
    ],
)
@pytest.mark.parametrize("grad", [False, True])
def test_sizes_of_what_depends_on_the_input_may_not(ask, grad):
    x = drawn(2, 3, requires_grad=grad).named("x")
    clone = tape.clone_function(x, x * 0.7 / ask(x))
    with pytest.raises(tape.GuardError, match="asked for sizes"):
        clone(drawn(4, 3))
    x = drawn(2, 3).named("x")
    with tape.no_grad():
        n = ask(x)
    with pytest.raises(tape.GuardError, match="asked for sizes"):
        tape.clone_function(x, x * 0.7 / n)(drawn(4, 3))


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("q", [0.3, [0.2, 0.9]])
@pytest.mark.parametrize("keepdims", [False, True])
def test_quantiles_are_replayed(axis, q, keepdims):
    x = drawn(5, 7).named("x")
    clone = tape.clone_function(x, tape.quantile(x, q, axis, keepdims=keepdims))
    for z in (drawn(5, 7), x):
        expected = tape.quantile(tape.tensor(z.numpy()), q, axis, keepdims=keepdims)
        np.testing.assert_array_equal(clone(z).numpy(), expected.numpy())
        assert expected.numpy().shape == np.quantile(z.numpy(), q, axis, keepdims=keepdims).shape
    try:
        y = clone(drawn(9, 7))
    except tape.GuardError:
        assert axis in (None, 0)
    else:
        assert axis == 1
        assert y.shape[-1 - keepdims] == 9


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("largest", [False, True])
def test_the_largest_are_replayed(axis, largest):
    x = tape.round(drawn(6, 5) * 2.0).named("x")
    parts = tape.topk(x, 3, axis, largest=largest)
    clone = tape.clone_function(x, list(parts))
    for z in (
        tape.round(drawn(6, 5) * 2.0),
        tape.tensor([[1.0, np.nan, 2.0, np.nan, 0.0]] * 6, "float64"),
    ):
        for found, expected in zip(clone(z), tape.topk(z, 3, axis, largest=largest), strict=True):
            np.testing.assert_array_equal(found.numpy(), expected.numpy())
    assert [part.tolist() for part in parts] == [
        part.tolist() for part in tape.topk(tape.tensor(x.numpy()), 3, axis, largest=largest)
    ]


def test_the_variance_of_a_gaussian_is_a_guard():
    x, target = drawn(4, 3).named("x"), drawn(4, 3)
    clone = tape.clone_function(x, tape.gaussian_nll_loss(x, target, x * x))
    z = drawn(4, 3)
    assert clone(z).item() == tape.gaussian_nll_loss(z, target, z * z).item()
    clone = tape.clone_function(x, tape.gaussian_nll_loss(x, target, x + 100.0))
    assert clone(z).item() == tape.gaussian_nll_loss(z, target, z + 100.0).item()
    with pytest.raises(tape.GuardError, match="a branch"):
        clone(z - 1000.0)


def test_dropout_drops_what_it_dropped_when_it_was_recorded():
    layer, x = nn.Dropout(0.5), tape.ones((4, 8)).named("x")
    y = layer(x)
    clone = tape.clone_function(x, y)
    assert clone(x).tolist() == clone(x).tolist() == y.tolist()
    with tape.reuse():
        assert clone(x * 2.0).tolist() == (y * 2.0).tolist()


def test_what_is_detached_has_no_name():
    x = drawn(3).named("x")
    y = x * x.detach()
    assert x.detach().name is None
    assert tape.graph.find(y, "x").serial == x.serial
    assert x.name == "x"
