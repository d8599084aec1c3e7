"""Small arrays are used again when their last holder is gone, and never a moment earlier."""

import copy
import gc
import weakref

import numpy as np
import pytest

import tape
from tape import shapes

pytestmark = pytest.mark.usefixtures("nothing_left")

SHAPES = [(), (1,), (1, 1), (3, 5), (2, 3, 4), (2, 1, 2, 1, 3), (1024,)]


def churn(shape, dtype="float32", n=300):
    """Let results of one shape live and die: whatever waits to be used again is overwritten."""
    x = tape.tensor(np.full(shape, -7.0, dtype))
    with tape.reuse(False):
        alive = [x - 1.0 for _ in range(n)]
        del alive
        for _ in range(n):
            x * 2.0


def result(shape=(3, 5), dtype="float32"):
    """A fresh result full of 1.5 that nothing else holds."""
    return tape.tensor(np.full(shape, 0.5, dtype)) + 1.0


WAYS_TO_HOLD = {
    "numpy": lambda t: t.numpy(),
    "asarray": np.asarray,
    "part of a view": lambda t: t.numpy()[..., ::-1],
    "base": lambda t: t.numpy().base,
    "memoryview": lambda t: memoryview(t.numpy()),
    "memoryview of the base": lambda t: memoryview(t.numpy().base),
    "buffer": lambda t: np.frombuffer(t.numpy(), t.dtype),
    "view of other type": lambda t: t.numpy().reshape(-1).view(np.uint8).view(t.dtype),
    "iterator": lambda t: t.numpy().flat,
    "array interface": lambda t: np.asarray(
        type("Of", (), {"__array_struct__": t.numpy().__array_struct__})()
    ),
    "ctypes": lambda t: np.ctypeslib.as_array(np.ctypeslib.as_ctypes(t.numpy().copy())),
    "detach": lambda t: t.detach(),
    "deepcopy": copy.deepcopy,
    "transpose": lambda t: t.T,
    "transpose's view": lambda t: t.T.numpy(),
    "reshape": lambda t: t.reshape((-1,)),
    "broadcast": lambda t: tape.broadcast_to(t, (2, *t.shape)),
    "item": lambda t: t[..., :1],
    "asarray of view": lambda t: tape.asarray(t.numpy()),
    "graph": lambda t: (t.detach().requires_grad_() * t).sum,
}


@pytest.mark.parametrize("way", WAYS_TO_HOLD)
def test_what_anybody_can_see_keeps_its_values(way):
    t = result()
    held = WAYS_TO_HOLD[way](t)
    del t
    churn((3, 5))
    seen = np.asarray(held() if callable(held) else held)
    assert np.unique(seen).tolist() in ([1.5], [1.5 * 1.5 * 15])


def test_dlpack_keeps_the_values():
    t = tape.tensor(np.full((3, 5), 1.5, "float32"))
    base = t.numpy().base
    base.flags.writeable = True  # older NumPy exports no read-only memory
    capsule = np.from_dlpack(base)
    del t, base
    churn((3, 5))
    assert np.unique(capsule).tolist() == [1.5]


def test_a_weak_reference_dies_with_the_array_and_does_not_come_back():
    t = result()
    ref = weakref.ref(t.numpy().base)
    assert ref() is not None
    del t
    assert ref() is None
    churn((3, 5))
    assert ref() is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_dead_array_serves_again(shape, dtype):
    with tape.reuse(False):
        x = tape.tensor(np.full(shape, 0.5, dtype))
        t = x + 1.0
        address = t.numpy().ctypes.data
        del t
        t = x + 2.0
    assert t.numpy().ctypes.data == address
    assert t.numpy().shape == shape
    assert t.dtype == dtype
    assert not t.numpy().flags.writeable
    assert np.unique(t.numpy()).tolist() == [2.5]


def test_arrays_of_one_size_and_other_shape_or_dtype_are_not_mixed_up():
    kinds = [
        ((8,), "float32"),
        ((2, 4), "float32"),
        ((4,), "float64"),
        ((2, 2), "float64"),
        ((4, 2), "float32"),
        ((8,), "bool"),
        ((1, 8), "float32"),
        ((8,), "int32"),
    ]
    for i in range(200):
        (shape, dtype), value = kinds[i * 7 % len(kinds)], i % 2
        got = (tape.tensor(np.full(shape, value, dtype)) * tape.ones((), dtype=dtype)).numpy()
        assert (got.shape, got.dtype) == (shape, dtype)
        assert got.tolist() == np.full(shape, value, dtype).tolist()


def test_what_is_attached_to_a_dtype_does_not_travel():
    marked = np.dtype("float32", metadata={"unit": "m"})
    t = tape.tensor(np.zeros(7, marked))
    del t
    assert (tape.ones(7) + 1.0).numpy().dtype.metadata is None


def test_a_result_beyond_all_memory_is_refused():
    long = np.broadcast_to(np.float32(1), (1, 2**60))
    with pytest.raises((MemoryError, ValueError)):
        tape.asarray(long) + tape.zeros((2, 1))


def test_a_result_that_a_user_op_keeps_stays_its_own():
    kept = []

    @tape.op(shape=shapes.same)
    def keeping(x, /):
        kept.append(x + 1)
        return kept[-1]

    y = keeping(tape.tensor(np.full((3, 5), 0.5, "float32")))
    del y
    churn((3, 5))
    assert np.unique(kept[0]).tolist() == [1.5]


def test_an_operand_that_a_user_op_keeps_stays_its_own():
    kept = []

    @tape.op(shape=shapes.same)
    def keeping(x, /):
        kept.append(x)
        return x * 2

    y = keeping(result())
    churn((3, 5))
    assert np.unique(kept[0]).tolist() == [1.5]
    assert np.unique(y.numpy()).tolist() == [3.0]


def test_gradients_cotangents_and_shared_adjoints_keep_their_values():
    rng = np.random.default_rng(0)
    ws = [tape.tensor(rng.standard_normal((4, 4)), requires_grad=True) for _ in range(4)]
    seen = []

    @tape.op(shape=shapes.same)
    def watched(x, /):
        return x * 1.0

    @watched.defvjp
    def watched_vjp(g):
        seen.append((g.numpy(), g.numpy().copy()))
        return g

    x = tape.ones((4, 4), dtype="float64")
    for w in ws:
        x = watched(tape.tanh(x @ w) + w)
    loss = x.sum()
    kept = []
    for w in [*ws, *ws[::-1]]:
        (g,) = tape.grad(loss, [w])
        kept.append((g.numpy(), g.numpy().copy()))
        del g
        churn((4, 4), "float64", 50)
    g = tape.ones((), dtype="float64") * 1.0
    held = g.numpy()
    loss.backward(g)
    del g
    churn((), "float64")
    churn((4, 4), "float64")
    for view, then in kept + seen:
        np.testing.assert_array_equal(view, then)
    assert held == 1.0
    for w, (then, _) in zip(ws, kept, strict=False):
        np.testing.assert_array_equal(w.grad, then)


@pytest.mark.parametrize(
    "make",
    [
        lambda ps: tape.optim.SGD(ps, lr=0.1, momentum=0.9),
        lambda ps: tape.optim.Adam(ps, lr=0.1),
    ],
)
def test_views_of_parameters_and_gradients_survive_steps(make):
    w = tape.nn.Parameter(np.ones((3, 5), "float32"))
    optimizer = make([w])
    kept = []
    for _ in range(6):
        w.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        kept += [(a.numpy(), a.numpy().copy()) for a in (w, w.grad, w.detach(), loss)]
        optimizer.step()
        churn((3, 5), n=30)
        churn((), n=30)
    for view, then in kept:
        np.testing.assert_array_equal(view, then)


def test_a_spent_value_that_is_computed_again_is_not_used_twice():
    x = tape.tensor(np.ones((3, 5), "float32"), requires_grad=True)
    top = tape.exp(x * 2.0 + 1.0)
    churn((3, 5))
    a, b = x * 2.0, x * 2.0 + 1.0
    churn((3, 5))
    va, vb = a.numpy(), b.numpy()
    del a, b
    churn((3, 5))
    assert np.unique(va).tolist() == [2.0]
    assert np.unique(vb).tolist() == [3.0]
    top.sum().backward()
    np.testing.assert_allclose(x.grad, 2 * np.exp(3.0), rtol=1e-6)


def test_in_place_changes_and_scopes_keep_the_values_of_others():
    t = result()
    before = t.numpy()
    with tape.no_grad(), tape.reuse():
        t += 1.0
        t[0] = 9.0
        s = t * 1.0
        t._become(s, "test")
        del s
    after = t.numpy()
    t.assign(np.zeros((3, 5)))
    del t
    churn((3, 5))
    assert np.unique(before).tolist() == [1.5]
    assert np.unique(after).tolist() == [2.5, 9.0]


def test_random_programs_agree_with_numpy_while_views_come_and_go():
    rng = np.random.default_rng(3)
    pool = [tape.tensor(rng.standard_normal((2, 2))) for _ in range(4)]
    truth = [t.numpy().copy() for t in pool]
    views = []
    for _ in range(3000):
        i, j, k = rng.integers(len(pool), size=3)
        match rng.integers(6):
            case 0:
                pool[k], truth[k] = pool[i] + pool[j], truth[i] + truth[j]
            case 1:
                pool[k], truth[k] = tape.tanh(pool[i]).T, np.tanh(truth[i]).T
            case 2:
                pool[k], truth[k] = pool[i].detach() * 0.5, truth[i] * 0.5
            case 3:
                views.append((pool[i].numpy(), truth[i].copy()))
            case 4:
                views = views[1::2]
            case 5:
                pool[k][0] = 0.25
                truth[k] = truth[k].copy()
                truth[k][0] = 0.25
        np.testing.assert_allclose(pool[k], truth[k], rtol=1e-12)
    for view, then in views:
        np.testing.assert_allclose(view, then, rtol=1e-12)
    gc.collect()


def test_shapes_that_went_out_of_use_make_room_for_others():
    for n in range(1, 1500, 7):  # more than is kept altogether
        churn((n,), n=20)
    with tape.reuse(False):
        t = tape.ones(1234) + 1.0
        serial = [t.numpy().ctypes.data]
        for _ in range(20):
            del t
            t = tape.ones(1234) + 1.0
            serial.append(t.numpy().ctypes.data)
    assert len(set(serial)) <= 2
