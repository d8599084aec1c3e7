"""Memory: a training loop's stays flat, a long chain's comes back, and no cycle is ever made."""

import contextlib
import gc
import sys
import tracemalloc
import weakref

import numpy as np
import pytest

import tape

pytestmark = pytest.mark.usefixtures("nothing_left")


def traced(work, *args):
    """Bytes that work leaves behind."""
    tracemalloc.start()
    try:
        work(*args)  # once for what is made only the first time
        before = tracemalloc.get_traced_memory()[0]
        work(*args)
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def network():
    rng = np.random.default_rng(0)
    model = tape.nn.Sequential(
        tape.nn.Dense(8, activation=tape.tanh), tape.nn.Dropout(0.1), tape.nn.Dense(3)
    )
    x = rng.standard_normal((64, 16, 4)).astype("float32")
    labels = rng.integers(3, size=(64, 16))
    model(tape.tensor(x[0]))
    return model, x, labels


def test_a_training_loop_is_flat_over_ten_thousand_steps():
    model, x, labels = network()
    optimizer = tape.optim.Adam(model.parameters(), lr=1e-3)

    def steps(n):
        for i in range(n):
            loss = tape.cross_entropy(model(tape.tensor(x[i % 64])), labels[i % 64])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    steps(500)
    nodes, blocks = tape.live_nodes(), sys.getallocatedblocks()
    steps(10_000)
    assert tape.live_nodes() == nodes
    assert abs(sys.getallocatedblocks() - blocks) < 50
    assert traced(steps, 300) < 2000


@pytest.mark.parametrize("order", ["grad", "create_graph", "accumulate", "no_grad"])
def test_other_loops_are_flat_too(order):
    model, x, labels = network()
    model.eval()
    ws = list(model.parameters())

    def steps(n):
        for i in range(n):
            loss = tape.cross_entropy(model(tape.tensor(x[i % 64])), labels[i % 64])
            if order == "grad":
                for w in ws:
                    tape.grad(loss, [w])
            elif order == "create_graph":
                gs = tape.grad(loss, ws, create_graph=True)
                loss = loss + sum((g * g).sum() for g in gs)
                loss.backward()
            elif order == "accumulate":
                loss.backward()
            else:
                with tape.no_grad():
                    for w in ws:
                        w *= 0.999
                        w[0] = 0.5

    steps(600)  # fills the stacks of arrays that wait to be used again
    nodes, blocks = tape.live_nodes(), sys.getallocatedblocks()
    steps(500)
    assert tape.live_nodes() == nodes
    assert abs(sys.getallocatedblocks() - blocks) < 50
    assert traced(steps, 100) < 2000


def test_a_long_computation_without_a_graph_does_not_grow():
    x = tape.tensor(np.ones(50, "float32"))
    hold = [x]

    def steps(n):
        for _ in range(n):
            hold[0] = hold[0] * 1.0 + 0.0

    steps(100)
    nodes = tape.live_nodes()
    assert traced(steps, 20_000) < 1000
    assert tape.live_nodes() == nodes


def test_a_million_ops_are_recorded_differentiated_and_freed():
    x = tape.tensor(1.0, requires_grad=True)
    before = tape.live_nodes()

    def run(n):
        y = x
        for _ in range(n // 2):
            y = y * 1.0 + 0.0
        assert tape.live_nodes() >= before + n
        y.backward()
        assert x.grad.item() == 1.0
        x.grad = y = None
        assert tape.live_nodes() == before

    run(1_000_000)
    assert traced(run, 20_000) < 1000


def test_nothing_that_is_held_together_holds_itself():
    """Everything at once, with the cycle collector off: all of it dies at its last `del`."""
    before = tape.live_nodes()
    w = tape.nn.Parameter(np.ones((3, 3), "float32"))
    x = tape.tensor(np.ones((3, 3), "float32"), requires_grad=True)
    refs = [weakref.ref(w), weakref.ref(x)]
    with tape.Tape() as t, tape.reuse():
        loss = (tape.exp(x @ w) * w).sum()
        (g,) = tape.grad(loss, [w], create_graph=True)
        (g * g).sum().backward(create_graph=True)
        w.grad, x.grad = w.grad * w, x.grad * x * w  # gradients made of their own leaves
        tape.grad(loss, [x])
        tape.grad(loss, [w], g=loss * 1.0)
        refs += [weakref.ref(loss), weakref.ref(g), weakref.ref(w.grad)]
        with tape.no_grad():
            w -= 0.1
            w[0] = x[0]
        loss.name = "loss"
        loss.grad = g.sum().reshape(loss.shape)
        hits = t.hits
    del w, x, loss, g, t
    assert hits >= 0
    assert [r() for r in refs] == [None] * 5
    assert tape.live_nodes() == before


def test_an_exception_in_the_middle_leaves_nothing():
    before = tape.live_nodes()
    x = tape.tensor(np.ones((2, 3)), requires_grad=True)
    for _ in range(3):
        with contextlib.suppress(tape.errors.ShapeError):
            tape.exp(x * 2.0) @ x
        with contextlib.suppress(tape.errors.ShapeError):
            tape.exp(x * 2.0).backward()
    del x
    assert tape.live_nodes() == before


def test_a_weak_reference_whose_callback_differentiates_is_survived():
    for make in (
        lambda: tape.tensor([1.0, 2.0], requires_grad=True),
        lambda: tape.nn.Parameter(np.ones(2, "float32")),
    ):
        called, w = [], make()
        other = tape.tensor([1.0, 1.0], requires_grad=True)
        loss = (w * w * other).sum()

        def callback(_, loss=loss, called=called):
            loss.backward()
            called.append(True)

        ref = weakref.ref(w, callback)
        del w
        assert called
        assert ref() is None
        assert other.grad is not None
        del loss, callback, ref, other
    gc.collect()


def test_a_tensor_that_takes_its_value_from_borrowed_memory_keeps_value_and_gradient():
    a = np.array([1.0, 2.0], "float32")
    w = tape.tensor([0.0, 0.0], requires_grad=True)
    with tape.no_grad():
        w._become(tape.asarray(a), "test")
    a[:] = 9.0
    assert w.tolist() == [1.0, 2.0]
    (w * w).sum().backward()
    assert w.grad.tolist() == [2.0, 4.0]
