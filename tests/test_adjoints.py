"""Adjoints are shared across calls: one gradient after the other costs what all at once do."""

import gc
import weakref

import numpy as np
import pytest
from counting import counting_product

import tape
from tape.errors import GradError

pytestmark = pytest.mark.usefixtures("nothing_left")


def network(n_layers):
    """A loss on a chain of products, its weights, and the list that grows with each product."""
    product, log = counting_product()
    rng = np.random.default_rng(0)
    ws = [tape.tensor(rng.standard_normal((4, 4)), requires_grad=True) for _ in range(n_layers)]

    def loss():
        x = tape.tensor(np.ones((3, 4)))
        for w in ws:
            x = tape.tanh(product(x, w))
        return (x * x).sum()

    return loss, ws, log


def same_bits(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("n_layers", [1, 5, 8, 32])
def test_separate_calls_cost_2l_minus_1_products_and_give_the_same_bits(n_layers, create_graph):
    loss, ws, log = network(n_layers)
    y, other = loss(), None
    log.clear()
    with tape.reuse(False):
        other = loss()
    joint = tape.grad(other, ws, create_graph=create_graph)
    log.clear()
    separate = [tape.grad(y, w, create_graph=create_graph) for w in ws]
    assert len(log) == 2 * n_layers - 1
    same_bits(separate, joint)
    log.clear()
    same_bits([tape.grad(y, w, create_graph=create_graph) for w in ws[::-1]], joint[::-1])
    if create_graph:
        assert log == []
        total = sum((g * g).sum() for g in separate)
        truth = sum((g * g).sum() for g in joint)
        for a, b in zip(tape.grad(total, ws), tape.grad(truth, ws), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_any_order_and_any_grouping_costs_the_same():
    for groups in ([[4], [0, 1], [3, 2]], [[0], [1], [2], [3], [4]], [[2], [2], [0, 1, 3, 4]]):
        loss, ws, log = network(5)
        y = loss()
        log.clear()
        found = {}
        for group in groups:
            parts = tape.grad(y, [ws[i] for i in group])
            found.update(zip(group, parts, strict=True))
        assert len(log) == 9, groups
        same_bits([found[i] for i in range(5)], tape.grad(loss(), ws))


def test_asking_for_the_last_weight_computes_nothing_below_it():
    loss, ws, log = network(5)
    y = loss()
    log.clear()
    tape.grad(y, ws[4])
    assert len(log) == 1


def test_assigning_in_between_changes_nothing_and_costs_nothing():
    loss, ws, log = network(4)
    y = loss()
    truth = tape.grad(loss(), ws)
    log.clear()
    found = []
    for w in ws:
        found.append(tape.grad(y, w))
        with tape.no_grad():
            w -= 0.5
    same_bits(found, truth)
    del y
    again = loss()
    fresh = tape.grad(again, ws)
    assert not np.array_equal(fresh[0], truth[0])


def test_under_no_grad_the_adjoints_are_shared_too():
    loss, ws, log = network(4)
    y = loss()
    log.clear()
    with tape.no_grad():
        found = [tape.grad(y, w) for w in ws]
    assert len(log) == 7
    same_bits(found, tape.grad(loss(), ws))


def test_kept_adjoints_die_with_the_loss_and_with_its_graph():
    loss, ws, _ = network(3)
    gc.collect()
    before = tape.live_nodes()
    y = loss()
    recorded = tape.live_nodes()
    tape.grad(y, ws[0])
    assert tape.live_nodes() > recorded
    del y
    assert tape.live_nodes() == before
    y = loss()
    tape.grad(y, ws[0])
    y.backward()
    with pytest.raises(GradError, match="was freed"):
        tape.grad(y, ws[1])
    for w in ws:
        w.grad = None
    del y
    assert tape.live_nodes() == before


def test_gradients_with_a_graph_make_no_cycle():
    loss, ws, _ = network(3)
    before = tape.live_nodes()
    y = loss()
    first = tape.grad(y, ws[0], create_graph=True)
    second = tape.grad(y, ws[1], create_graph=True)
    (first * first).sum().backward()
    del first, second, y
    for w in ws:
        w.grad = None
    assert tape.live_nodes() == before


def test_an_array_of_a_kept_adjoint_dies_with_the_loss():
    x = tape.tensor(np.ones(1000), requires_grad=True)
    held = []
    h = x * 2.0
    h.register_hook(lambda g: held.append(weakref.ref(g.numpy().base)))
    y = (h * h).sum()
    tape.grad(y, x)
    assert held[0]() is not None
    del y, h
    assert held[0]() is None


def test_another_cotangent_is_computed_anew_and_the_same_one_is_not():
    loss, ws, log = network(4)
    y, g = loss() * tape.ones(2), tape.tensor([1.0, 2.0])
    log.clear()
    for w in ws:
        tape.grad(y, w, g=g)
    assert len(log) == 7
    a = tape.grad(y, ws[0], g=tape.tensor([0.0, 1.0]))
    assert len(log) > 7
    np.testing.assert_allclose(a * 3.0, tape.grad(y, ws[0], g=g), rtol=1e-12)


def test_an_unused_target_raises_and_zeros_are_given_on_demand():
    loss, ws, _ = network(2)
    v = tape.tensor([1.0], requires_grad=True)
    y = loss()
    for create_graph in (False, True):
        with pytest.raises(
            GradError, match=r"grad: y \(\) does not depend on xs\[1\] \(1,\); pass"
        ):
            tape.grad(y, [ws[0], v], create_graph=create_graph)
        assert tape.grad(y, v, unused="zeros", create_graph=create_graph).tolist() == [0]
        assert tape.grad(y, v, unused="none", create_graph=create_graph) is None
        a, b = tape.grad(y, [ws[0], v], unused="none", create_graph=create_graph)
        assert b is None
        np.testing.assert_array_equal(a, tape.grad(y, ws[0]))
