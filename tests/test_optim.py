"""Optimizers: their formulas in NumPy, the memory they write to, all or nothing."""

import gc
import signal
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optimizers import every, parameter

import tape
from tape import nn, optim

SHAPES = [(3, 2), (4,), (), (0, 3)]


# -- the formulas, one parameter at a time -----------------------------------------------------


def sgd(s, p, g, lr, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0):
    d = g + weight_decay * p
    if momentum:
        s["b"] = momentum * s["b"] + (1 - dampening) * d if "b" in s else d
        d = d + momentum * s["b"] if nesterov else s["b"]
    return p - lr * d


def adam(
    s, p, g, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, apart=False
):
    b1, b2 = betas
    s["t"] = t = s.get("t", 0) + 1
    if apart:
        p, d = p * (1 - lr * weight_decay), g
    else:
        d = g + weight_decay * p
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * d
    s["v"] = v = b2 * s.get("v", 0) + (1 - b2) * d * d
    s["top"] = np.maximum(s.get("top", 0), v)
    root = np.sqrt((s["top"] if amsgrad else v) / (1 - b2**t))
    return p - lr * s["m"] / (1 - b1**t) / (root + eps)


def adamw(s, p, g, weight_decay=1e-2, **settings):
    return adam(s, p, g, weight_decay=weight_decay, apart=True, **settings)


def rmsprop(s, p, g, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
    d = g + weight_decay * p
    s["s"] = alpha * s.get("s", 0) + (1 - alpha) * d * d
    s["a"] = alpha * s.get("a", 0) + (1 - alpha) * d
    u = d / (np.sqrt(s["s"] - s["a"] ** 2 if centered else s["s"]) + eps)
    s["b"] = momentum * s.get("b", 0) + u
    return p - lr * (s["b"] if momentum else u)


rate = st.sampled_from([0.0, 0.01, 0.3])
decay = st.sampled_from([0.0, 0.1])
flag = st.booleans()
share = st.sampled_from([0.0, 0.5, 0.9])
CASES = st.one_of(
    st.tuples(
        st.just((optim.SGD, sgd)),
        st.one_of(
            st.fixed_dictionaries(
                {"lr": rate, "momentum": share, "dampening": share, "weight_decay": decay}
            ),
            st.fixed_dictionaries({"lr": rate, "momentum": st.just(0.9), "nesterov": flag}),
        ),
    ),
    st.tuples(
        st.sampled_from([(optim.Adam, adam), (optim.AdamW, adamw)]),
        st.fixed_dictionaries(
            {"lr": rate, "betas": st.tuples(share, share), "amsgrad": flag, "weight_decay": decay}
        ),
    ),
    st.tuples(
        st.just((optim.RMSprop, rmsprop)),
        st.fixed_dictionaries(
            {"lr": rate, "alpha": share, "momentum": share, "centered": flag, "weight_decay": decay}
        ),
    ),
)


@given(CASES, st.lists(st.integers(0, 2 ** len(SHAPES) - 1), max_size=7), st.integers(0, 99))
def test_every_optimizer_follows_its_formula_also_where_gradients_are_missing(case, present, seed):
    (make, formula), settings = case
    rng = np.random.default_rng(seed)
    expected = [rng.standard_normal(shape) for shape in SHAPES]
    params = [parameter(value) for value in expected]
    optimizer = make(params, **settings)
    states = [{} for _ in params]
    for bits in present:
        for i, p in enumerate(params):
            p.grad = None
            if bits >> i & 1:
                g = rng.standard_normal(SHAPES[i])
                p.grad = tape.tensor(g)
                expected[i] = formula(states[i], expected[i], g, **settings)
        optimizer.step()
        for p, value in zip(params, expected, strict=True):
            np.testing.assert_allclose(p.numpy(), value, rtol=1e-9, atol=1e-12)


@every
def test_parameters_of_both_precisions_step_together(make):
    wide, narrow = parameter([1.0, 2.0]), parameter([1.0, 2.0], "float32")
    optimizer = make([wide, narrow])
    for _ in range(3):
        for p in (wide, narrow):
            p.zero_grad()
            (p * p).sum().backward()
        optimizer.step()
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow.numpy(), wide.numpy(), rtol=1e-6)


@every
def test_a_gradient_in_another_memory_order_is_no_trouble(make):
    a, b = parameter(np.ones((3, 2))), parameter(np.ones((3, 2)))
    g = np.arange(6.0).reshape(2, 3).T
    a.grad, b.grad = tape.asarray(g), tape.tensor(np.ascontiguousarray(g))
    make([a]).step()
    make([b]).step()
    assert a.tolist() == b.tolist()


# -- memory ------------------------------------------------------------------------------------


@every
def test_steps_write_into_the_same_memory_and_keep_the_parameters_identity(make):
    w = nn.Parameter(np.ones(5, "f"))
    optimizer = make([w])
    address, values = w.numpy().ctypes.data, set()
    for _ in range(4):
        w.zero_grad()
        (w * w).sum().backward()
        optimizer.step()
        values.add(w.numpy()[0].item())
        assert w.numpy().ctypes.data == address
    assert len(values) == 4
    assert w.requires_grad
    assert w.is_leaf


@every
def test_who_holds_the_old_value_keeps_it(make):
    w = parameter([1.0, 2.0])
    (w * w).sum().backward()
    old, loss = w.numpy(), (w * w).sum()
    make([w]).step()
    assert old.tolist() == [1.0, 2.0]
    assert w.tolist() != [1.0, 2.0]
    assert tape.grad(loss, w).tolist() == [2.0, 4.0]  # of the values it was recorded with


@every
def test_an_optimizer_dies_with_its_last_reference(make):
    gc.disable()
    try:
        w = parameter([1.0, 2.0])
        optimizer = make([w])
        schedule = optim.StepLR(optimizer, 2)
        (w * w).sum().backward()
        optimizer.step()
        schedule.step()
        gone = weakref.ref(optimizer)
        del optimizer, schedule
        assert gone() is None
    finally:
        gc.enable()


@every
def test_five_hundred_steps_leave_no_nodes_behind(make):
    w = parameter(np.ones(3))
    optimizer = make([w])

    def train():
        optimizer.zero_grad()
        ((w - 2.0) * (w - 2.0)).sum().backward()
        optimizer.step()

    train()
    before = tape.live_nodes()
    for _ in range(500):
        train()
    assert tape.live_nodes() == before


# -- all or nothing ----------------------------------------------------------------------------


def test_a_step_with_a_bad_setting_in_a_later_group_changes_nothing():
    a, b = parameter([1.0]), parameter([1.0])
    optimizer = optim.SGD([{"params": [a]}, {"params": [b]}], lr=0.5, momentum=0.5)
    a.grad = b.grad = tape.tensor(np.ones(1))
    optimizer.param_groups[1]["lr"] = "fast"
    with pytest.raises(ValueError, match="fast"):
        optimizer.step()
    assert (a.item(), b.item()) == (1.0, 1.0)
    assert optimizer.state_dict()["state"] == {}
    optimizer.param_groups[1]["lr"] = 0.5
    optimizer.step()
    assert (a.item(), b.item()) == (0.5, 0.5)


class Interrupt(Exception):
    """What the signal handler below raises, wherever Python happens to be."""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_an_interrupt_finds_all_parameters_before_or_after_a_step():
    assert threading.current_thread() is threading.main_thread()
    params = [parameter(np.zeros(64)) for _ in range(6)]
    groups = [
        {"params": params[:2]},
        {"params": params[2:4], "momentum": 0.5},
        {"params": params[4:]},
    ]
    optimizer = optim.SGD(groups, lr=1.0)
    for p in params:
        p.grad = tape.tensor(np.ones(64))
    optimizer.step()

    def interrupt(number, frame):
        raise Interrupt

    def step_for_ever(microseconds):
        signal.setitimer(signal.ITIMER_REAL, microseconds * 1e-6)
        while True:
            optimizer.step()

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for microseconds in range(100, 200):
            with pytest.raises(Interrupt):
                step_for_ever(microseconds)
            (n,) = {entry["step"] for entry in optimizer.state_dict()["state"].values()}
            plain = {p.numpy()[i].item() for p in (*params[:2], *params[4:]) for i in (0, 63)}
            assert plain == {-float(n)}
            assert len({p.numpy()[i].item() for p in params[2:4] for i in (0, 63)}) == 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
