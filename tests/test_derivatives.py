"""Derivatives of functions and of derivatives: higher orders, both modes, nested."""

from typing import NamedTuple

import numpy as np
import pytest

import tape
from tape import shapes
from tape.errors import DTypeError, GradError, ShapeError

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


# -- what the functional forms take and refuse --------------------------------------------------


class Pair(NamedTuple):
    a: object
    b: object


def vector(*numbers):
    return tape.tensor(list(numbers))


def test_the_gradient_of_a_function_tells_what_it_does_not_depend_on():
    def cut(a):
        return (a * 2).detach().sum()

    for of in (tape.grad(cut), tape.value_and_grad(cut)):
        with pytest.raises(GradError, match=r"grad: the result does not depend on argument 0 \(2,"):
            of(vector(1.0, 2.0))
    assert tape.grad(cut, unused="zeros")(vector(1.0, 2.0)).tolist() == [0, 0]
    assert tape.value_and_grad(cut, unused="zeros")(vector(1.0))[1].tolist() == [0]
    first = tape.grad(lambda a, b: a.sum(), (0, 1), unused="zeros")
    assert [g.tolist() for g in first(vector(1.0), vector(2.0))] == [[1], [0]]
    with pytest.raises(GradError, match=r"argument 1 \(1,\)"):
        tape.grad(lambda a, b: a.sum(), (0, 1))(vector(1.0), vector(2.0))


@pytest.mark.parametrize("whole", [tape.argsort, lambda x: x > 0.0, lambda x: x.astype("int32")])
def test_functions_that_give_integers_or_bools_have_no_derivative(whole):
    x = vector(1.0, 2.0)
    calls = {
        "vjp": lambda: tape.vjp(whole, x),
        "jacobian": lambda: tape.jacobian(whole, x),
        "value_and_grad": lambda: tape.value_and_grad(lambda x: whole(x).sum())(x),
        "hessian": lambda: tape.hessian(lambda x: whole(x).sum(), x),
        "hvp": lambda: tape.hvp(lambda x: whole(x).sum(), x, x),
    }
    for who, call in calls.items():
        message = rf"{who}: the function's result \S+ holds (bool|int\d\d) numbers, which have no"
        with pytest.raises(tape.GradError, match=message):
            call()
    with pytest.raises(tape.GradError, match="jacobian: the function's result"):
        tape.jacobian(whole, x, mode="forward")
    assert not tape.jvp(whole, x, x)[1].numpy().any()
    (_, order), pull = tape.vjp(lambda x: (x * 2.0, tape.argsort(x)), x)
    assert pull((vector(1.0, 1.0), tape.zeros(2, dtype=order.dtype)))[0].tolist() == [2, 2]


def test_second_derivatives_of_what_does_not_depend_on_x_are_zeros():
    assert tape.hessian(lambda x: x.sum(), vector(1.0, 2.0)).tolist() == [[0, 0], [0, 0]]
    assert tape.hvp(lambda x: x.detach().sum(), vector(1.0), vector(1.0)).tolist() == [0]


def test_a_jacobian_is_that_of_one_result():
    for mode in ("reverse", "forward"):
        for wrong in (lambda x: (x, x * 2), lambda x: [x], lambda x: x.numpy()):
            with pytest.raises(TypeError, match="jacobian: the function must return one tensor"):
                tape.jacobian(wrong, vector(1.0, 2.0), mode=mode)
            with pytest.raises(TypeError, match="jacobian: the function must return one tensor"):
                tape.jacobian(wrong, tape.zeros(0), mode=mode)


def test_jvp_takes_a_single_primal_as_it_is():
    for x, dx in ((vector(3.0), vector(1.0)), (np.full(1, 3.0), np.ones(1)), (3.0, 1.0)):
        y, dy = tape.jvp(lambda a: a * a, x, dx)
        assert (y.item(), dy.item()) == (9, 6)
    with pytest.raises(ShapeError, match="jvp: primals: 2, but tangents: 1"):
        tape.jvp(lambda a, b: a * b, (1.0, 2.0), (1.0,))


def test_named_tuples_stay_what_they_are():
    x, y = (tape.tensor([n], requires_grad=True) for n in (2.0, 3.0))
    found = tape.grad((x * y).sum(), Pair(x, y))
    assert (type(found), found.a.tolist(), found.b.tolist()) == (Pair, [3], [2])
    y, dy = tape.jvp(lambda a: Pair(a, a * 2), vector(1.0), vector(1.0))
    assert (type(y), type(dy), dy.b.tolist()) == (Pair, Pair, [2])
    y, pull = tape.vjp(lambda a: Pair(a, a * 2), vector(1.0))
    assert (type(y), pull(Pair(vector(1.0), vector(1.0)))[0].tolist()) == (Pair, [3])


REFUSED = [
    (lambda f, y: tape.grad(y), TypeError, "grad: xs is missing, not a tensor, or a list"),
    (lambda f, y: tape.grad(y, 3), TypeError, "grad: xs is a int, not a tensor, or a list"),
    (lambda f, y: tape.grad(3.0, y), TypeError, "grad: y is a float, not a tensor or a function"),
    (lambda f, y: tape.grad(f, unused="nonsense"), ValueError, 'unused is "raise" or "zeros"'),
    (lambda f, y: tape.grad(f, g=1.0), TypeError, "grad: a function takes no g"),
    (lambda f, y: tape.grad(f, create_graph=True), TypeError, "grad: a function takes no .*graph"),
    (lambda f, y: tape.grad(f, y), TypeError, "grad: a function's arguments are chosen by number"),
    (lambda f, y: tape.grad(f, 1)(y), TypeError, "grad: there is no argument 1, only 1 are given"),
    (lambda f, y: tape.value_and_grad(f, "x"), TypeError, "value_and_grad: a function's arguments"),
    (lambda f, y: tape.value_and_grad(f)(), TypeError, "no argument 0, only 0 are given"),
    (
        lambda f, y: tape.vjp(lambda a: (a, a), y)[1](y),
        ShapeError,
        "vjp: results: 2, but cotangents: 1",
    ),
    (
        lambda f, y: tape.vjp(lambda a: (a, a), y)[1]((y, y, y)),
        *(ShapeError, "vjp: results: 2, but cotangents: 3"),
    ),
    (lambda f, y: tape.vjp(lambda a: 3, y), TypeError, "vjp: the function must return tensors"),
    (lambda f, y: tape.grad(f, (0, -1))(y), ValueError, "grad: arguments .* name one twice"),
    (lambda f, y: tape.grad(f)(3), DTypeError, r"grad: argument 0 \(\) holds int64 numbers"),
    (
        lambda f, y: tape.grad(lambda a, b: (a * b).sum(), 1)(y, [1, 2]),
        *(DTypeError, r"grad: argument 1 \(2,\) holds int64 numbers, which have no gradient"),
    ),
    (lambda f, y: tape.jvp(f, [1], 1.0), DTypeError, "jvp: argument 0 .* holds int64 numbers"),
    (lambda f, y: tape.hessian(lambda a: (a > 1).any(), y), GradError, "hessian: .* holds bool"),
    (
        lambda f, y: tape.jacobian(tape.argmax, y, mode="forward"),
        *(GradError, r"jacobian: the function's result \(\) holds int64 numbers, which have no"),
    ),
]


@pytest.mark.parametrize(("call", "error", "match"), REFUSED)
def test_slips_with_derivatives_are_told_in_words(call, error, match):
    with pytest.raises(error, match=match):
        call(lambda x: (x * x).sum(), tape.tensor([2.0], requires_grad=True) * 1.0)


def test_arguments_given_by_name_are_handed_on():
    def power(x, k=1):
        return (x**k).sum()

    assert tape.grad(power)([3.0], k=2).tolist() == [6.0]
    assert [part.tolist() for part in tape.value_and_grad(power)([3.0], k=2)] == [9.0, [6.0]]


def test_the_map_of_vjp_records_nothing_under_no_grad():
    w = tape.tensor([2.0], requires_grad=True)
    _, pull = tape.vjp(lambda x: x * x * w, [3.0])
    assert pull([1.0])[0].requires_grad
    with tape.no_grad():
        assert not pull(w)[0].requires_grad
