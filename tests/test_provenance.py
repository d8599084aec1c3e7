"""Errors say where the call stands, in which module, and where the operands were made."""

import copy
import gc
import inspect
import os
import pickle
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

import tape
from tape import nn, shapes
from tape._core.provenance import set_provenance
from tape.errors import GradError, NumericsError, ShapeError, TapeError

HERE = __file__


def line_of(text):
    """The number of the line of this file that holds the text, where it stands first."""
    with open(HERE) as file:
        return next(n for n, line in enumerate(file, 1) if text in line)


def error_of(call):
    with pytest.raises(TapeError) as caught:
        call()
    return caught.value


def test_an_error_names_op_shapes_line_and_where_the_operands_were_made():
    a = tape.relu(tape.ones((2, 16)))  # made a
    w = tape.tensor(np.zeros((15, 4)))  # made w
    error = error_of(lambda: a @ w)  # the call
    assert (error.op, error.shapes, error.module) == ("matmul", ((2, 16), (15, 4)), "")
    assert error.created_at == f"{HERE}:{line_of('# the call')}"
    first, called, left, right = str(error).splitlines()
    assert first.startswith("matmul: ")
    assert f"called at    {error.created_at}   error = error_of(lambda: a @ w)" in called
    made = f"(2, 16) float32, made by relu at {HERE}:{line_of('# made a')}"
    assert left.endswith(made)
    assert right.endswith(f"(15, 4) float64, made by tensor at {HERE}:{line_of('# made w')}")


def test_an_error_in_a_module_names_its_path_and_the_users_line_not_tapes():
    net = nn.Sequential(nn.Dense(4, 16), nn.BatchNorm1d(4), nn.Dense(3, 5))
    error = error_of(lambda: net(tape.ones((2, 16))))  # the user's call
    assert error.module == "Sequential.2"
    assert str(error).splitlines()[0].endswith(", in Sequential.2")
    assert error.created_at == f"{HERE}:{line_of('the user' + chr(39) + 's call')}"
    assert "made by batch_norm" in str(error) or "made by " in str(error)
    assert "/tape/nn/" not in str(error)


class Net(nn.Module):
    def __init__(self):
        self.first = nn.Dense(4, 4)

    def forward(self, x):
        h = self.first(x)
        return h @ tape.ones((3, 3))  # in forward


def test_an_error_is_copied_and_pickled_without_the_modules():
    net = nn.Sequential(nn.Dense(4), nn.Dense(5))
    net(tape.ones((2, 3)))
    with pytest.raises(tape.ShapeError) as caught:
        net(tape.ones((2, 7)))
    for again in (
        pickle.loads(pickle.dumps(caught.value)),
        copy.copy(caught.value),
        copy.deepcopy(caught.value),
    ):
        assert type(again) is tape.ShapeError
        assert str(again) == str(caught.value)
        assert again.module == "Sequential.0"
        assert (again.op, again.shapes) == ("linear", caught.value.shapes)
        assert again.modules == []


def test_a_line_of_the_users_own_module_is_the_users_line():
    error = error_of(lambda: Net()(tape.ones((2, 4))))
    assert error.created_at == f"{HERE}:{line_of('# in forward')}"
    assert error.module == "Net"


def test_functions_that_are_no_ops_say_the_line_too():
    error = error_of(
        lambda: tape.conv2d(tape.ones((1, 1, 4, 4)), tape.ones((1, 1, 2, 2)), stride=1.5)
    )
    assert error.created_at.startswith(f"{HERE}:")


def test_an_error_in_a_gradient_names_the_op_that_was_differentiated_and_its_line():
    @tape.op(shape=shapes.same)
    def odd(x, /):
        return x * 2

    odd.defvjp(lambda g: g[:1] @ tape.ones((3, 3)))
    x = tape.tensor([1.0, 2.0], requires_grad=True)
    y = odd(x)  # odd is called
    error = error_of(y.sum().backward)
    assert (error.op, error.gradient_of) == ("matmul", "odd")
    assert f"gradient of  odd (2,), called at {HERE}:{line_of('# odd is called')}" in str(error)
    error = error_of(lambda: tape.jvp(odd, x, x))
    assert error.gradient_of == "odd"


def test_nothing_of_a_frame_is_kept_alive():
    def maker():
        big = Net()
        local = weakref.ref(big)
        return tape.exp(tape.ones(3)), local

    gc.disable()
    try:
        y, local = maker()
        assert local() is None
        error = error_of(lambda: y @ tape.ones((2, 2)))
        assert "made by exp" in str(error)
        before = tape.live_nodes()
        for _ in range(3):
            error_of(lambda: tape.ones(3) @ tape.ones((2, 2)))
        assert tape.live_nodes() == before
    finally:
        gc.enable()
    code = inspect.currentframe().f_code
    kept = sys.getrefcount(code)
    many = [tape.exp(tape.tensor([float(k)])) for k in range(100)]
    del many
    assert sys.getrefcount(code) <= kept + 1


def test_generators_lambdas_and_threads_have_their_own_lines():
    def steps():
        yield tape.ones(3) * 2.0  # in a generator

    (y,) = steps()
    assert str(line_of("# in a generator")) in str(error_of(lambda: y @ tape.ones((2, 2))))
    found = []

    def work():
        found.append(error_of(lambda: tape.ones(3) + tape.ones(2)))  # in a thread

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0].created_at == f"{HERE}:{line_of('# in a thread')}"


PROGRAM = """
import tape
a = tape.exp(tape.ones((2, 3)))
try:
    a @ a
except tape.ShapeError as error:
    print(repr(str(error)), repr(error.created_at), error.op, error.shapes)
"""


@pytest.mark.parametrize("setting", ["0", "1"])
def test_the_environment_switches_it_off(setting, tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    env = {**os.environ, "TAPE_PROVENANCE": setting}
    found = subprocess.run(
        [sys.executable, path], env=env, check=True, capture_output=True, text=True
    )
    assert ("program.py:5" in found.stdout) == (setting == "1")
    assert ("made by exp" in found.stdout) == (setting == "1")
    assert "matmul ((2, 3), (2, 3))" in found.stdout


def test_it_can_be_switched_while_running():
    assert set_provenance(False) is True
    try:
        error = error_of(lambda: tape.ones(2) + tape.ones(3))
        assert (error.created_at, error.op, error.shapes) == ("", "add", ((2,), (3,)))
        assert len(str(error).splitlines()) == 1
    finally:
        assert set_provenance(True) is False


def test_reuse_keeps_the_place_of_the_first_call():
    x = tape.ones((2, 3))
    y = tape.exp(x)  # first call
    z = tape.exp(x)
    assert y.serial == z.serial
    assert f"exp at {HERE}:{line_of('# first call')}" in str(error_of(lambda: z @ x))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions take no notes")
def test_an_error_of_a_users_op_that_is_not_tapes_gets_a_note():
    @tape.op(shape=shapes.same)
    def odd(x, /):
        raise KeyError("whatever")

    @tape.op(shape=shapes.same)
    def worse(x, /):
        return x * 2

    @worse.defvjp
    def worse_vjp(g):
        raise ZeroDivisionError

    net = nn.Sequential(nn.Lambda(odd))
    with pytest.raises(KeyError) as caught:
        net(tape.ones((2, 3)))  # odd in a network
    place = f"called at {HERE}:{line_of('# odd in a network')}"
    assert caught.value.__notes__ == [f"in op odd of (2, 3), in Sequential.0, {place}"]
    y = worse(tape.ones(2).requires_grad_())  # worse is called
    with pytest.raises(ZeroDivisionError) as caught:
        y.sum().backward()
    place = f"called at {HERE}:{line_of('# worse is called')}"
    assert caught.value.__notes__ == [f"in the gradient of worse (2,), {place}"]


# -- check_numerics -------------------------------------------------------------------------------


def test_the_first_op_that_makes_nan_or_infinity_is_named_with_count_and_place():
    x = tape.tensor([[1.0, 0.0], [4.0, -1.0]])
    with tape.check_numerics():
        error = error_of(lambda: tape.sum(tape.log(x) * 2.0))  # makes nan
    assert type(error) is NumericsError
    assert isinstance(error, FloatingPointError)
    assert (error.op, error.shapes) == ("log", ((2, 2),))
    assert "log: 2 of 4 numbers are not finite, the first is -inf at (0, 1)" in str(error)
    assert error.created_at == f"{HERE}:{line_of('# makes nan')}"
    tape.log(x)


def test_what_is_given_nan_or_infinity_may_hand_it_on():
    x = tape.tensor([1.0, float("inf"), float("nan")])
    with tape.check_numerics():
        tape.exp(x * 2.0) + 1.0
        tape.ones(3) * float("inf")
        tape.clip(tape.ones(3), 0.0, float("inf"))
        tape.where(x > 0.0, x, -float("inf"))
        (tape.ones(3) > 0.5).astype("float32")


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_gradient_names_the_op_its_line_and_its_module(create_graph):
    class Root(nn.Module):
        def forward(self, x):
            return tape.sqrt(x)  # the root

    net = nn.Sequential(nn.Lambda(tape.exp), nn.Sequential(nn.Lambda(lambda x: x - 1.0), Root()))
    x = tape.tensor([1.0, 0.0], requires_grad=True)
    with tape.check_numerics():
        y = net(x).sum()
        for derive in (y.backward, lambda: tape.grad(y, x, create_graph=create_graph)):
            error = error_of(derive)
            assert "sqrt: of the gradient for x 1 of 2 numbers is not finite" in str(error)
            place = f"called at {HERE}:{line_of('# the root')}, in Sequential.1.1"
            assert f"gradient of  sqrt (2,), {place}" in str(error)
        assert x.grad is None
    y.backward()
    assert np.isinf(x.grad.numpy()).any()


def test_infinities_inside_of_a_rule_may_come_and_go():
    @tape.op(shape=shapes.same, saves="x")
    def halves(x, /):
        return np.sqrt(np.maximum(x, 0))

    halves.defvjp(lambda g, x: tape.where(x > 0.0, g / (2.0 * tape.sqrt(x)), 0.0))
    x = tape.tensor([0.0, 4.0], requires_grad=True)
    with tape.check_numerics():
        assert tape.grad(halves(x).sum(), x).tolist() == [0, 0.25]


def test_a_second_derivative_and_a_tangent_are_looked_at():
    x = tape.tensor([0.0], requires_grad=True)
    with tape.check_numerics():
        dx = tape.grad((x**1.5).sum(), x, create_graph=True)
        assert dx.tolist() == [0]
        with pytest.raises(NumericsError, match="power"):
            tape.grad(dx.sum(), x)
        with pytest.raises(
            NumericsError, match="sqrt: of its tangent 1 of 1 numbers is not finite"
        ):
            tape.jvp(tape.sqrt, x, tape.ones(1))


def test_it_is_local_to_the_block_and_the_thread_and_ends_with_an_error():
    x = tape.tensor([0.0])
    with pytest.raises(NumericsError), tape.check_numerics():
        tape.log(x)
    assert tape.log(x).tolist() == [-float("inf")]
    scope = tape.check_numerics()
    with scope, scope:
        pass
    with tape.check_numerics():
        found = []
        thread = threading.Thread(target=lambda: found.append(tape.log(x).tolist()))
        thread.start()
        thread.join()
        assert found == [[-float("inf")]]
        with tape.no_grad(), tape.reuse(False), pytest.raises(NumericsError):
            tape.log(x)


def test_a_network_that_overflows_names_the_layer():
    net = nn.Sequential(nn.Dense(4, 3), nn.Lambda(lambda x: tape.exp(x * 1e4)), nn.Dense(2, 4))
    with tape.check_numerics():
        error = error_of(lambda: net(tape.ones((2, 3))))
    assert error.op == "exp"
    assert error.module == "Sequential.1"


# -- rules that give what they must not -----------------------------------------------------------


@pytest.mark.parametrize(
    ("vjp", "words"),
    [
        (
            lambda g: g[:1],
            r"odd: its vjp gave operand 0 a cotangent \(1, 3\), the operand is \(2, 3",
        ),
        (lambda g: g.reshape((6,)), r"odd: its vjp gave operand 0 a cotangent \(6,\)"),
        (
            lambda g: g > 0.0,
            "odd: its vjp gave operand 0 a cotangent of bool, the operand is float",
        ),
        (lambda g: g.astype("int64"), "odd: its vjp gave operand 0 a cotangent of int64"),
        (lambda g: g.numpy(), "odd: its vjp must return tensors, got a ndarray"),
        (lambda g: (g, g), "odd: its vjp must return 1 cotangents, one an operand, got 2"),
        (lambda g: (), "odd: its vjp must return 1 cotangents, one an operand, got 0"),
    ],
)
def test_a_vjp_that_gives_nonsense_is_named(vjp, words):
    odd = tape.op(name="odd", shape=shapes.same)(lambda x, /: x * 2)
    odd.defvjp(vjp)
    x = tape.tensor(np.ones((2, 3)), requires_grad=True)
    for derive in (lambda y: y.backward(), lambda y: tape.grad(y, x, create_graph=True)):
        with pytest.raises(GradError, match=words):
            derive(odd(x).sum())
        assert x.grad is None


@pytest.mark.parametrize(
    ("jvp", "words"),
    [
        (lambda dx: dx[:1], r"odd: its jvp gave a tangent \(1, 3\), the result is \(2, 3\)"),
        (lambda dx: dx > 0.0, "odd: its jvp gave a tangent of bool, the result is float64"),
        (lambda dx: 3.0, "odd: its jvp must return a tensor, got a float"),
        (lambda dx: (dx,), "odd: its jvp must return a tensor, got a tuple"),
    ],
)
def test_a_jvp_that_gives_nonsense_is_named(jvp, words):
    odd = tape.op(name="odd", shape=shapes.same)(lambda x, /: x * 2)
    odd.defjvp(jvp)
    with pytest.raises(GradError, match=words):
        tape.jvp(odd, np.ones((2, 3)), np.ones((2, 3)))


def test_two_operands_need_two_cotangents():
    odd = tape.op(name="odd", shape=shapes.broadcast)(lambda a, b, /: a + b)
    odd.defvjp(lambda g: (g,))
    x = tape.ones(3).requires_grad_()
    with pytest.raises(GradError, match="must return 2 cotangents, one an operand, got 1"):
        odd(x, x).sum().backward()


def test_integers_and_what_is_made_of_comparisons_have_no_gradient_and_say_so():
    x = tape.tensor([1.0, 2.0], requires_grad=True)
    n = tape.tensor([1, 2])
    for make in (
        n.requires_grad_,
        lambda: tape.tensor([1, 2], requires_grad=True),
        lambda: tape.Tensor(np.array([1, 2]), requires_grad=True),
        lambda: tape.zeros_like(n, requires_grad=True),
        lambda: nn.Parameter(np.array([1, 2])),
        lambda: setattr(n, "requires_grad", True),
    ):
        with pytest.raises(tape.DTypeError, match="only for floating point, this one is int64"):
            make()
    with pytest.raises(
        GradError, match=r"grad: this tensor \(\) holds int64 numbers, which have no"
    ):
        tape.grad((x > 0.0).sum(), x)
    with pytest.raises(GradError, match=r"backward: this tensor \(2,\) holds bool numbers"):
        (x > 0.0).backward()
    with pytest.raises(GradError, match="depends on nothing that requires"):
        tape.grad((x > 0.0).astype("float32").sum(), x)
    with pytest.raises(GradError, match=r"xs\[0\] \(2,\) does not require a gradient"):
        tape.grad(x.sum(), n)


def test_shape_errors_are_still_value_errors():
    assert isinstance(error_of(lambda: tape.ones(2) + tape.ones(3)), (ShapeError, ValueError))


def test_check_numerics_sees_what_becomes_of_a_cotangent_on_its_way():
    x = tape.tensor([0.0], requires_grad=True)
    with tape.check_numerics():
        broadcast = (x * tape.full((4,), 2e38)).sum()  # four times 2e38
        with pytest.raises(NumericsError, match="multiply: of the gradient for a 1 of 1 numbers"):
            broadcast.backward()
        wide = (x.astype("float64") * 1e300).sum()
        with pytest.raises(NumericsError, match="astype: of the gradient for x 1 of 1 numbers"):
            wide.backward()
        twice = (x * 3e38 + x * 2.9e38).sum()
        with pytest.raises(NumericsError, match="added up over its uses, 1 of 1 numbers is not"):
            twice.backward()
    assert x.grad is None
