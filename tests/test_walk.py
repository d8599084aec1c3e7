"""Gradients of recorded results: what they cost, what they share, what they leave behind."""

import numpy as np
import pytest
from counting import counting_product
from hypothesis import given
from hypothesis import strategies as st

import tape
from tape import shapes
from tape.errors import GradError, ShapeError

pytestmark = pytest.mark.usefixtures("nothing_left")


def leaves(*shape, n=1):
    """n leaves that want a gradient, float64."""
    rng = np.random.default_rng(1)
    made = [tape.tensor(rng.standard_normal(shape), requires_grad=True) for _ in range(n)]
    return made if n > 1 else made[0]


# -- backward -------------------------------------------------------------------------------------


def test_gradients_accumulate():
    x = leaves(3)
    for n in (1, 2, 3):
        (x * x).sum().backward()
        np.testing.assert_allclose(x.grad, 2 * n * x.detach().numpy())


def test_accumulated_gradients_do_not_change_those_handed_out_before():
    x = leaves(3)
    (x * 2.0).sum().backward()
    first, view = x.grad, x.grad.numpy()
    (x * 3.0).sum().backward()
    assert first.tolist() == view.tolist() == [2, 2, 2]
    assert x.grad.tolist() == [5, 5, 5]


def test_a_leaf_used_many_times_gets_one_sum():
    x = leaves(2)
    y = x
    for _ in range(20):
        y = y + x
    y.sum().backward()
    assert x.grad.tolist() == [21, 21]


def test_a_second_backward_through_a_used_graph_is_refused():
    x = leaves(3)
    y = (x * x).sum()
    y.backward()
    before = x.grad.tolist()
    for again in (y.backward, lambda: tape.grad(y, x), lambda: (y * 2).backward()):
        with pytest.raises(GradError, match="was freed by an earlier backward"):
            again()
    assert x.grad.tolist() == before


def test_two_losses_on_a_shared_trunk_can_be_differentiated_one_after_the_other():
    w = leaves(3)
    trunk = tape.exp(w)
    a, b = (trunk * 2.0).sum(), (trunk * 3.0).sum()
    a.backward()
    b.backward()
    np.testing.assert_allclose(w.grad, 5 * np.exp(w.numpy()))
    with pytest.raises(GradError):
        trunk.sum().backward()


def test_two_losses_that_share_by_reuse_only_are_as_independent_as_they_look():
    w = leaves(3)
    a, b = tape.exp(w).sum(), (tape.exp(w) * 2.0).sum()
    a.backward()
    assert tape.grad(b, w).tolist() == (2 * np.exp(w.numpy())).tolist()
    b.backward()
    np.testing.assert_allclose(w.grad, 3 * np.exp(w.numpy()))


def test_adjoints_kept_for_a_second_loss_survive_the_backward_of_the_first():
    u, v = leaves(3, n=2)
    trunk = tape.exp(u) * v
    a, b = trunk.sum(), (trunk * trunk).sum()
    tape.grad(b, u)
    a.backward()
    np.testing.assert_allclose(tape.grad(b, v), 2 * trunk.numpy() * np.exp(u.numpy()))


def test_backward_frees_what_it_used_even_while_results_are_held():
    x = leaves(1000)
    h = tape.exp(x)
    y = (h * h).sum()
    before = tape.live_nodes()
    y.backward()
    x.zero_grad()
    assert tape.live_nodes() == before - 1  # h * h
    assert h.requires_grad


def test_a_cotangent_must_fit():
    x = leaves(2, 3)
    y = x * 2.0
    with pytest.raises(ShapeError, match=r"cotangent g has shape \(3,\), the tensor \(2, 3\)"):
        y.backward(tape.tensor([1.0, 1.0, 1.0]))
    with pytest.raises(ShapeError, match=r"needs a cotangent g"):
        y.backward()
    y.backward(np.ones((2, 3), "float32"))
    assert x.grad.dtype == np.float64
    (x * 1.0).backward([[1, 1, 1], [1, 1, 1]])
    assert x.grad.tolist() == [[3, 3, 3], [3, 3, 3]]
    tape.sum(x).reshape((1, 1)).backward()


def test_mixed_dtypes_give_each_leaf_its_own():
    a = tape.tensor([1.0, 2.0], requires_grad=True)
    b = tape.tensor(np.array([3.0, 4.0]), requires_grad=True)
    (a * b).sum().backward()
    assert (a.grad.dtype, b.grad.dtype) == (np.float32, np.float64)
    assert (a.grad.tolist(), b.grad.tolist()) == ([3, 4], [1, 2])


def test_scalar_operands_on_either_side_and_broadcasting_sum_back():
    x, s = leaves(2, 3), leaves()
    ((2.0 - x) * s / (1.0 + s * s)).sum().backward()
    value = s.item()
    np.testing.assert_allclose(x.grad, np.full((2, 3), -value / (1 + value**2)))
    assert s.grad.shape == ()


# -- grad -----------------------------------------------------------------------------------------


def test_grad_gives_the_form_it_was_asked_in():
    x, y = leaves(2, n=2)
    z = (x * y).sum()
    assert isinstance(tape.grad(z, x), tape.Tensor)
    assert type(tape.grad(z, [x, y])) is list
    assert type(tape.grad(z, (x, y))) is tuple
    assert tape.grad(z, []) == []
    assert [g.tolist() for g in tape.grad(z, [x, x])] == [y.tolist()] * 2
    assert (x.grad, y.grad) == (None, None)


def test_an_unused_target_raises_or_is_zeros():
    x, y = leaves(2, n=2)
    z = (x * 2.0).sum()
    with pytest.raises(GradError, match=r"y \(\) does not depend on xs\[1\] \(2,\); pass unused"):
        tape.grad(z, [x, y])
    assert tape.grad(z, y, unused="zeros").tolist() == [0, 0]
    constant = tape.tensor([1.0])
    assert tape.grad(z, constant, unused="zeros").tolist() == [0]
    with pytest.raises(GradError, match="does not require a gradient"):
        tape.grad(z, constant)
    with pytest.raises(ValueError, match="unused is"):
        tape.grad(z, x, unused="ignore")
    with pytest.raises(TypeError, match=r"xs\[0\] is a int"):
        tape.grad(z, [1])
    with pytest.raises(TypeError, match="y is a float"):
        tape.grad(1.0, [x])


def test_gradients_by_intermediate_results():
    x = leaves(3)
    h = x * 2.0
    y = (h * h).sum()
    np.testing.assert_allclose(tape.grad(y, h), 2 * h.detach().numpy())
    assert tape.grad(y, y).tolist() == 1
    assert tape.grad(h, h, g=np.full(3, 5.0)).tolist() == [5, 5, 5]


@pytest.mark.parametrize("n_layers", [1, 2, 5, 8])
@pytest.mark.parametrize("backwards", [False, True])
def test_separate_grads_cost_what_a_joint_one_costs(n_layers, backwards):
    product, log = counting_product()
    weights = leaves(4, 4, n=n_layers + 1)[:-1]

    def loss():
        h = tape.tensor(np.ones((4, 4)))
        for w in weights:
            h = product(h, w)
        return h.sum()

    joint = loss()
    log.clear()
    together = tape.grad(joint, weights)
    assert len(log) == 2 * n_layers - 1
    with tape.reuse(False):
        separate = loss()
    log.clear()
    order = list(enumerate(weights))[:: -1 if backwards else 1]
    alone = {i: tape.grad(separate, w) for i, w in order}
    assert len(log) == 2 * n_layers - 1
    for i, g in enumerate(together):
        np.testing.assert_array_equal(alone[i], g)
    log.clear()
    tape.grad(separate, weights)
    assert log == []


def test_another_cotangent_is_another_walk():
    x = leaves(2)
    y = x * x
    one, two = tape.tensor([1.0, 1.0], dtype="float64"), tape.tensor([1.0, 2.0], dtype="float64")
    a, b, c = (tape.grad(y, x, g=g) for g in (one, two, one))
    np.testing.assert_array_equal(a, c)
    assert b.tolist() == (a * two).tolist()
    two.assign([5.0, 5.0])
    np.testing.assert_array_equal(tape.grad(y, x, g=two), 5 * a.numpy())


def test_gradients_handed_out_are_the_callers_own():
    x = leaves(2)
    y = (x * x).sum()
    first = tape.grad(y, x)
    first += 100
    np.testing.assert_allclose(tape.grad(y, x), 2 * x.detach().numpy())


def test_grad_and_backward_give_the_same_bits():
    x, w = leaves(5, 5, n=2)
    loss = tape.tanh(x @ w + w).sum() + (tape.sin(x) * w).sum()
    found = tape.grad(loss, [x, w])
    loss.backward()
    for leaf, g in zip([x, w], found, strict=True):
        np.testing.assert_array_equal(leaf.grad, g)


def test_none_from_a_rule_means_no_gradient():
    @tape.op(shape=shapes.broadcast)
    def first(a, b, /):
        return a + 0 * b

    first.defvjp(lambda g: (g, None))
    a, b = leaves(2, n=2)
    first(a, b).sum().backward()
    assert a.grad.tolist() == [1, 1]
    assert b.grad is None


@given(st.integers(1, 7))
def test_nodes_with_many_axes(ndim):
    x = tape.tensor(np.ones((2,) * ndim), requires_grad=True)
    y = tape.permute_dims(x, tuple(range(ndim))[::-1]) * x + 1.0
    assert y.shape == (2,) * ndim
    y.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("n", [1, 5, 63, 64, 65, 70, 200])
def test_gradients_of_ops_with_many_operands(n):
    xs = leaves(2, n=n + 1)[:-1]
    weights = np.arange(1.0, n + 1)[:, None] * np.ones(2)

    @tape.op(shape=lambda *xs: xs[0], saves="xs y")
    def multiplied(*xs):
        return np.prod(xs, axis=0)

    multiplied.defvjp(lambda g, xs, y: tuple(g * y / x for x in xs))
    (tape.stack(xs) * weights).sum().backward()
    for i, x in enumerate(xs):
        assert x.grad.tolist() == [i + 1.0] * 2
        x.zero_grad()
    fixed = [tape.tensor([1.0, 1.0]) if i % 3 else x for i, x in enumerate(xs)]
    y = multiplied(fixed)
    with tape.no_grad():
        for x in xs:
            x += 1
    y.sum().backward()
    for i, x in enumerate(xs):
        assert (x.grad is None) == bool(i % 3)
        if not i % 3:
            np.testing.assert_allclose(x.grad, y.numpy() / (x.numpy() - 1))


@pytest.mark.parametrize(
    "read",
    [print, float, bool, repr, str, np.array, lambda t: t.tolist(), lambda t: t.numpy(), hash],
)
def test_reading_values_in_the_middle_changes_no_gradient(read, capsys):
    def gradient(look):
        x = tape.tensor(np.array([0.7]), requires_grad=True)
        h = x
        for _ in range(5):
            h = tape.tanh(h * x + 0.5)
            look(h)
        h.sum().backward()
        look(x.grad)
        return x.grad.tolist()

    assert gradient(read) == gradient(lambda h: None)
