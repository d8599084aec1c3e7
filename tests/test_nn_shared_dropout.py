"""Dropout in a shared trunk: one choice for each module and input in a reuse block, on request."""

import threading

import numpy as np
import pytest

import tape
from tape import nn
from tape.testing import gradcheck

pytestmark = pytest.mark.usefixtures("nothing_left")
KINDS = {
    nn.Dropout: (4, 3),
    nn.Dropout1d: (4, 3, 2),
    nn.Dropout2d: (4, 3, 2, 2),
    nn.Dropout3d: (4, 3, 2, 2, 2),
    nn.AlphaDropout: (4, 3),
    nn.FeatureAlphaDropout: (4, 3, 2),
}
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def same(a, b):
    return np.array_equal(a, b)


@each_kind
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_calls_for_one_input_in_a_block_are_one(kind, dtype):
    layer = kind(0.5, shared=True)
    x = tape.ones((40, *KINDS[kind][1:]), dtype=dtype, requires_grad=True)
    equal = x * 1.0
    with tape.reuse(), tape.Tape() as t:
        y = layer(x)
        computed = t.evaluations
        assert layer(x).serial == y.serial
        assert t.evaluations == computed
        assert not same(layer(equal), y)
        assert same(layer(x), y)
        assert y.dtype == dtype
    after = layer(x)
    assert not same(after, y)
    assert not same(layer(x), after)
    with tape.reuse():
        assert not same(layer(x), y)
    with tape.reuse():
        plain = kind(0.5)
        assert not same(plain(x), plain(x))
        other = kind(0.5, shared=True)
        assert not same(layer(x), other(x))
    assert layer.eval()(x) is x


def test_a_trunk_with_dropout_runs_once_forward_and_backward():
    trunk = (
        nn.Dense(50, 8) >> nn.Dropout(0.5, shared=True) >> nn.Dense(50, 50, activation=tape.tanh)
    )
    net = nn.combine(trunk >> nn.Dense(1, 50), trunk >> nn.Dense(1, 50))
    with tape.Tape() as t:
        a, b = net(tape.ones((4, 8)))
    assert (t.evaluations, t.hits) == (5, 3)
    (a + b).sum().backward()
    del a, b


def test_it_is_the_dropout_it_is_without_sharing():
    x = tape.tensor(np.random.default_rng(0).standard_normal((5, 6, 4)), requires_grad=True)
    for kind, shape in KINDS.items():
        v = x.detach() if len(shape) != 2 else x.detach()[0]
        if len(shape) > 3:
            continue
        ys = []
        for shared in (False, True):
            layer = kind(0.5, np.random.default_rng(3), shared=shared)
            with tape.reuse():
                ys.append(layer(v))
        assert same(*ys)


def test_a_gradient_and_none_have_one_choice_but_not_one_result():
    layer, x = nn.AlphaDropout(0.5, shared=True), tape.ones(50, requires_grad=True)
    with tape.reuse():
        with tape.no_grad():
            bare = layer(x)
        y = layer(x)
        assert same(bare, y)
        assert (bare.requires_grad, y.requires_grad) == (False, True)
        y.sum().backward()
        again = layer(x)  # the first graph is used up
        assert same(again, y)
        first, x.grad = x.grad, None
        again.sum().backward()
        assert same(x.grad, first)


def test_nested_blocks_share_with_the_outermost_and_blocks_without_reuse_draw_anew():
    layer, x = nn.Dropout(0.5, shared=True), tape.ones(50)
    with tape.reuse():
        with tape.reuse():
            y = layer(x)
        assert same(layer(x), y)
        with tape.reuse(False):
            assert not same(layer(x), y)
            assert not same(layer(x), layer(x))
        assert same(layer(x), y)


def test_memory_that_its_owner_writes_to_keeps_the_choice_and_shows_the_numbers():
    a = np.ones(50, np.float32)
    layer, x = nn.Dropout(0.5, shared=True), tape.asarray(a)
    with tape.reuse():
        y = layer(x).numpy().copy()
        a *= 2
        assert same(layer(x), 2 * y)


def test_another_probability_is_another_choice():
    layer, x = nn.Dropout(0.5, shared=True), tape.ones(50)
    with tape.reuse():
        y = layer(x)
        layer.p = 0.25
        assert not same(layer(x) == 0.0, y == 0.0)
        layer.p = 0.5
        assert same(layer(x), y)


def test_nothing_is_held_after_the_block_even_if_it_fails():
    layer, x = nn.Dropout2d(0.5, shared=True), tape.ones((2, 3, 4, 4))
    before = tape.live_nodes()
    with tape.reuse():
        layer(x)
        assert tape.live_nodes() > before
    assert tape.live_nodes() == before
    with pytest.raises(TypeError), tape.reuse():
        layer(layer(x), None)
    assert tape.live_nodes() == before


def test_each_thread_has_its_own_blocks():
    layer, x, found = nn.Dropout(0.5, shared=True), tape.ones(50), []

    def work():
        found.append(not same(layer(x), layer(x)))
        with tape.reuse():
            found.append(same(layer(x), layer(x)))

    with tape.reuse():
        y = layer(x)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert same(layer(x), y)
    assert found == [True, True]


def test_checkpoints_draw_the_same_the_second_time_and_know_no_block_around_them():
    layer = nn.Dropout(0.5, shared=True)
    w = tape.ones(50, requires_grad=True)

    def inner(x):
        with tape.reuse():
            return tape.exp(layer(x * w)) + layer(x * w)

    x = tape.ones(50)
    with tape.reuse():
        outside = layer(x)
        y = tape.checkpoint(inner, x)
        kept = y.numpy() != 1.0
        (g,) = tape.grad(y.sum(), [w])
        assert same(layer(x), outside)
        loose = tape.checkpoint(layer, x)
    assert same(g != 0.0, kept)
    values = np.where(kept, np.e**2 * 2 + 2, 0.0)
    np.testing.assert_allclose(g, values, rtol=1e-5)
    assert not same(loose, outside)


def test_gradients_through_the_shared_choice():
    layer = nn.FeatureAlphaDropout(0.3, shared=True)
    x = tape.tensor(np.random.default_rng(0).standard_normal((6, 3)), requires_grad=True)

    def f(x):
        tape.random.seed(0)
        with tape.reuse():
            return layer(x) * layer(x)

    assert gradcheck(f, [x])


def test_settings_show_and_are_checked():
    assert repr(nn.Dropout(0.5, shared=True)) == "Dropout(0.5, shared=True)"
    assert repr(nn.Dropout(0.5)) == "Dropout(0.5)"
    with pytest.raises(TypeError, match="Dropout1d: shared is True or False, got 1"):
        nn.Dropout1d(0.5, shared=1)
