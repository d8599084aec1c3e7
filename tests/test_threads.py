"""Threads have tapes of their own and may share tensors; chains need no deep stack; fork works."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import tape
from tape import shapes
from tape.errors import GradError

pytestmark = pytest.mark.usefixtures("nothing_left")

N_THREADS = 8


def in_threads(work, n=N_THREADS):
    """What work(i) returned in each of n threads that ran side by side."""
    results, gate = [None] * n, threading.Barrier(n)

    def run(i):
        gate.wait()
        try:
            results[i] = work(i)
        except BaseException as error:
            results[i] = f"{type(error).__name__}: {error}"

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(interval)
    return results


def elsewhere(work):
    """Run work() to its end in another thread."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def train(seed, n_steps=60):
    """The weights of a small network after some steps."""
    rng = np.random.default_rng(seed)
    w, v = (tape.nn.Parameter(rng.standard_normal(s).astype("float32")) for s in ((3, 5), (5, 2)))
    x = tape.tensor(rng.standard_normal((4, 3)).astype("float32"))
    optimizer = tape.optim.Adam([w, v], lr=0.05)
    for _ in range(n_steps):
        w.zero_grad()
        v.zero_grad()
        (tape.tanh(x @ w) @ v).var().backward()
        optimizer.step()
    return w.tolist(), v.tolist()


def test_threads_train_as_if_they_were_alone():
    assert in_threads(train) == [train(i) for i in range(N_THREADS)]


def test_each_thread_reuses_what_it_made_itself():
    x = tape.tensor([1.0, 2.0], requires_grad=True)

    def work(_):
        with tape.Tape() as t:
            kept = [tape.exp(x * float(i % 10)) for i in range(100)]
            same = len({y.serial for y in kept})
        return t.evaluations, t.hits, same

    assert in_threads(work) == [(20, 180, 10)] * N_THREADS


def test_threads_that_leave_one_tape_go_back_to_their_own():
    shared = tape.Tape()
    inside, go_on = threading.Event(), threading.Event()
    counts = []

    def first():
        with tape.Tape() as own:
            with shared:
                inside.set()
                go_on.wait()
            tape.exp(tape.tensor(1.0))
        counts.append(own.evaluations)

    thread = threading.Thread(target=first)
    with tape.Tape() as own:
        thread.start()
        inside.wait()
        with shared:  # entered later, left earlier and later
            go_on.set()
            thread.join()
        tape.exp(tape.tensor(2.0))
        tape.exp(tape.tensor(3.0))
    assert counts == [1]
    assert own.evaluations == 2
    assert shared.evaluations == 0


def test_gradients_of_all_threads_add_up_in_a_shared_leaf():
    w = tape.tensor(np.ones((3, 3)), requires_grad=True)

    def work(i):
        for _ in range(50):
            (tape.exp(w * 0.0) * w * float(i)).sum().backward()

    assert in_threads(work) == [None] * N_THREADS
    assert w.grad.tolist() == np.full((3, 3), 50.0 * sum(range(N_THREADS))).tolist()


def test_a_shared_tensor_may_be_assigned_while_others_compute_with_it():
    ones = np.ones((60, 60))
    w = tape.tensor(ones, requires_grad=True)
    done = threading.Event()

    def work(i):
        if i == 0:
            while not done.wait(0):
                with tape.no_grad():
                    w.assign(ones)
            return None
        try:
            for _ in range(100):
                y = tape.exp((w @ w) * 0.0) * w
                y.sum().backward()
                with tape.no_grad(), tape.reuse(False):
                    z = w @ w
                if y.tolist() != ones.tolist() or np.unique(z.numpy()).tolist() != [60.0]:
                    return "wrong values"
        finally:
            done.set()
        return None

    assert in_threads(work, 4) == [None] * 4


@pytest.mark.parametrize("recording", [True, False])
def test_an_operand_assigned_while_its_op_runs_keeps_the_value_it_had(recording):
    x = tape.tensor([1.0, 2.0], requires_grad=True)
    w = tape.tensor([3.0, 4.0], requires_grad=True)
    shared = [w]

    def assign():
        with tape.no_grad():
            shared[0].assign(np.array([7.0, 7.0], "float32"))

    @tape.op(shape=shapes.broadcast, saves="x w")
    def scaled(x, w, /):
        elsewhere(assign)
        return x * w

    @scaled.defvjp
    def scaled_vjp(g, x, w):
        return g * w, g * x

    with tape.no_grad() if not recording else tape.enable_grad():
        y = scaled(x, w)
        assert y.tolist() == [3.0, 8.0]
        assert w.tolist() == [7.0, 7.0]
    if recording:
        y.sum().backward()
        assert x.grad.tolist() == [3.0, 4.0]
        assert w.grad.tolist() == [1.0, 2.0]
    shared.clear()  # the op, and what it can see, waits for the cycle collector


def with_a_pause(pause):
    """An op like multiplication; `pause` runs before the rule of its first operand."""

    @tape.op(shape=shapes.broadcast, saves="x w")
    def paused(x, w, /):
        return x * w

    @paused.defvjp("x")
    def paused_vjp_x(g, w):
        pause()
        return g * w

    @paused.defvjp("w")
    def paused_vjp_w(g, x):
        return g * x

    return paused


def test_a_graph_used_up_by_another_thread_in_the_middle_is_a_clear_error():
    used, errors, losses = [], [], []

    def use_up():
        if not used:
            used.append(True)
            elsewhere(losses[0].backward)

    paused = with_a_pause(use_up)
    x = tape.tensor([1.0, 2.0], requires_grad=True)
    w = tape.tensor([3.0, 4.0], requires_grad=True)
    losses.append(paused(paused(tape.exp(x * 0.0) * x, w), w).sum())
    try:
        losses[0].backward()
    except GradError as error:
        errors.append(str(error))
    assert len(errors) == 1
    assert "freed by an earlier backward" in errors[0]
    assert w.grad.tolist() == [6.0, 16.0]
    assert x.grad.tolist() == [9.0, 16.0]
    losses.clear()


def test_threads_may_ask_one_loss_for_gradients_at_the_same_time():
    nested, got, losses, leaves = [], [], [], []

    def grads(targets):
        got.append((targets, [g.tolist() for g in tape.grad(losses[0], targets)]))

    def ask():
        if not nested:
            nested.append(True)
            elsewhere(lambda: grads(leaves))

    paused = with_a_pause(ask)
    x = tape.tensor([1.0, 2.0], requires_grad=True)
    w = tape.tensor([3.0, 4.0], requires_grad=True)
    leaves += [x, w]
    losses.append(paused(paused(x, w), w).sum())
    for targets in ([w], [x], [w], leaves):
        nested.clear()
        grads(targets)
    assert len(got) > 4
    for targets, values in got:
        assert values == [[9.0, 16.0] if t is x else [6.0, 16.0] for t in targets]
    for held in (losses, got, leaves):
        held.clear()  # the op, and what it can see, waits for the cycle collector


def test_one_backward_of_many_at_once_counts_and_the_others_are_told():
    for _ in range(20):
        x = tape.tensor(np.ones((2, 2)), requires_grad=True)
        paused = with_a_pause(lambda: os.sched_yield())
        h = x
        for _ in range(5):
            h = paused(h, x)
        loss = h.sum()
        outcomes = in_threads(lambda _, loss=loss: loss.backward(), 4)
        n = outcomes.count(None)
        assert n >= 1
        assert all(e is None or "freed by an earlier" in e for e in outcomes)
        assert x.grad.tolist() == np.full((2, 2), 6.0 * n).tolist()


def test_what_a_thread_made_outlives_it_and_can_be_freed_elsewhere():
    x = tape.tensor(np.ones(3), requires_grad=True)
    made = []

    def work():
        made.append(tape.exp(x))
        made.append((made[0] * x).sum())

    elsewhere(work)
    made[1].backward()
    np.testing.assert_allclose(x.grad, 2 * np.e)
    assert (made[0].detach() + 1.0).tolist() == (np.exp(np.ones(3)) + 1).tolist()
    made.clear()


DEEP = """
import threading, tape
x = tape.tensor(1.0, requires_grad=True)
before = tape.live_nodes()

def work():
    y = x
    for _ in range({n}):
        y = y * 1.0 + 0.0
    {derive}
    y = g = None
    done.append(True)

done = []
threading.stack_size(256 * 1024)
thread = threading.Thread(target=work)
thread.start()
thread.join()
x.grad = None
assert done and tape.live_nodes() == before, tape.live_nodes() - before
"""


@pytest.mark.parametrize(
    ("n", "derive"),
    [
        (500_000, "y.backward()"),
        (200_000, "(g,) = tape.grad(y, [x])"),
        (30_000, "g = tape.grad(y * y, [x], create_graph=True)[0]; tape.grad(g, [x])"),
        (30_000, "(y * y).backward(create_graph=True)"),
        (100_000, "y = tape.exp(y) + y; y.detach()"),
    ],
    ids=["backward", "grad", "second order", "gradients with a graph", "only freed"],
)
def test_a_long_chain_needs_no_deep_stack(n, derive):
    subprocess.run([sys.executable, "-c", DEEP.format(n=n, derive=derive)], check=True, timeout=60)


FORK = """
import os, sys, threading, warnings, numpy as np, tape
warnings.simplefilter("ignore")
x = tape.tensor(np.ones((3, 3)), requires_grad=True)
w = tape.nn.Parameter(np.ones((3, 3)))
loss = (tape.exp(x @ w) * 0.5).sum()
optimizer = tape.optim.SGD([w], lr=0.1, momentum=0.9)
stop = threading.Event()

def busy():
    while not stop.is_set():
        (tape.exp(x) @ w).sum().backward()

def child():
    pid = os.fork()
    if pid == 0:
        try:
            x.grad = w.grad = None
            assert tape.is_recording() == recording
            with tape.enable_grad():
                loss.backward()
                (tape.exp(x @ w) * 0.5).sum().backward()
            assert x.grad.tolist() == w.grad.tolist()
            np.testing.assert_allclose(x.grad, 3 * np.exp(3))
            optimizer.step()
            os._exit(0)
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)
    results.append(os.waitpid(pid, 0)[1])

results, recording = [], True
thread = threading.Thread(target=busy)
thread.start()
child()
with tape.no_grad(), tape.Tape(), tape.reuse(False):
    recording = False
    child()
    recording = True
    other = threading.Thread(target=child)
    other.start()
    other.join()
stop.set()
thread.join()
loss.backward()
assert results == [0, 0, 0], results
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_goes_on_where_its_parent_stood():
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=60)
