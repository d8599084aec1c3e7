"""Hooks see the gradient of a tensor on its way, and may replace it."""

import gc

import numpy as np
import pytest

import tape
from tape import nn
from tape.errors import DTypeError, GradError, ShapeError

pytestmark = pytest.mark.usefixtures("nothing_left")


def leaf(*numbers):
    return tape.tensor(list(numbers), dtype="float64", requires_grad=True)


def backward(loss, x):
    loss.backward()
    found, x.grad = x.grad, None
    return found


def grad(loss, x):
    return tape.grad(loss, x)


def recorded(loss, x):
    return tape.grad(loss, x, create_graph=True)


EVERY = pytest.mark.parametrize("derive", [backward, grad, recorded])


@EVERY
def test_hooks_of_leaves_and_of_results_see_and_replace(derive):
    x, seen = leaf(1.0, 2.0), []
    h = x * 3.0
    x.register_hook(lambda g: seen.append(("x", g.tolist())) or g + 1.0)
    h.register_hook(lambda g: seen.append(("h", g.tolist())) or g * 10.0)
    assert derive((h * h).sum(), x).tolist() == [181, 361]
    assert seen == [("h", [6, 12]), ("x", [180, 360])]


@EVERY
def test_they_run_in_order_each_on_what_the_one_before_made(derive):
    x = leaf(1.0)
    x.register_hook(lambda g: g * 2.0)
    x.register_hook(lambda g: None)
    x.register_hook(lambda g: g + 1.0)
    assert derive((x * 5.0).sum(), x).tolist() == [11]


@EVERY
def test_a_hook_sees_the_sum_of_all_that_arrives_once(derive):
    x, seen = leaf(1.0, 2.0), []
    h = tape.exp(x)
    h.register_hook(lambda g: seen.append(g.tolist()))
    x.register_hook(lambda g: seen.append("x"))
    derive((h * 2.0).sum() + (h * 3.0).sum() + x.sum(), x)
    assert seen == [[5, 5], "x"]


@EVERY
def test_the_hook_of_what_is_differentiated_runs(derive):
    x = leaf(1.0, 2.0)
    loss = (x * x).sum()
    loss.register_hook(lambda g: g * 10.0)
    assert derive(loss, x).tolist() == [20, 40]
    y, seen = leaf(3.0), []
    y.register_hook(lambda g: seen.append(g.tolist()) or g * 2.0)
    assert derive(y, y).tolist() == [2]
    assert seen == [[1]]


def test_separate_calls_run_the_hook_of_what_is_differentiated_once():
    x, w, seen = leaf(1.0), leaf(2.0), []
    loss = x * w
    loss.register_hook(lambda g: seen.append(g.tolist()) or g * 10.0)
    assert [tape.grad(loss, t).tolist() for t in (x, w, loss)] == [[20], [10], [10]]
    assert seen == [[1]]


def test_later_results_come_first_and_leaves_last():
    x, y, seen = leaf(1.0), leaf(2.0), []
    for name, t in [("x", x), ("y", y), ("a", a := x * y), ("b", b := a * x), ("c", b + y)]:
        t.register_hook(lambda g, name=name: seen.append(name))
        last = t
    last.backward()
    assert seen[:3] == ["c", "b", "a"]
    assert sorted(seen[3:]) == ["x", "y"]


def test_the_gradient_handed_out_is_what_the_hook_gave():
    x = leaf(2.0)
    h = x * 3.0
    h.register_hook(lambda g: g * 10.0)
    loss = (h * h).sum()
    dh, dx = tape.grad(loss, [h, x])
    assert (dh.tolist(), dx.tolist()) == ([120], [360])


def test_a_hook_that_comes_or_goes_between_two_calls_counts():
    x, w = leaf(2.0), leaf(3.0)
    h = x * w
    loss = (h * h).sum()
    assert tape.grad(loss, x).tolist() == [36]
    handle = h.register_hook(lambda g: g * 2.0)
    assert tape.grad(loss, w).tolist() == [48]
    assert tape.grad(loss, x).tolist() == [72]
    other = x.register_hook(lambda g: -g)
    assert tape.grad(loss, x).tolist() == [-72]
    handle.remove()
    handle.remove()
    other.remove()
    assert [g.tolist() for g in tape.grad(loss, [x, w])] == [[36], [24]]
    with h.register_hook(lambda g: g * 0.0):
        assert tape.grad(loss, x).tolist() == [0]
    assert tape.grad(loss, x).tolist() == [36]


def test_separate_calls_run_the_hook_of_a_shared_result_once():
    x, w, seen = leaf(2.0), leaf(3.0), []
    h = x * w
    h.register_hook(lambda g: seen.append(1) or g * 2.0)
    loss = (h * h).sum()
    assert [tape.grad(loss, t).tolist() for t in (x, w, h)] == [[72], [48], [24]]
    assert len(seen) == 1


def test_hooks_of_a_leaf_stay_when_it_moves_on_and_run_in_every_walk():
    x, seen = leaf(1.0), []
    x.register_hook(lambda g: seen.append(g.item()))
    for k in (1.0, 2.0):
        (x * k).sum().backward()
        with tape.no_grad():
            x -= 0.5
    assert seen == [1, 2]
    assert x.grad.tolist() == [3]


def test_what_a_hook_does_is_recorded_with_create_graph_and_only_then():
    x = leaf(3.0)
    recording = []
    h = x * x
    h.register_hook(lambda g: recording.append(tape.is_recording()) or g * x)
    dx = tape.grad(h.sum(), x, create_graph=True)
    assert dx.tolist() == [18]
    assert tape.grad(dx.sum(), x).tolist() == [12]
    assert not tape.grad(h.sum(), x).requires_grad
    assert recording == [True, False]


@EVERY
def test_a_gradient_of_another_kind_is_refused_and_nothing_changes(derive):
    x = leaf(1.0, 2.0)
    h = x * 2.0

    give = []

    def odd(g):
        return give[-1](g)

    for t in (x, h):
        handle = t.register_hook(odd)
        for wrong, error, words in [
            (lambda g: g[:1], ShapeError, r"hook odd gave a gradient \(1,\), it was \(2,\)"),
            (lambda g: g.sum(), ShapeError, r"gave a gradient \(\), it was \(2,\)"),
            (lambda g: g > 0.0, DTypeError, "hook odd gave bool numbers, a gradient is float64"),
            (lambda g: 3.0, TypeError, "must give a tensor or None, got a float"),
        ]:
            give.append(wrong)
            with pytest.raises(error, match=words):
                derive((h * h).sum(), x)
            assert x.grad is None
        handle.remove()
    assert derive((h * h).sum(), x).tolist() == [8, 16]


def test_a_float_of_another_width_is_cast():
    x = leaf(1.0)
    x.register_hook(lambda g: g.astype("float32"))
    assert tape.grad((x * 2.0).sum(), x).dtype == np.float64


def test_only_tensors_with_gradients_take_functions():
    with pytest.raises(GradError, match=r"register_hook: this tensor \(2,\) requires no gradient"):
        tape.ones(2).register_hook(print)
    with pytest.raises(TypeError, match="a hook is a function, got a int"):
        leaf(1.0).register_hook(3)


def test_a_hook_may_change_what_it_is_given_and_keep_it():
    x, kept = leaf(1.0, 2.0), []

    def spoil(g):
        kept.append(g)
        g *= 100.0

    h = x * 1.0
    h.register_hook(spoil)
    x.register_hook(kept.append)
    assert tape.grad((h * h).sum(), x).tolist() == [2, 4]
    (x * x).sum().backward()
    x.grad.assign([7.0, 7.0])
    assert [g.tolist() for g in kept] == [[200, 400], [2, 4], [2, 4]]


def test_a_result_with_a_hook_is_not_reused():
    x = leaf(1.0)
    a = tape.exp(x)
    a.register_hook(lambda g: g * 0.0)
    b = tape.exp(x)
    assert a.serial != b.serial
    assert tape.grad((a + b).sum(), x).tolist() == b.tolist()


def test_a_hook_that_holds_its_handle_makes_no_cycle():
    class Once:
        def __init__(self, t):
            self.handle, self.seen = t.register_hook(self), []

        def __call__(self, g):
            self.seen.append(g.tolist())
            self.handle.remove()

    gc.collect()
    x = leaf(1.0)
    before = tape.live_nodes()
    h = x * 2.0
    once = Once(h)
    tape.grad(h.sum(), x)
    tape.grad(h.sum(), x)
    assert once.seen == [[1]]
    del h, once
    assert tape.live_nodes() == before


def test_backward_ends_the_hooks_of_what_it_uses_up_even_those_that_hold_their_tensor():
    x = leaf(1.0)
    before = tape.live_nodes()
    h = x * 2.0
    h.register_hook(lambda g, h=h: None)
    h.sum().backward()
    del h
    x.grad = None
    assert tape.live_nodes() == before


def test_a_hook_on_a_parameter_clips_its_gradient():
    layer = nn.Dense(2, 3)
    for p in layer.parameters():
        p.register_hook(lambda g: g.clip(-0.1, 0.1))
    (layer(tape.ones((4, 3))) * 50.0).sum().backward()
    assert all(abs(p.grad.numpy()).max() <= np.float32(0.1) for p in layer.parameters())


@EVERY
@pytest.mark.parametrize("of_leaf", [True, False])
def test_a_hook_that_runs_itself_without_end_is_refused(derive, of_leaf):
    x = leaf(1.0, 2.0)
    z = (x * x).sum()
    handle = (x if of_leaf else z).register_hook(lambda g: tape.grad(z, x).sum() * g)
    with pytest.raises(GradError, match="hook <lambda> asks for a gradient that runs the hook"):
        derive(z, x)
    assert x.grad is None
    handle.remove()
    assert derive(z, x).tolist() == [2.0, 4.0]


def test_backward_within_a_hook_of_its_own_result_is_refused():
    x = leaf(1.0, 2.0)
    z = (x * x).sum()
    handle = z.register_hook(lambda g: z.backward())
    with pytest.raises(GradError, match="runs the hook again: 32 times within each other"):
        z.backward()
    handle.remove()
    assert x.grad is None


def test_a_hook_may_run_itself_if_it_comes_to_an_end():
    x, depth = leaf(1.0, 2.0), []
    z = (x * x).sum()

    def hook(g):
        depth.append(None)
        return g + tape.grad(z, x) if len(depth) < 3 else None

    handle = x.register_hook(hook)
    assert tape.grad(z, x).tolist() == [6.0, 12.0]
    handle.remove()


def test_check_numerics_looks_at_what_hooks_of_results_compute():
    x = leaf(1.0, 2.0)
    y = x * 2.0
    handle = y.register_hook(lambda g: tape.log(g * 0.0))
    with tape.check_numerics(), pytest.raises(tape.NumericsError, match="log: 2 of 2 numbers"):
        y.sum().backward()
    handle.remove()
    assert x.grad is None
