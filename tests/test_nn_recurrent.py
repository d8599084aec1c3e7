"""Recurrent layers against loops over steps written out in NumPy."""

import itertools

import numpy as np
import pytest
from isas import ISAS

import tape
from tape import nn
from tape._kernels import table
from tape.testing import gradcheck

T, B, N, H = 4, 2, 3, 5


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rnn_step(x, state, w, v, b, c):
    (h,) = state
    return (np.tanh(x @ w.T + b + h @ v.T + c),)


def lstm_step(x, state, w, v, b, c):
    h, cell = state
    i, f, g, o = np.split(x @ w.T + b + h @ v.T + c, 4, axis=-1)
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(cell), cell


def gru_step(x, state, w, v, b, c):
    (h,) = state
    (xr, xz, xn), (hr, hz, hn) = (np.split(a, 3, axis=-1) for a in (x @ w.T + b, h @ v.T + c))
    z, n = sigmoid(xz + hz), np.tanh(xn + sigmoid(xr + hr) * hn)
    return ((1 - z) * n + z * h,)


STEP = {"RNN": rnn_step, "LSTM": lstm_step, "GRU": gru_step}
KINDS = sorted(STEP)


def in_loops(kind, net, x, states):
    """What the layers give for x (T, B, N) and first states, by loops over the steps."""
    state = net.state_dict()
    ends = []
    for layer in range(net.num_layers):
        ways = []
        for way, suffix in enumerate(["", "_reverse"][: 1 + net.bidirectional]):
            names = [
                f"{n}_l{layer}{suffix}" for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            ]
            weights = [state.get(name, 0.0) for name in names]
            now = [s[layer * (1 + net.bidirectional) + way] for s in states]
            ys = [None] * len(x)
            for t in range(len(x))[:: -1 if way else 1]:
                now = STEP[kind](x[t], now, *weights)
                ys[t] = now[0]
            ways.append(np.stack(ys))
            ends.append(now)
        x = np.concatenate(ways, axis=-1)
    return x, [np.stack(parts) for parts in zip(*ends, strict=True)]


def made(kind, **settings):
    return getattr(nn, kind)(H, rng=np.random.default_rng(0), dtype=np.float64, **settings)


def drawn(kind, net, seed=1):
    rng = np.random.default_rng(seed)
    shape = (net.num_layers * (1 + net.bidirectional), B, H)
    return [rng.standard_normal(shape) for _ in range(2 if kind == "LSTM" else 1)]


def called(kind, net, x, states):
    """(y, list of last states)."""
    if states is not None:
        states = tuple(map(tape.tensor, states)) if kind == "LSTM" else tape.tensor(states[0])
    y, ends = net(x, states)
    return y, list(ends) if kind == "LSTM" else [ends]


@pytest.mark.parametrize(
    ("kind", "layers", "bidirectional", "bias"),
    list(itertools.product(KINDS, (1, 2), (False, True), (False, True))),
)
def test_layers_are_loops_over_steps(kind, layers, bidirectional, bias):
    net = made(kind, num_layers=layers, bidirectional=bidirectional, bias=bias)
    x = np.random.default_rng(2).standard_normal((T, B, N))
    net(tape.tensor(x))
    states = drawn(kind, net)
    y, ends = called(kind, net, tape.tensor(x), states)
    wanted, wanted_ends = in_loops(kind, net, x, states)
    np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-10, atol=1e-12)
    for end, wanted_end in zip(ends, wanted_ends, strict=True):
        np.testing.assert_allclose(end.numpy(), wanted_end, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_first_states_are_zeros_unless_given(kind):
    net = made(kind, num_layers=2)
    x = tape.tensor(np.random.default_rng(2).standard_normal((T, B, N)))
    y, _ = called(kind, net, x, None)
    zeros = [np.zeros_like(s) for s in drawn(kind, net)]
    np.testing.assert_array_equal(y.numpy(), called(kind, net, x, zeros)[0].numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_batch_first_and_single_sequences_only_move_axes(kind):
    net, first = made(kind, bidirectional=True), made(kind, bidirectional=True, batch_first=True)
    x = np.random.default_rng(2).standard_normal((T, B, N))
    y, ends = called(kind, net, tape.tensor(x), None)
    first(tape.tensor(x))
    first.load_state_dict(net.state_dict())
    turned, turned_ends = called(kind, first, tape.tensor(x.swapaxes(0, 1).copy()), None)
    np.testing.assert_allclose(turned.numpy().swapaxes(0, 1), y.numpy())
    single, single_ends = called(kind, net, tape.tensor(x[:, 0].copy()), None)
    np.testing.assert_allclose(single.numpy(), y.numpy()[:, 0])
    for a, b, c in zip(ends, turned_ends, single_ends, strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy())
        np.testing.assert_allclose(c.numpy(), a.numpy()[:, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradients_are_finite_differences(kind):
    net = made(kind, num_layers=2, bidirectional=True)
    x = np.random.default_rng(2).standard_normal((2, 1, 2))
    net(tape.tensor(x))
    assert gradcheck(lambda x: net(x)[0].sum(), [tape.tensor(x, requires_grad=True)], order=2)
    names = ("weight_ih_l0", "weight_hh_l1_reverse", "bias_hh_l0")
    for name in names:
        old = getattr(net, name)

        def with_value(value, name=name, old=old):
            vars(net)[name] = value
            try:
                return net(tape.tensor(x))[0].sum()
            finally:
                vars(net)[name] = old

        assert gradcheck(with_value, [tape.tensor(old.numpy().copy(), requires_grad=True)])


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_have_the_names_of_pytorch(kind):
    net = made(kind, n_in=N, num_layers=2, bidirectional=True)
    ends = [f"_l{i}{way}" for i in range(2) for way in ("", "_reverse")]
    parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    assert list(net.state_dict()) == [part + end for end in ends for part in parts]
    rows = {"RNN": 1, "LSTM": 4, "GRU": 3}[kind] * H
    assert net.weight_ih_l0.shape == (rows, N)
    assert net.weight_ih_l1_reverse.shape == (rows, 2 * H)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_is_one_step(kind):
    cell = made(f"{kind}Cell")
    x = np.random.default_rng(2).standard_normal((B, N))
    state = [np.random.default_rng(i).standard_normal((B, H)) for i in range(1 + (kind == "LSTM"))]
    given = tuple(map(tape.tensor, state)) if kind == "LSTM" else tape.tensor(state[0])
    y = cell(tape.tensor(x), given)
    weights = [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh]
    wanted = STEP[kind](x, state, *(w.numpy() for w in weights))
    for a, b in zip(y if kind == "LSTM" else (y,), wanted, strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-10)


def test_dropout_stands_between_layers_while_training_only():
    tape.random.seed(0)
    net = nn.RNN(H, N, num_layers=2, dropout=0.5)
    x = tape.ones((T, B, N))
    assert not np.array_equal(net(x)[0].numpy(), net(x)[0].numpy())
    single = nn.RNN(H, N, dropout=0.5)
    np.testing.assert_array_equal(single(x)[0].numpy(), single(x)[0].numpy())
    net.eval()
    np.testing.assert_array_equal(net(x)[0].numpy(), net(x)[0].numpy())


def test_a_layer_called_twice_on_one_input_computes_once():
    net, x = nn.LSTM(H, N), tape.ones((T, B, N))
    with tape.Tape() as counts:
        first, again = net(x), net(x)
    assert counts.hits
    assert first[0].numpy() is again[0].numpy() or np.shares_memory(
        first[0].numpy(), again[0].numpy()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_graph_a_result_keeps_no_gates_alive(kind):
    net = getattr(nn, kind)(H, N)
    with tape.no_grad():
        y = net(tape.ones((T, B, N)))[0].numpy()
    while y.base is not None:
        y = y.base
    assert y.nbytes == T * B * H * 4


def test_a_batch_of_one_has_the_bits_of_a_larger_batch():
    net = nn.LSTM(33, 17, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((6, 7, 17)).astype(np.float32)
    whole = net(tape.tensor(x))[0].numpy()
    for i in range(7):
        np.testing.assert_array_equal(
            net(tape.tensor(x[:, i : i + 1]))[0].numpy(), whole[:, i : i + 1]
        )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_float64_to_rounding_on_every_instruction_set(isa, kind):
    net = getattr(nn, kind)(19, 7, rng=np.random.default_rng(0), bidirectional=True)
    exact = getattr(nn, kind)(19, 7, dtype=np.float64, bidirectional=True)
    exact.load_state_dict({k: v.astype(np.float64) for k, v in net.state_dict().items()})
    x = np.random.default_rng(1).standard_normal((5, 3, 7))
    table.use(isa)
    grads = []
    for layer, dtype in ((net, np.float32), (exact, np.float64)):
        y = layer(tape.tensor(x.astype(dtype)))[0]
        grads.append([y, *tape.grad((y * y).sum(), list(layer.parameters()))])
    for a, b in zip(*grads, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=2e-5)


def test_what_does_not_fit_is_said():
    net = nn.LSTM(H, N)
    with pytest.raises(tape.ShapeError, match=r"LSTM: x \(4, 2, 7\) has 7 numbers a step, not 3"):
        net(tape.zeros((T, B, 7)))
    with pytest.raises(tape.ShapeError, match=r"LSTM: x is \(3,\), expected \(T, n_in\)"):
        net(tape.zeros(3))
    with pytest.raises(tape.ShapeError, match=r"LSTM: c0 is \(1, 2, 4\), expected \(1, 2, 5\)"):
        net(tape.zeros((T, B, N)), (tape.zeros((1, B, H)), tape.zeros((1, B, 4))))
    with pytest.raises(tape.ShapeError, match="a step at least"):
        net(tape.zeros((0, B, N)))
    with pytest.raises(TypeError, match="a pair"):
        net(tape.zeros((T, B, N)), tape.zeros((1, B, H)))
    with pytest.raises(ValueError, match="proj_size is 2: projections are not supported"):
        nn.LSTM(H, proj_size=2)
    with pytest.raises(ValueError, match="nonlinearity is 'tanh' or 'relu', got 'gelu'"):
        nn.RNN(H, nonlinearity="gelu")
    with pytest.raises(ValueError, match="dropout must be in"):
        nn.GRU(H, dropout=2.0)
    with pytest.raises(tape.ShapeError, match=r"GRUCell: h is \(3, 5\), expected \(2, 5\)"):
        nn.GRUCell(H)(tape.zeros((B, N)), tape.zeros((3, H)))
