"""`checkpoint` and `stop_gradient`: the same gradients, bit by bit, from less memory."""

from typing import NamedTuple

import numpy as np
import pytest

import tape
from tape import nn, shapes
from tape.errors import GradError, NumericsError

pytestmark = pytest.mark.usefixtures("nothing_left")


def leaf(*shape, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    return tape.tensor(rng.standard_normal(shape), dtype=dtype, requires_grad=True)


def same_bits(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def network():
    tape.random.seed(1)
    return nn.Sequential(
        *(nn.Dense(8, 4, activation=tape.tanh), nn.Dropout(0.5), nn.BatchNorm1d(8)),
        *(nn.Dense(8), nn.Dropout(0.25, rng=np.random.default_rng(7)), nn.Dense(3)),
    )


def trained(checkpointed, steps=3):
    """Parameters, buffers and gradients after a few steps of a network with noise."""
    net = network()
    x = tape.tensor(np.random.default_rng(0).standard_normal((6, 4)), requires_grad=True)
    optimizer = None
    for _ in range(steps):
        y = tape.checkpoint(net, x) if checkpointed else net(x)
        optimizer = optimizer or tape.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        net.zero_grad()
        (y * y).sum().backward()
        optimizer.step()
    state = net.state_dict()
    return [*state.values(), x.grad, *[p.grad for p in net.parameters()], tape.random.uniform(3)]


def test_training_with_dropout_and_running_statistics_is_the_same_bit_by_bit():
    same_bits(trained(False), trained(True))


class Pair(NamedTuple):
    a: object
    b: object


@pytest.mark.parametrize("create_graph", [False, True])
def test_any_form_of_arguments_and_results(create_graph):
    w = leaf(3, seed=3)

    def f(pair, scale, *, others, flag):
        assert flag
        a, n = tape.exp(pair.a) * w, others["n"]
        return Pair(a * scale, [pair.b.sum(), n, {"c": (a * pair.b).astype("float32")}, "text"])

    def slopes(run):
        x, y, n = leaf(3), leaf(2, 3, seed=1), tape.tensor([1, 2])
        out = run(f, Pair(x, y), 2.0, others={"n": n}, flag=True)
        assert type(out) is Pair
        total, m, inner, text = out.b
        assert (m.tolist(), text, inner["c"].dtype) == ([1, 2], "text", np.float32)
        loss = (out.a * out.a).sum() + total * 3.0 + (inner["c"] * 2.0).sum()
        return [out.a, *tape.grad(loss, [x, y, w], create_graph=create_graph)]

    same_bits(slopes(lambda f, *a, **k: f(*a, **k)), slopes(tape.checkpoint))


def test_second_order_goes_through_it():
    w = leaf(3)

    def f(x):
        return (tape.exp(x * w) * x).sum()

    def hessian_row(run):
        x = leaf(3, seed=1)
        dx, dw = tape.grad(run(f, x), [x, w], create_graph=True)
        return tape.grad((dx * dw).sum(), [x, w])

    same_bits(hessian_row(lambda f, x: f(x)), hessian_row(tape.checkpoint))
    x = leaf(3, seed=1)
    v = tape.ones_like(x).detach()

    def twice(x):
        return tape.checkpoint(f, x)

    same_bits([tape.hessian(f, x)], [tape.hessian(twice, x)])
    same_bits([tape.jvp(f, x, v)[1]], [tape.jvp(twice, x, v)[1]])


def test_checkpoints_may_be_nested_and_called_twice():
    w = leaf(4)
    runs = []

    def inner(x):
        runs.append(1)
        return tape.tanh(x * w)

    def outer(x):
        return tape.checkpoint(inner, tape.checkpoint(inner, x) + x) * w

    x = leaf(4, seed=2)
    same_bits(
        tape.grad(tape.checkpoint(outer, x).sum(), [x, w]),
        tape.grad((tape.tanh((tape.tanh(x * w) + x) * w) * w).sum(), [x, w]),
    )
    assert len(runs) == 2 + 2 + 2
    same_bits(
        tape.grad((tape.checkpoint(inner, x) * tape.checkpoint(inner, x)).sum(), [x, w]),
        tape.grad((tape.tanh(x * w) * tape.tanh(x * w)).sum(), [x, w]),
    )


def test_inner_results_are_forgotten_until_they_are_needed():
    x, live = leaf(1000), []

    def f(x):
        for _ in range(20):
            x = tape.sin(x)
        live.append(tape.live_nodes())
        return x

    before = tape.live_nodes()
    with tape.Tape() as t:
        y = tape.checkpoint(f, x)
        assert tape.live_nodes() - before == 1
        assert t.bytes == y.nbytes
    assert live[0] - before > 20
    z = f(x)
    np.testing.assert_array_equal(y, z)
    peak = tape.live_nodes() - before
    assert peak >= 20
    del z
    np.testing.assert_array_equal(tape.grad(y.sum(), x), tape.grad(f(x).sum(), x))
    assert len(live) == 4
    del y
    assert tape.live_nodes() == before


def test_a_chain_of_segments_needs_the_memory_of_one():
    import tracemalloc

    def segment(x):
        for _ in range(10):
            x = tape.sin(x)
        return x

    def peak(run):
        x = leaf(50_000)
        tracemalloc.start()
        y = x
        for _ in range(10):
            y = run(segment, y)
        y.sum().backward()
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found / x.nbytes

    assert peak(lambda f, x: f(x)) > 90
    assert peak(tape.checkpoint) < 40


def test_the_second_run_sees_the_values_of_the_first():
    w, b = leaf(3), leaf(3, seed=5)
    x = leaf(3, seed=1)
    y = tape.checkpoint(lambda x: tape.exp(x * w) + b * b, x)
    truth = tape.grad((tape.exp(x * w) + b * b).sum(), [x, w, b])
    with tape.no_grad():
        w.assign([7.0, 7.0, 7.0])
        b -= 1.0
        x += 5.0
    same_bits(tape.grad(y.sum(), [x, w, b]), truth)
    assert w.tolist() == [7, 7, 7]
    y.sum().backward()
    same_bits([x.grad, w.grad, b.grad], truth)


def test_what_a_closure_holds_is_found_even_if_it_was_computed_outside():
    w = leaf(3)
    h = tape.exp(w)
    kept = tape.exp(w) * 1.0
    y = tape.checkpoint(lambda: (h * tape.exp(w) * kept).sum())
    truth = tape.grad((h * tape.exp(w) * kept).sum(), [kept, w])
    for part, whole in zip(tape.grad(y, [kept, w]), truth, strict=True):
        np.testing.assert_allclose(part, whole, rtol=1e-14)  # the sums are in another order


def test_another_result_the_second_time_is_an_error():
    x, w, v = leaf(3), leaf(3, seed=1), leaf(3, seed=2)
    turns = []

    def f(x):
        turns.append(1)
        return x * (w if len(turns) == 1 else v)

    y = tape.checkpoint(f, x)
    with pytest.raises(GradError, match=r"checkpoint: run again .* another tensor \(3,\)"):
        y.sum().backward()
    assert x.grad is None
    y = tape.checkpoint(lambda x: x[: turns.append(1) or 4 - len(turns)] * 2.0, x)
    with pytest.raises(GradError, match=r"checkpoint: results of \[\(\(1,\), .* they are \[\(\(0,"):
        y.sum().backward()


def test_without_anything_to_learn_it_is_a_plain_call():
    x = tape.ones(3)
    assert tape.checkpoint(tape.exp, x) is not None
    assert not tape.checkpoint(lambda x: x * 2.0, x).requires_grad
    with tape.no_grad():
        assert not tape.checkpoint(tape.exp, leaf(3)).requires_grad
    assert tape.checkpoint(lambda: "nothing") == "nothing"


def test_hooks_run_once_on_the_sum_and_inner_ones_in_the_second_run():
    w, x, seen = leaf(3), leaf(3, seed=1), []
    h = tape.exp(x)
    w.register_hook(lambda g: seen.append("w"))
    h.register_hook(lambda g: seen.append("h"))

    def f(h):
        y = h * w
        y.register_hook(lambda g: seen.append("inside") or g * 2.0)
        return y * w + h

    (tape.checkpoint(f, h).sum() + h.sum()).backward()
    assert seen == ["inside", "h", "w"]


def test_check_numerics_looks_into_the_second_run_too():
    x = tape.tensor([1.0, 0.0], requires_grad=True)
    with tape.check_numerics():
        y = tape.checkpoint(lambda x: tape.sqrt(x) * 2.0, x).sum()
        with pytest.raises(NumericsError, match="sqrt: of the gradient for x 1 of 2"):
            y.backward()
    assert x.grad is None


def test_a_failure_in_either_run_changes_nothing():
    w = leaf(3)
    fails = [True]

    @tape.op(shape=shapes.same)
    def doubled(x, /):
        if fails[0]:
            raise MemoryError
        return x * 2

    doubled.defvjp(lambda g: g * 2.0)

    def f(x):
        return doubled(x) * w

    with pytest.raises(MemoryError):
        tape.checkpoint(f, w)
    fails[0] = False
    y = tape.checkpoint(f, w).sum()
    fails[0] = True
    with pytest.raises(MemoryError):
        y.backward()
    assert w.grad is None
    assert tape.is_recording()
    fails[0] = False
    y.backward()
    np.testing.assert_array_equal(w.grad, 4 * w.numpy())


def test_stop_gradient_is_a_leaf_on_the_same_numbers():
    x = leaf(3)
    y = tape.stop_gradient(x * 2.0)
    assert y.is_leaf
    assert not y.requires_grad
    assert tape.stop_gradient([1.0]).tolist() == [1.0]
    np.testing.assert_array_equal(tape.grad((x * tape.stop_gradient(x)).sum(), x), x.numpy())
    assert tape.jvp(lambda x: x * tape.stop_gradient(x), 3.0, 1.0)[1].item() == 3.0


def test_checkpoint_takes_functions_only():
    with pytest.raises(TypeError, match="checkpoint: takes a function, got a Tensor"):
        tape.checkpoint(leaf(2) * 2.0)
