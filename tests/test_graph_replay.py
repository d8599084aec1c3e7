"""A clone gives what the program would give, or raises: never other numbers."""

import copy
import gc
import math
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tape
from tape import nn

rng = np.random.default_rng(0)
W = nn.Parameter(rng.standard_normal((3, 3)))
BUFFER = tape.tensor(rng.standard_normal((4, 3)))
DENSE = nn.Dense(3, 3, activation=tape.tanh, dtype="float64")


def changed_row(h):
    h = h * 1.0
    h[0] = 2.0
    return h


def written_buffer(h):
    buffer = tape.zeros((4, 3), dtype="float64")
    buffer[0] = h[1]
    return buffer * 2.0


def written_quietly(h):
    with tape.no_grad():
        buffer = tape.zeros((4, 3), dtype="float64")
        buffer[0] = h[1]
    return h + buffer


def written_where_computed(h):
    buffer = tape.zeros((4, 3), dtype="float64")
    buffer[h[:, 0].argmax()] = 1.0
    return buffer + h


def masked(h):
    h = h + 0.0
    h[h > 0] = 1.0
    return h


def grown(h):
    h = h * 1.0
    h += h
    h *= 2.0
    return h


def halved_until_small(h):
    n = 0
    while abs(h).sum() > 3.0 and n < 10:
        h, n = h * 0.5, n + 1
    return h


def left_early(h):
    for _ in range(3):
        if h.sum() < 0:
            return h
        h = h - 0.3
    return h


def caught(h):
    try:
        if h.min() < -1:
            raise ValueError
        return h * 2.0
    except ValueError:
        return h * 3.0


def unpacked(h):
    first, *_ = h
    return first * 2.0


def under_no_grad(h):
    with tape.no_grad():
        k = tape.tanh(h * 2.0)
    return h * k


def without_reuse(h):
    with tape.no_grad(), tape.reuse(False):
        k = tape.tanh(h * 2.0) + 1.0
    return h + k


def read_under_no_grad(h):
    with tape.no_grad():
        k = tape.tanh(h).sum()
    return h * float(k)


def branch_under_no_grad(h):
    with tape.no_grad():
        k = 2.0 if h.sum() > 0 else 3.0
    return h * k


def own_gradient(h):
    x = h.detach().requires_grad_()
    return h - 0.1 * tape.grad((x * x * x).sum(), x)


def own_backward(h):
    x = h.detach().requires_grad_()
    (x * x * x).sum().backward()
    return h - 0.1 * x.grad


def branch_at_the_end(h):
    t = h * 1.0
    return t * 2.0 if float(t.sum()) > 0 else t


def branch_on_an_array(h):
    t = h * 1.0
    return t * 2.0 if t.numpy().sum() > 0 else t


def branch_on_a_size(h):
    t = h * 1.0
    if len(t) > 4:
        t = t * 2.0
    return t


def counted(h):
    for _ in range(abs(int(h.sum()))):
        h = h + 1.0
    return h


def array_changed(h):
    a = np.array(h)
    a[0] = 0
    return tape.tensor(a) + h


def summed_rows(h):
    parts = tape.unstack(h)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def caught_from_an_op(h):
    try:
        return h @ tape.linalg.cholesky(h.T @ h - 0.5 * tape.eye(3, dtype="float64"))
    except tape.TapeError:
        return h * 3.0


STEPS = [
    *(changed_row, written_buffer, written_quietly, written_where_computed, masked, grown),
    *(
        halved_until_small,
        left_early,
        caught,
        caught_from_an_op,
        unpacked,
        under_no_grad,
        without_reuse,
    ),
    *(read_under_no_grad, branch_under_no_grad, own_gradient, own_backward, branch_at_the_end),
    *(branch_on_an_array, branch_on_a_size, counted, array_changed, summed_rows, DENSE),
    lambda h: h[int(h.sum(axis=1).argmax())] * 2.0,
    lambda h: h[h.sum(axis=1).argmax()] * 2.0,
    lambda h: h * [2.0, 3.0][(h.sum() > 0).astype("int64")],
    lambda h: h * {True: 2.0, False: 3.0}[(h.sum() > 0).item()],
    lambda h: sum(i * row for i, row in enumerate(h)),
    lambda h: h * 2.0 if 0.0 in h else h * 3.0,
    lambda h: h * float(f"{h.sum():.3f}"),
    lambda h: h * float(len(repr(h))),
    lambda h: h * h.tolist()[0][0],
    lambda h: h * float(h.numpy()[0, 0]),
    lambda h: h * np.asarray(h)[0, 0],
    lambda h: h * np.array(h),
    lambda h: np.exp(h) + 1.0,
    lambda h: np.ones(3) + h,
    lambda h: tape.tensor(np.concatenate([h, h])),
    lambda h: h * tape.from_dlpack(np.from_dlpack(h.detach())).sum(),
    lambda h: h * float(memoryview(h.detach())[0, 0]),
    lambda h: h * tape.tensor(h.detach()),
    lambda h: h * tape.tensor([h.detach()[0, 0].item(), 1.0, 2.0]),
    lambda h: h * copy.copy(h.detach()),
    lambda h: h * copy.deepcopy(h.detach()),
    lambda h: h * h.detach().requires_grad_(),
    lambda h: h * tape.stop_gradient(h),
    lambda h: h * h.detach()[0, 0],
    lambda h: abs(h) ** h.detach()[0, 0],
    lambda h: h + tape.grad(lambda t: (t * t).sum())(h),
    lambda h: tape.jvp(lambda t: t * t, (h,), (h,))[1] + h,
    lambda h: tape.checkpoint(lambda t: tape.exp(t) @ W, h),
    lambda h: h[tape.argsort(h[:, 0])],
    lambda h: tape.take_along_axis(h, h.argmax(axis=1, keepdims=True), axis=1),
    lambda h: h[h[:, 0] > 0],
    lambda h: tape.unique_values(tape.round(h)) * 2.0,
    lambda h: h - tape.quantile(h, 0.3),
    lambda h: tape.cumulative_max(h, axis=0),
    lambda h: h + tape.full((3,), h.detach().sum()),
    lambda h: tape.repeat(h, (h[:, 0] > 0).astype("int64") + 1, axis=0),
    lambda h: h + tape.arange(len(h), dtype="float64")[:, None],
    lambda h: h / math.sqrt(h.shape[0]),
    lambda h: h.sum() / h.size,
    lambda h: h.sum() / np.shape(h)[0],
    lambda h: h * 2.0 if h.shape[0] > 4 else h * 3.0,
    lambda h: h * len(list(h)),
    lambda h: h @ h.T,
    lambda h: tape.stack(list(tape.unstack(h))[::-1]),
    lambda h: h - tape.var(h, axis=0),
    lambda h: tape.pad(h, ((1, 1), (0, 0))),
    lambda h: tape.fft.irfft(tape.fft.rfft(h, axis=0), n=4, axis=0),
    lambda h: tape.broadcast_to(h[:1], (4, 3)) * 2.0,
    lambda h: h.reshape((-1,)),
    lambda h: h.reshape((3, -1)),
    lambda h: h.T.reshape((-1, 2)).sum(axis=1),
    lambda h: h @ W if W.sum() > 0 else h,
    lambda h: h + BUFFER,
    lambda h: max(h[0, 0].item(), 0.0) * h,
    lambda h: tape.stack(sorted(h, key=lambda row: row.sum().item())),
    lambda h: h / tape.linalg.vector_norm(h),
]


def compared(program, x, zs):
    """Clone what the program makes of x, and compare both for each z; how often neither raised."""
    try:
        y = program(x)
        f = tape.clone_function(x, y)
    except tape.TapeError:
        return 0
    n = 0
    for z in zs:
        try:
            found = f(z)
        except tape.TapeError:
            continue
        try:
            expected = program(z)
        except tape.TapeError:
            continue
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found.numpy(), expected.numpy())
        n += 1
    return n


def drawn(seed, rows):
    """Numbers of several sizes and signs."""
    draw = np.random.default_rng(seed)
    for i, n in enumerate(rows):
        numbers = draw.standard_normal((n, 3)) * (0.1, 1, 3)[i % 3] + (-1, 0, 1)[i % 3 - 1]
        yield tape.tensor(numbers)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("named", [True, False])
def test_one_step_gives_what_the_program_gives_or_raises(step, named):
    for grad in (False, True):
        for rows in (4, 1):
            x = tape.tensor(rng.standard_normal((rows, 3)), requires_grad=grad)
            x = x.named("x") if named else x
            compared(step, x, drawn(rows, [rows, 4, 1, 2, 5, rows, 6, 8, rows]))


@pytest.mark.parametrize(("named", "least"), [(True, 40), (False, 30)])
def test_what_can_be_replayed_is_not_refused(named, least):
    n_replayed = 0
    for step in STEPS:
        x = tape.tensor(rng.standard_normal((4, 3)), requires_grad=True)
        n_replayed += compared(step, x.named("x") if named else x, drawn(4, [4, 4])) > 0
    assert n_replayed >= least


@given(
    st.lists(st.sampled_from(STEPS), min_size=2, max_size=4),
    st.tuples(st.booleans(), st.booleans()),
    st.sampled_from([4, 1, 3]),
    st.integers(0, 2**16),
)
def test_steps_one_after_the_other_give_what_the_program_gives_or_raise(steps, how, rows, seed):
    def program(h):
        try:
            for step in steps:
                h = step(h)
        except (IndexError, TypeError, ValueError, tape.TapeError) as error:
            raise tape.TapeError("no program") from error
        return h

    x, *zs = drawn(seed, [rows, rows, 4, 1, 5, rows])
    x = tape.tensor(x.numpy(), requires_grad=how[0])
    compared(program, x.named("x") if how[1] else x, zs)


def test_a_name_that_comes_late_does_not_hide_what_was_computed_before():
    x = tape.tensor([1.0, 2.0])
    a = (x * 2.0) + 1.0
    y = x.named("x") * a
    with pytest.raises(tape.GraphError, match="may depend on an input"):
        tape.clone_function(x, y)


def test_traces_that_meet_share_what_was_read():
    c, x = tape.tensor([2.0]).named("c"), tape.tensor([1.0]).named("x")
    y = x * 2.0 if (c * x).sum() > 0 else x * 3.0
    f = tape.clone_function([x, c], [y, c * 1.0])
    with pytest.raises(tape.GuardError, match="a branch"):
        f([-1.0], [2.0])


def test_a_clone_of_a_clone_keeps_its_guards():
    x = tape.tensor([1.0]).named("x")
    f = tape.clone_function(x, x * 2.0 if x.sum() > 0 else x * 3.0)
    z = tape.tensor([2.0]).named("z")
    g = tape.clone_function(z, f(z))
    assert g([3.0]).tolist() == [6.0]
    with pytest.raises(tape.GuardError, match="a branch"):
        g([-1.0])


def test_a_read_on_another_thread_is_noted():
    x, made = tape.tensor([1.0], requires_grad=True), []

    def program():
        h = x * 2.0
        made.append(h * float(h.sum()))

    thread = threading.Thread(target=program)
    thread.start()
    thread.join()
    with pytest.raises(tape.GraphError, match="a value was read"):
        tape.clone_function(x, made[0])


def test_another_dtype_or_number_of_axes_is_refused():
    x = tape.ones((2, 3)).named("x")
    f = tape.clone_function(x, x * 2.0)
    with pytest.raises(tape.GuardError, match="input 0 is float64, recorded was 'x' float32"):
        f(np.ones((2, 3)))
    with pytest.raises(tape.GuardError, match="has 1 axes"):
        f(tape.ones(3))


def test_sizes_that_the_program_asked_for_are_named():
    x = tape.ones((2, 3)).named("x")
    y = x / x.shape[0]
    with pytest.raises(tape.GuardError, match=r"asked for sizes at .*test_graph_replay.py"):
        tape.clone_function(x, y)(tape.ones((5, 3)))


def test_a_named_constant_that_lives_long_does_not_grow():
    gc.collect()
    c, w = tape.tensor([1.0]).named("c"), nn.Parameter([2.0])
    before = None
    for i in range(300):
        x = tape.tensor([3.0]).named("x")
        float((x * c * w).sum())
        before = tape.live_nodes() if i == 10 else before
    assert tape.live_nodes() == before


def test_what_was_forgotten_is_refused_and_nothing_of_it_is_held():
    x = tape.tensor([1.0]).named("x")
    h = x
    for _ in range(140_000):
        h = h * 1.0
    assert h.sum() > 0
    assert (h + 1.0).sum() > 0
    with pytest.raises(tape.GraphError, match="than is remembered"):
        tape.clone_function(x, h)


@pytest.mark.parametrize("branching", [False, True])
def test_long_chains_take_linear_time(branching):
    n = 5_000 if branching else 100_000
    x = tape.tensor([1.0, 2.0], requires_grad=True).named("x")
    h = x
    for _ in range(n):
        h = h * 1.0
        if branching and h.sum() < 0:
            break
    start = time.perf_counter()
    f = tape.clone_function(x, h)
    assert f(x).tolist() == [1.0, 2.0]
    assert time.perf_counter() - start < 20
