"""Layers put together: containers, sharing; networks that learn, in flat memory."""

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tape
from tape import nn, optim
from tape.errors import DTypeError, ShapeError


def ones(*shape):
    return tape.tensor(np.ones(shape, "f"))


def normal(*shape, seed=0, dtype="float32"):
    return tape.tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


# -- containers --------------------------------------------------------------------------------


def test_an_empty_sequential_is_the_identity():
    x = ones(2)
    assert nn.Sequential()(x) is x
    assert len(nn.Sequential()) == 0
    assert nn.Sequential()
    assert list(nn.Sequential().parameters()) == []


def test_sequential_flattens_lists_and_takes_functions():
    a, b, c = nn.Dense(4), nn.Dense(3), nn.Dense(2)
    net = nn.Sequential(a, [tape.tanh, [b, ()]], (c,))
    assert list(net) == [a, tape.tanh, b, c]
    x = normal(5, 2)
    assert net(x).tolist() == c(b(tape.tanh(a(x)))).tolist()
    assert list(net.state_dict()) == [
        *["0.weight", "0.bias", "2.weight", "2.bias", "3.weight", "3.bias"],
    ]


def test_sequential_is_indexed_sliced_and_changed_like_a_list():
    a, b, c = nn.Dense(4), tape.tanh, nn.Dense(2)
    net = nn.Sequential(a, b, c)
    assert net[0] is a
    assert net[-1] is c
    head = net[:2]
    assert type(head) is nn.Sequential
    assert list(head) == [a, b]
    head(ones(1, 3))
    assert a.n_in == 3  # the slice shares its layers
    net[1] = tape.exp
    assert list(net) == [a, tape.exp, c]
    with pytest.raises(TypeError, match="a list of layers cannot take the place of one"):
        net[1] = [a, c]
    with pytest.raises(IndexError):
        net[3]


def test_a_sequential_may_have_parameters_of_its_own():
    class Scaled(nn.Sequential):
        def __init__(self, *layers):
            super().__init__(*layers)
            self.gain = nn.Parameter(2.0)

        def forward(self, x):
            return super().forward(x) * self.gain

    net = Scaled(nn.Dense(1, 1))
    assert list(net.state_dict()) == ["0.weight", "0.bias", "gain"]
    assert repr(net).splitlines()[0] == "Scaled(): gain (): 3 parameters"


@pytest.mark.parametrize("layer", [3, "relu", None, nn.Dense])
def test_sequential_refuses_what_is_no_layer(layer):
    with pytest.raises(TypeError, match="Sequential: takes layers, functions and lists of them"):
        nn.Sequential(nn.Dense(3), [layer])


def test_for_builds_new_layers_with_or_without_the_item():
    net = nn.For(range(3), lambda: nn.Dense(4))
    assert len({id(layer) for layer in net}) == 3
    net(ones(1, 2))
    assert [layer.n_in for layer in net] == [2, 4, 4]
    sizes = nn.For((8, 5), lambda n: [nn.Dense(n), tape.tanh])
    assert [getattr(layer, "n_out", None) for layer in sizes] == [8, None, 5, None]
    assert [layer.n_out for layer in nn.For([7, 6], nn.Dense)] == [7, 6]
    assert len(nn.For(range(0), nn.Dense)) == 0
    assert [layer.start for layer in nn.For([5], nn.Flatten)] == [1]  # optional: not the item


def test_for_refuses_a_layer_in_place_of_a_constructor():
    with pytest.raises(TypeError, match="Dense is no constructor: give a function"):
        nn.For(range(3), nn.Dense(4))
    with pytest.raises(TypeError, match="the constructor takes 2 arguments, not 0 or 1"):
        nn.For(range(3), lambda a, b: nn.Dense(a))
    with pytest.raises(TypeError, match=r"For: items must be iterable, such as range\(3\), got 3"):
        nn.For(3, lambda: nn.Dense(4))


def test_lambda_takes_functions_only():
    assert nn.Lambda(lambda a, b=1: a + b)(2, b=3) == 5
    assert repr(nn.Lambda(tape.tanh)) == "Lambda(tanh)"
    for wrong in (nn.Dense(3), 5):
        with pytest.raises(TypeError, match="Lambda: takes a function"):
            nn.Lambda(wrong)


def test_flatten_refuses_what_has_no_shape():
    for wrong in (None, [[1.0]]):
        kind = type(wrong).__name__
        with pytest.raises(DTypeError, match=f"Flatten: takes a tensor or an array, got a {kind}"):
            nn.Flatten()(wrong)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.integers(0, 4))
def test_flatten_joins_the_axes_from_start_on(shape, start):
    x = normal(*shape)
    layer = nn.Flatten(start)
    if start > len(shape):
        with pytest.raises(ShapeError, match=f"fewer than start = {start} axes"):
            layer(x)
        return
    y = layer(x)
    assert y.shape == (*shape[:start], int(np.prod(shape[start:])))
    assert y.numpy().ravel().tolist() == x.numpy().ravel().tolist()


# -- sharing -----------------------------------------------------------------------------------


def test_two_heads_on_one_trunk_evaluate_it_once_and_add_their_gradients():
    trunk = nn.Sequential(nn.Dense(4, 3, activation=tape.tanh), nn.Dense(4, 4))
    heads = [nn.Dense(1, 4), nn.Dense(2, 4)]
    x = normal(5, 3)
    with tape.Tape() as t:
        first, second = (head(trunk(x)) for head in heads)
    assert t.hits > 0
    w = trunk[0].weight
    both = tape.grad(first.sum() + second.sum(), w).numpy()
    single = tape.grad(first.sum(), w).numpy() + tape.grad(second.sum(), w).numpy()
    np.testing.assert_allclose(both, single, rtol=1e-5, atol=1e-6)


def test_tied_weights_get_the_gradient_of_both_uses():
    class Autoencoder(nn.Module):
        def __init__(self):
            self.encoder = nn.Dense(3, 3, bias=False)
            self.decoder = nn.Dense(3, 3, bias=False)
            self.decoder.weight = self.encoder.weight

        def forward(self, x):
            return self.decoder(self.encoder(x))

    net = Autoencoder()
    assert len(list(net.parameters())) == 1
    x = normal(4, 3)
    net(x).sum().backward()
    w = net.encoder.weight
    apart = [nn.Parameter(w.numpy()) for _ in range(2)]
    tape.matmul(tape.matmul(x, apart[0].mT), apart[1].mT).sum().backward()
    expected = apart[0].grad.numpy() + apart[1].grad.numpy()
    np.testing.assert_allclose(w.grad.numpy(), expected, rtol=1e-5)


# -- learning ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: optim.Adam(p, lr=0.05),
        lambda p: optim.AdamW(p, lr=0.05, weight_decay=1e-4),
        lambda p: optim.RMSprop(p, lr=0.005),  # a larger step circles the solution
    ],
    ids=["sgd", "adam", "adamw", "rmsprop"],
)
def test_a_small_network_learns_xor(make):
    x = tape.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = tape.tensor([[0.0], [1.0], [1.0], [0.0]])
    rng = np.random.default_rng(3)
    net = nn.Sequential(nn.Dense(8, activation=tape.tanh, rng=rng), nn.Dense(1, rng=rng))
    net(x)
    optimizer = make(net.parameters())
    for _ in range(300):
        optimizer.zero_grad()
        error = net(x) - y
        (error * error).sum().backward()
        optimizer.step()
    assert (abs(net(x).numpy() - y.numpy()) < 0.1).all()


def test_gradient_descent_reaches_the_least_squares_solution():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 3)), rng.standard_normal((50, 2))
    net = nn.Dense(2, 3, dtype="float64", rng=rng)
    optimizer = optim.SGD(net.parameters(), lr=0.2 / 50, momentum=0.5)
    for _ in range(400):
        optimizer.zero_grad()
        error = net(x) - y
        (error * error).sum().backward()
        optimizer.step()
    solution = np.linalg.lstsq(np.c_[x, np.ones(50)], y, rcond=None)[0]
    np.testing.assert_allclose(net.weight.numpy(), solution[:3].T, atol=1e-9)
    np.testing.assert_allclose(net.bias.numpy(), solution[3], atol=1e-9)


def test_training_five_hundred_steps_keeps_memory_flat_without_the_collector():
    net = nn.Sequential(nn.Dense(8, 2, activation=tape.tanh), nn.Dense(1, 8))
    optimizer = optim.Adam(net.parameters())
    schedule = optim.CosineAnnealingLR(optimizer, 500)
    x = normal(6, 2)

    def train():
        optimizer.zero_grad()
        (net(x) * net(x)).sum().backward()
        optim.clip_grad_norm(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()

    gc.disable()
    try:
        train()
        before = tape.live_nodes()
        for _ in range(500):
            train()
        assert tape.live_nodes() == before
    finally:
        gc.enable()


def test_a_constructor_that_does_not_say_what_it_takes_gets_the_item():
    with pytest.raises(TypeError, match="For: takes layers, functions and lists of them, got 0"):
        nn.For(range(2), int)
