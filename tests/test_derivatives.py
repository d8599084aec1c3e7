"""Derivatives of functions and of derivatives: higher orders, both modes, nested."""

import numpy as np
import pytest

import tape
from tape import shapes

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_a_negative_number_to_a_power_has_no_slope_in_the_exponent():
    # As in PyTorch: (-2) ** b is a number only where b is whole.
    b = tape.tensor([0.0, 1.0, 2.0, 0.5], requires_grad=True)
    assert np.isnan(tape.grad(((-2.0) ** b).sum(), b).numpy()).all()
    assert tape.grad((0.0**b).sum(), b).tolist() == [0, 0, 0, 0]


def test_a_power_of_zero_takes_no_gradient_whatever_comes_back():
    x = tape.tensor([-2.0, 0.0, 3.0], requires_grad=True)
    b = tape.tensor([0.0, 0.0, 0.0], requires_grad=True)
    for y in (x**0, x**0.0, x**b):
        assert tape.grad(y, x, g=np.full(3, np.nan, "f")).tolist() == [0, 0, 0]
    # The same at second order, where the slope in b, log(x), is NaN below 0.
    db = tape.grad((x**b).sum(), b, create_graph=True)
    found = tape.grad(db.sum(), x).numpy()[[0, 2]]
    np.testing.assert_allclose(found, [-1 / 2, 1 / 3], rtol=1e-6)


def test_first_second_and_third_derivatives():
    x = tape.tensor(np.array([0.5, -1.5]), requires_grad=True)
    y, want = (x**4).sum(), [4 * x.numpy() ** 3, 12 * x.numpy() ** 2, 24 * x.numpy()]
    for expected in want:
        (y,) = tape.grad(y, [x], create_graph=True)
        np.testing.assert_allclose(y, expected)
        y = y.sum()


def test_backward_with_create_graph_keeps_the_graph_and_records():
    x = tape.tensor(np.array([2.0]), requires_grad=True)
    y = (x * x * x).sum()
    y.backward(create_graph=True)
    g = x.grad
    assert g.requires_grad
    x.zero_grad()
    g.sum().backward()
    assert x.grad.tolist() == [12]
    x.zero_grad()
    y.backward()
    assert x.grad.tolist() == [12]


def test_nested_gradients_are_not_confused():
    def f(x):
        return x * tape.grad(lambda y: x + y)(tape.tensor(1.0))

    assert tape.grad(f)(tape.tensor(1.0)).item() == 1.0
    inner = tape.grad(lambda y: (y * y * y).sum())

    def g(x):
        return (inner(x) * x).sum()

    assert tape.grad(g)(tape.tensor([2.0])).tolist() == [36.0]
    assert tape.grad(tape.grad(lambda x: x**3))(tape.tensor(2.0)).item() == 12.0


def test_backward_inside_of_a_forward_and_inside_of_a_rule():
    @tape.op(shape=shapes.same, saves="x")
    def inner(x, /):
        z = tape.tensor(np.array(x), requires_grad=True)
        with tape.enable_grad():
            (z * z).sum().backward()
        return np.array(z.grad)

    @inner.defvjp
    def inner_vjp(g, x):
        z = x.detach().requires_grad_()
        with tape.enable_grad():
            loss = (z * z).sum()
        return g * (tape.grad(loss, z) * 0.0 + 2.0)

    x = tape.tensor([3.0], requires_grad=True)
    inner(x).sum().backward()
    assert x.grad.tolist() == [2]


F = {
    "a vector": lambda x: tape.tanh(x) * x.sum(),
    "a number": lambda x: (tape.sin(x) * x).sum(),
    "broadcast": lambda x: x + np.ones((2, 1)) * tape.exp(x),
    "a constant": lambda x: tape.tensor(np.ones(2)),
    "itself": lambda x: x,
}


@pytest.mark.parametrize("name", sorted(F))
def test_both_modes_of_the_jacobian_agree_with_differences(name):
    f, x = F[name], np.array([0.3, -0.7, 1.1])
    reverse, forward = (tape.jacobian(f, tape.tensor(x), mode=m) for m in ("reverse", "forward"))
    np.testing.assert_allclose(reverse, forward, atol=1e-12)
    for i, unit in enumerate(np.eye(3)):
        up, down = (np.array(f(tape.tensor(x + s * 1e-6 * unit))) for s in (1, -1))
        np.testing.assert_allclose(reverse.numpy()[..., i], (up - down) / 2e-6, atol=1e-7)
    v = tape.tensor(np.array([1.0, 2.0, -1.0]))
    y, dy = tape.jvp(f, [tape.tensor(x)], [v])
    np.testing.assert_allclose(dy, reverse.numpy() @ v.numpy(), atol=1e-12)
    y, pull = tape.vjp(f, tape.tensor(x))
    g = np.full(y.shape, 0.5)
    found = pull(g)[0]
    np.testing.assert_allclose(found, np.tensordot(g, reverse.numpy(), axes=y.ndim), atol=1e-12)


def test_hessian_and_its_products_agree():
    def f(x):
        return (tape.exp(x) * x[0] + tape.sin(x * x)).sum()

    x, v = tape.tensor(np.array([0.4, -0.2, 0.9])), tape.tensor(np.array([1.0, -2.0, 0.5]))
    h = tape.hessian(f, x).numpy()
    np.testing.assert_allclose(h, h.T, atol=1e-12)
    np.testing.assert_allclose(tape.hvp(f, x, v), h @ v.numpy(), atol=1e-12)
    forward_over_reverse = tape.jvp(tape.grad(f), [x], [v])[1]
    np.testing.assert_allclose(forward_over_reverse, h @ v.numpy(), atol=1e-12)
    reverse_over_forward = tape.grad(lambda z: tape.jvp(f, [z], [v])[1])(x)
    np.testing.assert_allclose(reverse_over_forward, h @ v.numpy(), atol=1e-12)


def test_functional_forms_see_outer_variables():
    w = tape.tensor(np.array([1.0, 2.0, 3.0]), requires_grad=True)
    _, slope = tape.value_and_grad(lambda x: (x * x * w).sum())(tape.tensor(np.ones(3)))
    assert slope.requires_grad
    slope.sum().backward()
    assert w.grad.tolist() == [2, 2, 2]
    with tape.no_grad():
        value, slope = tape.value_and_grad(lambda x: (x * w).sum())(tape.tensor(np.ones(3)))
    assert not slope.requires_grad
    assert not value.requires_grad


def test_jvp_of_an_operand_that_stands_still_needs_only_its_shape():
    x, dx = tape.tensor([1.0, 2.0, 3.0]), tape.tensor([1.0, 0.0, 0.0])
    wide = np.ones((2, 3), "float32")
    for f in (lambda a: a + wide, lambda a: wide - a, lambda a: a * wide, lambda a: a / wide):
        y, dy = tape.jvp(f, [x], [dx])
        assert dy.shape == y.shape == (2, 3)
    mask = np.array([True, False, True])
    assert tape.jvp(lambda a: tape.where(mask, a, wide), [x], [dx])[1].shape == (2, 3)
    assert tape.jvp(lambda a: tape.stack([a, wide[0]]), [x], [dx])[1].tolist()[1] == [0, 0, 0]
    y, dy = tape.jvp(lambda a: a ** np.full(3, 2.0, "f"), [-x], [dx])
    assert dy.tolist() == [-2, 0, 0]
