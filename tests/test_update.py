"""Optimizer updates (tape._kernels.update) against the formulas in plain NumPy."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from isas import ISAS
from layouts import dtypes, generators, laid_out

import tape
from tape._kernels import table
from tape._kernels.update import adam, rmsprop, scale, sgd, sum_squares

# Empty, 0-d, around the vectors of the machine, and enough to release the GIL.
SHAPES = [(), (0,), (1,), (3, 5), (4, 0, 2), (33,), (2, 3, 4), (511,)]
shapes = st.lists(st.sampled_from(SHAPES), max_size=4)
decays = st.sampled_from([0.0, 0.1])
flags = st.booleans()
LR, EPS = 0.03, 1e-6


def some(rng, shapes, dtype):
    return [rng.normal(size=s).astype(dtype) for s in shapes]


def zeros(arrays):
    return [np.zeros_like(a) for a in arrays]


def widened(arrays):
    """The same numbers in float64, in which the reference computes; None stays None."""
    return None if arrays is None else [np.array(a, np.float64) for a in arrays]


def close(arrays, expected, dtype):
    """Equal to the rounding of a few steps."""
    if arrays is None:
        return True
    tolerance = 40 * float(np.finfo(dtype).eps)
    pairs = zip(arrays, expected, strict=True)
    same = all(a.dtype == dtype and np.allclose(a, e, tolerance, tolerance) for a, e in pairs)
    return same and len(arrays) == len(expected)


def steps_agree(rng, params, states, dtype, update, reference):
    """Three updates in `dtype` and by the reference come to the same; gradients stay."""
    exact, exact_states = widened(params), [widened(state) for state in states]
    for step in range(1, 4):
        grads = some(rng, [p.shape for p in params], dtype)
        kept = copy.deepcopy(grads)
        assert update(step, params, grads, *states) is None
        for i, grad in enumerate(widened(grads)):
            of_param = [None if state is None else state[i] for state in exact_states]
            reference(step, exact[i], grad, *of_param)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(grads, kept, strict=True))
    assert close(params, exact, dtype)
    assert all(close(a, b, dtype) for a, b in zip(states, exact_states, strict=True))


@given(
    *[shapes, dtypes, generators, decays],
    *[st.sampled_from([0.0, 0.9]), st.sampled_from([0.0, 0.25]), flags],
)
def test_sgd_follows_the_formula(shapes, dtype, rng, decay, momentum, dampening, nesterov):
    params = some(rng, shapes, dtype)
    # What is in the moments does not count at the first step.
    moments = [np.full_like(p, np.nan) for p in params] if momentum else None

    def update(step, params, grads, moments):
        return sgd(params, grads, moments, LR, momentum, dampening, nesterov, decay, step == 1)

    def reference(step, p, g, b):
        d = g + decay * p
        if momentum:
            b[...] = d if step == 1 else momentum * b + (1 - dampening) * d
            d = d + momentum * b if nesterov else b
        p -= LR * d

    steps_agree(rng, params, [moments], dtype, update, reference)


@given(
    *[shapes, dtypes, generators, decays, flags, flags],
    *[st.sampled_from([0.9, 0.3, 0.0]), st.sampled_from([0.999, 0.4])],
)
def test_adam_follows_the_formula(shapes, dtype, rng, decay, decoupled, tracks, beta1, beta2):
    params = some(rng, shapes, dtype)
    states = [zeros(params), zeros(params), zeros(params) if tracks else None]

    def update(step, params, grads, m, v, vmax):
        return adam(params, grads, m, v, step, LR, beta1, beta2, EPS, decay, decoupled, vmax)

    def reference(step, p, g, m, v, vmax):
        d = g if decoupled else g + decay * p
        if decoupled:
            p *= 1 - LR * decay
        m[...] = beta1 * m + (1 - beta1) * d
        v[...] = beta2 * v + (1 - beta2) * d**2
        largest = v
        if tracks:
            largest = vmax[...] = np.maximum(vmax, v)
        corrected = np.sqrt(largest / (1 - beta2**step)) + EPS
        p -= LR * m / (1 - beta1**step) / corrected

    steps_agree(rng, params, states, dtype, update, reference)


@given(shapes, dtypes, generators, decays, flags, st.sampled_from([0.0, 0.9]), flags)
def test_rmsprop_follows_the_formula(shapes, dtype, rng, decay, centred, momentum, slow):
    params = some(rng, shapes, dtype)
    alpha = 0.99 if slow else 0.4
    mean = zeros(params) if centred else None
    states = [zeros(params), mean, zeros(params) if momentum else None]

    def update(step, params, grads, *states):
        return rmsprop(params, grads, *states, LR, alpha, EPS, decay, momentum)

    def reference(step, p, g, square, mean, b):
        d = g + decay * p
        square[...] = alpha * square + (1 - alpha) * d**2
        spread = square
        if mean is not None:
            mean[...] = alpha * mean + (1 - alpha) * d
            spread = square - mean**2
        u = d / (np.sqrt(spread) + EPS)
        if momentum:
            b[...] = momentum * b + u
            u = b
        p -= LR * u

    steps_agree(rng, params, states, dtype, update, reference)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_of_any_number_take_the_same_step(dtype):
    rng = np.random.default_rng(5)
    p, g, m, v = some(rng, [(40_000,)] * 4, dtype)
    v = np.abs(v)
    parts = [[np.array_split(a.copy(), 61) for a in (p, g, m, v)] for _ in range(2)]
    adam([p], [g], [m], [v], 7, LR, weight_decay=0.1)
    # In two calls: one with all parts and the GIL released, and one for each part alone.
    adam(*parts[0], 7, LR, weight_decay=0.1)
    for alone in zip(*parts[1], strict=True):
        adam(*[[a] for a in alone], 7, LR, weight_decay=0.1)
    for whole, split, single in zip([p, g, m, v], *parts, strict=True):
        assert whole.tobytes() == np.concatenate(split).tobytes()
        assert whole.tobytes() == np.concatenate(single).tobytes()


def test_dtypes_may_differ_between_parameters():
    params = [np.ones(3, np.float32), np.ones(2, np.float64)]
    sgd(params, [np.ones_like(p) for p in params], None, 0.1)
    assert [p.dtype for p in params] == [np.float32, np.float64]
    np.testing.assert_array_equal(params[0], np.full(3, np.float32(1) - np.float32(0.1)))
    np.testing.assert_array_equal(params[1], np.full(2, 0.9))


def test_without_decay_an_infinite_parameter_does_not_reach_the_moments():
    for at in range(20):  # in the vector body and in the rest
        p, g, *state = np.zeros(20), np.ones(20), *np.zeros((6, 20))
        p[at] = np.inf
        adam([p], [g], [state[0]], [state[1]], 1, LR)
        rmsprop([p], [g], [state[2]], [state[3]], [state[4]], LR, momentum=0.9)
        sgd([p], [g], [state[5]], LR, 0.9)
        for array in state:
            assert np.isfinite(array).all()
            np.testing.assert_array_equal(array, np.full(20, array[0]))
        assert np.isinf(p).sum() == 1


@given(dtypes, generators)
def test_an_average_without_memory_is_exactly_the_gradient(dtype, rng):
    p, g, m, v = some(rng, [(21,)] * 4, dtype)
    adam([p], [g], [m], [np.abs(v)], 1, LR, beta1=0.0)
    assert m.tobytes() == g.tobytes()


def test_nan_stays_where_it_is_and_the_largest_square_remembers_it():
    g = np.ones(9)
    g[4] = np.nan
    p, m, v, vmax = (np.zeros(9) for _ in range(4))
    adam([p], [g], [m], [v], 1, LR, vmax=[vmax])
    for array in (p, m, v, vmax):
        np.testing.assert_array_equal(np.isnan(array), np.isnan(g))


def test_momentum_of_zero_leaves_the_moments_alone():
    p, g, b = np.ones(3), np.ones(3), np.full(3, 7.0)
    sgd([p], [g], [b], 0.5, 0.0, nesterov=True)
    rmsprop([p], [g], [np.zeros(3)], None, [b], 0.5, momentum=0.0)
    np.testing.assert_array_equal(b, np.full(3, 7.0))


# Norms


@given(shapes, dtypes, generators)
def test_sum_of_squares_is_taken_in_float64(shapes, dtype, rng):
    arrays = some(rng, shapes, dtype)
    expected = sum((a.astype(np.longdouble) ** 2).sum() for a in arrays)
    found = sum_squares(arrays)
    assert type(found) is float
    assert found == pytest.approx(float(expected), rel=1e-13)


def test_sum_of_squares_of_large_numbers_does_not_overflow():
    assert sum_squares([np.full(70_000, 1e30, np.float32)]) == pytest.approx(7e64, rel=1e-6)
    assert sum_squares([np.full(3, -np.inf)]) == np.inf
    assert np.isnan(sum_squares([np.ones(3), np.full((), np.nan)]))
    assert sum_squares([]) == 0.0


@given(shapes, dtypes, generators, st.sampled_from([0.5, 0.0, -1.1, np.inf]))
def test_scale_multiplies_every_number_in_place(shapes, dtype, rng, factor):
    arrays = some(rng, shapes, dtype)
    with np.errstate(all="ignore"):
        expected = [a * dtype(factor) for a in arrays]
    assert scale(arrays, factor) is None
    for a, e in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(a, e)


def test_sum_of_squares_reads_read_only_arrays():
    assert sum_squares([laid_out(np.arange(4.0), "read-only")]) == 14.0


# Bad calls


def arrays_of(n, dtype=np.float64):
    return [np.ones(2 + i, dtype) for i in range(n)]


UPDATES = {
    "sgd": lambda p, g, state: sgd(p, g, state, 0.1, 0.9),
    "adam": lambda p, g, state: adam(p, g, state, [a * 1 for a in p], 1, 0.1),
    "rmsprop": lambda p, g, state: rmsprop(p, g, state, None, None, 0.1),
}
STATE = {"sgd": "moments", "adam": "m", "rmsprop": "square_avg"}


@pytest.mark.parametrize("op", UPDATES)
@pytest.mark.parametrize("role", [0, 1, 2], ids=["params", "grads", "state"])
@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (lambda a: a.tolist(), TypeError, "is a list, expected a NumPy array"),
        (lambda a: a.astype(int), TypeError, "is int64, "),
        (lambda a: laid_out(a, "strided"), ValueError, "is not C-contiguous, aligned and in nati"),
        (lambda a: laid_out(a, "byte-swapped"), ValueError, "is not C-contiguous, aligned and in"),
        (lambda a: laid_out(a, "misaligned"), ValueError, "is not C-contiguous, aligned and in n"),
        (lambda a: laid_out(a, "read-only"), ValueError, "is read-only"),
        (lambda a: a[:-1], ValueError, "has shape (3,), its parameter (4,)"),
        (lambda a: a.astype(np.float32), TypeError, "is float32, its parameter float64"),
    ],
)
def test_nothing_is_written_if_the_last_array_is_bad(op, role, spoil, kind, message):
    lists = [arrays_of(3) for _ in range(3)]
    lists[role][2] = spoil(lists[role][2])
    if role == 1 and message == "is read-only":
        UPDATES[op](*lists)  # gradients are only read
        return
    name = ["params", "grads", STATE[op]][role]
    if role == 0 and "its parameter" in message:
        # A parameter is what the others are held against.
        name = "grads"
        if kind is ValueError:
            message = "has shape (4,), its parameter (3,)"
        else:
            message = "is float64, its parameter float32"
    before = copy.deepcopy(lists)
    with pytest.raises(kind) as error:
        UPDATES[op](*lists)
    assert str(error.value).startswith(f"{op}: {name}[2] {message}")
    for old, new in zip(before, lists, strict=True):
        for a, b in zip(old, new, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("op", UPDATES)
def test_arrays_that_share_memory_are_refused(op):
    memory = np.ones(8)
    params, other = [np.ones(3), memory[:5]], [np.ones(3), memory[3:]]
    free = [np.ones(3), np.ones(5)]
    message = "{}: {}[1] shares memory with its parameter or its state"
    for lists, name in [
        ((params, other, free), "grads"),
        ((params, free, other), STATE[op]),
        ((free, params, other), STATE[op]),
    ]:
        with pytest.raises(ValueError) as error:  # noqa: PT011 (compared whole below)
            UPDATES[op](*lists)
        assert str(error.value) == message.format(op, name)
    assert (memory == 1).all()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: sgd(arrays_of(2), arrays_of(1), None, 0.1),
            ValueError,
            "sgd: 2 params, but 1 grads",
        ),
        (
            lambda: adam(arrays_of(1), arrays_of(1), arrays_of(1), [], 1, 0.1),
            ValueError,
            "adam: 1 params, but 0 v",
        ),
        (
            lambda: sgd(arrays_of(1), arrays_of(1), None, 0.1, 0.5),
            ValueError,
            "sgd: momentum 0.5 needs moments",
        ),
        (
            lambda: rmsprop(*[arrays_of(1) for _ in range(3)], None, None, 0.1, momentum=0.5),
            ValueError,
            "rmsprop: momentum 0.5 needs moments",
        ),
        (
            lambda: adam(*[arrays_of(1) for _ in range(4)], 0, 0.1),
            ValueError,
            "adam: step is 0.0, expected a number from 1",
        ),
        (
            lambda: scale([np.ones(2), laid_out(np.ones(2), "read-only")], 2.0),
            ValueError,
            "scale: arrays[1] is read-only",
        ),
        (
            lambda: sum_squares([np.ones(2), np.ones((2, 2)).T[1:]]),
            ValueError,
            "sum_squares: arrays[1] is not C-contiguous, aligned and in native byte order",
        ),
        (
            lambda: sum_squares([np.ones(2, complex)]),
            TypeError,
            "sum_squares: arrays[0] is complex128, expected float32 or float64",
        ),
    ],
)
def test_calls_that_cannot_be_meant_are_refused(call, kind, message):
    with pytest.raises(kind) as error:
        call()
    assert str(error.value) == message


def test_lists_may_be_any_iterable():
    p, g = np.ones(2), np.ones(2)
    sgd((a for a in [p]), {"w": g}.values(), None, 0.5)
    np.testing.assert_array_equal(p, [0.5, 0.5])


# Instruction sets and threads


def three_steps(shapes, dtype, **settings):
    """The bytes of all arrays after a step of each kind."""
    rng = np.random.default_rng(3)
    p, g, m, v, w = (some(rng, shapes, dtype) for _ in range(5))
    v, w = [np.abs(a) for a in v], [np.abs(a) for a in w]
    adam(p, g, m, v, 2, LR, vmax=w, **settings)
    sgd(p, g, m, LR, 0.9, 0.1, True, **settings)
    rmsprop(p, g, v, m, w, LR, momentum=0.9, **settings)
    scale(p, 0.3)
    return [a.tobytes() for arrays in (p, m, v, w) for a in arrays]


@pytest.mark.usefixtures("kernels_as_before")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_instruction_sets_and_threads_change_no_bit_of_a_step(dtype, decay):
    shapes = [(1,), (33,), (0,), (70_001,), (7, 9), (300, 201)]
    results = []
    for isa in ISAS:
        table.use(isa)
        for threads in (1, 2, 7):
            tape.set_num_threads(threads)
            results.append(three_steps(shapes, dtype, weight_decay=decay))
    assert all(r == results[0] for r in results)
