"""A failure in any forward or rule leaves values, gradients and the graph as they were."""

import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import tape
from tape import shapes
from tape.errors import DTypeError, GradError, ShapeError
from tape.testing import LAYOUTS

pytestmark = pytest.mark.usefixtures("nothing_left")


def leaves(*shape, n=1):
    """n leaves that want a gradient, float64."""
    rng = np.random.default_rng(1)
    made = [tape.tensor(rng.standard_normal(shape), requires_grad=True) for _ in range(n)]
    return made if n > 1 else made[0]


class Trap:
    """Raises `error` the k-th time it is touched."""

    def __init__(self):
        self.left, self.error = -1, None

    def set(self, k, error):
        self.left, self.error = k, error

    def touch(self):
        self.left -= 1
        if self.left == 0:
            raise self.error("planted")


def trapped_identity():
    forward, rule = Trap(), Trap()

    @tape.op(shape=shapes.same)
    def through(x, /):
        forward.touch()
        return x * 1

    @through.defvjp
    def through_vjp(g):
        rule.touch()
        return g * 1.0

    return through, forward, rule


ERRORS = [ValueError, KeyboardInterrupt, MemoryError]


def fails(error, call):
    """Whether a call raises just this error; leaves no traceback behind."""
    try:
        call()
    except error:
        return True
    return False


def program(through, xs):
    """A network of about fifty ops on three leaves, with shared and repeated parts."""
    a, b, c = xs
    h = a
    for i in range(6):
        h = through(tape.tanh(through(h @ b) + c)) * (1.0 + 0.1 * i)
        if i % 2:
            h = h + through(a * c)
    return through(h * h).sum() + through(c).sum()


@pytest.mark.parametrize("error", ERRORS)
def test_a_failure_in_any_rule_changes_nothing_and_can_be_retried(error):
    through, _, rule = trapped_identity()
    xs = leaves(3, 3, n=3)
    want = [g.numpy() for g in tape.grad(program(through, xs), xs)]
    for k in itertools.count(1):
        loss = program(through, xs)
        for x in xs:
            x.grad = tape.tensor(np.ones((3, 3)))
        before = [x.grad for x in xs]
        rule.set(k, error)
        if not fails(error, loss.backward):
            break
        assert tape.is_recording()
        assert all(x.grad is b for x, b in zip(xs, before, strict=True))
        assert all(b.tolist() == np.ones((3, 3)).tolist() for b in before)
        rule.set(k, error)
        assert fails(error, lambda loss=loss: tape.grad(loss, xs))
        rule.set(-1, None)
        for g, w in zip(tape.grad(loss, xs), want, strict=True):
            np.testing.assert_array_equal(g, w)
        loss.backward()
        for x, w in zip(xs, want, strict=True):
            np.testing.assert_array_equal(x.grad, w + 1)
    assert k > 10


@pytest.mark.parametrize("error", ERRORS)
def test_a_failure_in_any_forward_changes_nothing_and_can_be_retried(error):
    through, forward, _ = trapped_identity()
    xs = leaves(3, 3, n=3)
    want = [g.numpy() for g in tape.grad(program(through, xs), xs)]
    for k in itertools.count(1):
        before = tape.live_nodes()
        forward.set(k, error)
        with tape.Tape() as t:
            failed = fails(error, lambda: program(through, xs))
            assert t.nodes == []
        assert tape.live_nodes() == before
        if not failed:
            break
        forward.set(-1, None)
        assert tape.is_recording()
        for g, w in zip(tape.grad(program(through, xs), xs), want, strict=True):
            np.testing.assert_array_equal(g, w)
    assert k > 10


def test_a_rule_that_returns_nonsense_is_named():
    x = leaves(2, 3)

    def failing(rule, joint=False):
        @tape.op(shape=shapes.same)
        def odd(x, /):
            return x * 2

        odd.defvjp(rule)
        return odd(x).sum()

    for rule, message in [
        (lambda g: 5.0, "odd: its vjp must return tensors, got a float"),
        (lambda g: g.sum(axis=0).sum(axis=0), r"odd: its vjp gave operand 0 a cotangent \(\)"),
        (lambda g: (g, g), "odd: its vjp must return 1 cotangents, one an operand, got 2"),
    ]:
        with pytest.raises(GradError, match=message):
            failing(rule).backward()
        assert x.grad is None
    with pytest.raises(GradError, match="asks for 'x'; it may name g"):
        failing(lambda g, x: g)


def test_an_op_without_a_vjp_says_so_instead_of_dropping_its_gradient():
    w = leaves(3)

    @tape.op(shape=shapes.same)
    def double(x, /):
        return x * 2

    loss = (w * double(w)).sum()
    with pytest.raises(GradError, match="double has no vjp rule"):
        loss.backward()
    with pytest.raises(GradError, match="double has no vjp rule"):
        tape.grad(loss, w)
    assert w.grad is None
    (tape.where(w, w, 0.0)).sum().backward()  # an op may have none for one operand
    assert w.grad.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("forward", "shape", "error", "message"),
    [
        (lambda x: x[0], shapes.same, ShapeError, r"odd: its shape rule gave \(2, 3\), .* \(3,\)"),
        (lambda x: x * 1, lambda x: "abc", ShapeError, "odd: its shape rule gave 'abc', expected"),
        (lambda x: x.astype("f2"), shapes.same, DTypeError, "odd: dtype float16 is not supported"),
        (lambda x: x + None, shapes.same, TypeError, "unsupported operand"),
        (lambda x: None, shapes.same, DTypeError, "odd: its forward must .* got a NoneType"),
        (lambda x: (x, x), shapes.from_values, DTypeError, "must return one array, got a tuple"),
        (lambda x: "text", shapes.from_values, DTypeError, "must return one array, got a str"),
        (lambda x: [[1], [2, 3]], shapes.same, ShapeError, "odd: .* differ in length or depth"),
        (lambda x: x * 1j, shapes.same, DTypeError, "odd: dtype complex64 is not supported"),
    ],
)
def test_a_forward_that_returns_nonsense_is_named(forward, shape, error, message):
    odd = tape.op(name="odd", shape=shape)(lambda x: forward(x))
    with pytest.raises(error, match=message):
        odd(tape.ones((2, 3)))


def test_a_declaration_that_cannot_be_meant_is_refused():
    for shape in (None, (2, 3)):
        with pytest.raises(TypeError, match="op: shape is a function of shapes, such as"):
            tape.op(shape=shape)
    with pytest.raises(TypeError, match="op: decorates a function, got a int"):
        tape.op(shape=shapes.same)(3)
    for saves in ("nosuch", "y.shape"):
        with pytest.raises(GradError, match=f"odd: saves {saves!r}, but has x, x.shape, y"):
            tape.op(name="odd", shape=shapes.same, saves=saves)(lambda x: x)
    odd = tape.op(name="odd", shape=shapes.same)(lambda x: x)
    for attach in (odd.defvjp, odd.defjvp, odd.defvjp("x")):
        with pytest.raises(TypeError, match="odd: a rule is a function, got a NoneType"):
            attach(None)


def test_a_forward_may_return_an_array_in_any_layout():
    for name in LAYOUTS:
        laid = tape.op(name="laid", shape=shapes.same)(lambda x, /, by: LAYOUTS[by](x))
        y = laid(tape.ones((2, 3)), by=name)
        assert y.dtype.isnative, name
        assert (y * 2.0).tolist() == [[2, 2, 2], [2, 2, 2]], name


def test_a_forward_that_returns_its_operand_does_not_lock_the_users_array():
    same = tape.op(name="same", shape=shapes.same)(lambda x: x)
    a = np.zeros(2)
    y = same(tape.asarray(a))
    a[0] = 5
    assert y.tolist() == [5, 0]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timer here")
def test_interrupts_at_any_moment_leave_gradients_as_before_or_complete():
    w = tape.tensor(np.full(3, 0.5), requires_grad=True)

    def loss():
        h = w
        for _ in range(3000):
            h = tape.tanh(h + w)
        return h.sum()

    def interrupted(seconds):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        loss().backward()
        time.sleep(1)

    want = tape.grad(loss(), w).numpy()
    caught = []
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for i in range(25):
            caught.append(fails(KeyboardInterrupt, lambda i=i: interrupted(1e-4 + 3e-4 * i)))
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert tape.is_recording()
            if w.grad is not None:
                np.testing.assert_array_equal(w.grad, want)
                w.zero_grad()
            np.testing.assert_array_equal(tape.grad(loss(), w), want)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert all(caught)


OUT_OF_MEMORY = """
import resource
import numpy as np
import tape

PIECE = 24 << 20  # bytes of one value, more than arrays have that are kept for the next result
n = int((PIECE / 8) ** 0.5)
w = tape.tensor(np.full((n, n), 0.5), requires_grad=True)
v = tape.tensor(np.full((n, n), 0.1), requires_grad=True)

def step():
    h = tape.tanh(w * v + w) * 2.0
    h = tape.stack([h, h * w]).sum(axis=0)
    (h * h).sum().backward()

def limit(room):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (used + room, hard) if room else (hard, hard))

def starved(room):
    limit(room)
    try:
        step()
    except MemoryError:
        return True
    finally:
        limit(0)
    return False

step()
want = w.grad.numpy(), v.grad.numpy()
w.zero_grad(), v.zero_grad()
failures = 0
before = tape.live_nodes()
while starved(failures * PIECE // 2 + PIECE // 4):
    failures += 1
    assert w.grad is None and v.grad is None
    assert tape.live_nodes() == before
    assert tape.is_recording()
assert all(np.array_equal(x.grad, g) for x, g in zip((w, v), want))
print(failures)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_running_out_of_memory_anywhere_leaves_everything_as_before():
    # Malloc must return a large block when it is freed: what it keeps, the limit does not see.
    environ = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY], capture_output=True, text=True, env=environ
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 10
