"""Normalising layers: values, running statistics, sizes, what they refuse."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tape
from tape import nn, optim
from tape.errors import DTypeError, ShapeError


def normal(*shape, seed=0, dtype="float64"):
    return tape.tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype) * 3 + 1)


LAYERS = {
    "vectors": (nn.BatchNorm1d, (6, 3)),
    "sequences": (nn.BatchNorm1d, (4, 3, 5)),
    "images": (nn.BatchNorm2d, (4, 3, 2, 5)),
    "volumes": (nn.BatchNorm3d, (2, 3, 2, 5, 2)),
}
layers = pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS)


def statistics(x):
    """Mean and biased variance of each channel, and how many numbers it has."""
    rows = np.moveaxis(np.asarray(x), 1, -1).reshape(-1, x.shape[1])
    return rows.mean(0), rows.var(0), len(rows)


def normalised(x, mean, var, eps=1e-5):
    spread = (-1,) + (1,) * (x.ndim - 2)
    return (np.asarray(x) - mean.reshape(spread)) / np.sqrt(var.reshape(spread) + eps)


@layers
def test_training_normalises_by_the_batch_and_moves_the_running_statistics(make, shape):
    layer = make(dtype="float64")
    mean, var = np.zeros(3), np.ones(3)
    for k in range(3):
        x = normal(*shape, seed=k)
        m, v, n = statistics(x)
        np.testing.assert_allclose(layer(x).numpy(), normalised(x, m, v), rtol=1e-9, atol=1e-9)
        mean, var = 0.9 * mean + 0.1 * m, 0.9 * var + 0.1 * v * n / (n - 1)
        np.testing.assert_allclose(layer.running_mean.numpy(), mean, rtol=1e-12)
        np.testing.assert_allclose(layer.running_var.numpy(), var, rtol=1e-12)
    assert layer.num_batches_tracked.item() == 3


@layers
def test_evaluation_uses_the_running_statistics_and_leaves_them(make, shape):
    layer = make(dtype="float64")
    layer(normal(*shape))
    layer.weight.assign([1.0, 2.0, 3.0])
    layer.bias.assign([0.5, 0.0, -1.0])
    before = layer.eval().state_dict()
    x = normal(*shape, seed=1)
    y = layer(x).numpy()
    spread = (-1,) + (1,) * (x.ndim - 2)
    expected = normalised(x, before["running_mean"], before["running_var"])
    expected = expected * before["weight"].reshape(spread) + before["bias"].reshape(spread)
    np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-9)
    after = layer.state_dict()
    assert all(before[path].tobytes() == after[path].tobytes() for path in before)
    assert layer(x[:1]).shape == (1, *shape[1:])  # one example is enough


def test_the_state_has_the_names_checkpoints_have():
    layer = nn.BatchNorm2d()
    layer(normal(2, 3, 2, 2))
    state = layer.state_dict()
    assert list(state) == [
        *["weight", "bias", "running_mean", "running_var", "num_batches_tracked"],
    ]
    assert [p.shape for p in layer.parameters()] == [(3,), (3,)]
    assert state["num_batches_tracked"].dtype == np.int64
    fresh = nn.BatchNorm2d()
    fresh.load_state_dict(state)
    assert fresh.n_in == 3
    x = normal(2, 3, 2, 2, seed=1)
    assert fresh.eval()(x).tolist() == layer.eval()(x).tolist()


def test_without_momentum_the_statistics_are_the_plain_average():
    layer = nn.BatchNorm1d(momentum=None, dtype="float64")
    batches = [normal(5, 2, seed=k) for k in range(4)]
    for x in batches:
        layer(x)
    means = np.mean([statistics(x)[0] for x in batches], 0)
    np.testing.assert_allclose(layer.running_mean.numpy(), means, rtol=1e-12)


def test_without_tracking_the_batch_decides_in_evaluation_too():
    layer = nn.BatchNorm1d(affine=False, track_running_stats=False)
    assert list(layer.state_dict()) == []
    assert layer.n_in is None
    x = normal(4, 2)
    assert layer(x).tolist() == layer.eval()(x).tolist()
    assert not layer(normal(1, 2)).numpy().any()


def test_gradients_flow_through_the_statistics_of_the_batch_only():
    layer = nn.BatchNorm1d(3, dtype="float64")
    x = normal(5, 3)
    x.requires_grad_()
    # Scaling and shifting a batch changes nothing, so along those directions the gradient vanishes.
    g = tape.grad((layer(x) * normal(5, 3, seed=1)).sum(), x).numpy()
    np.testing.assert_allclose(g.sum(0), 0, atol=1e-12)
    assert not layer.running_mean.requires_grad
    layer.eval()
    weight = 1 / np.sqrt(layer.running_var.numpy() + 1e-5)
    g = tape.grad(layer(x).sum(), x).numpy()
    np.testing.assert_allclose(g, np.tile(weight, (5, 1)), rtol=1e-9)


def test_a_graph_of_an_evaluation_keeps_the_statistics_it_has_seen():
    layer = nn.BatchNorm1d(2, dtype="float64")
    layer(normal(6, 2))
    x = normal(4, 2, seed=1)
    x.requires_grad_()
    y = layer.eval()(x).sum()
    expected = np.tile(1 / np.sqrt(np.array(layer.running_var) + 1e-5), (4, 1))
    layer.train()(normal(6, 2, seed=2))
    np.testing.assert_allclose(tape.grad(y, x).numpy(), expected, rtol=1e-9)


def test_the_running_statistics_are_written_in_place():
    layer = nn.BatchNorm1d(2)
    address = layer.running_mean.numpy().ctypes.data
    mean = layer.running_mean
    for k in range(3):
        layer(normal(4, 2, seed=k, dtype="float32"))
    assert layer.running_mean is mean
    assert mean.numpy().ctypes.data == address


def test_a_call_that_fails_moves_nothing():
    layer = nn.BatchNorm1d(2)
    before = layer.state_dict()
    for bad in (normal(4, 3), normal(1, 2), normal(4, 2, 1, 1)):
        with pytest.raises(ShapeError):
            layer(bad)
    after = layer.state_dict()
    assert all(before[path].tobytes() == after[path].tobytes() for path in before)


@pytest.mark.parametrize("shape", [(0, 2), (0, 2, 3), (3, 2, 0)])
def test_a_batch_of_no_numbers_normalises_to_none_and_moves_nothing(shape):
    layer = nn.BatchNorm1d(2)
    before = layer.state_dict()
    y = layer(normal(*shape, dtype="float32"))
    assert y.shape == shape
    grads = tape.grad(y.sum(), [layer.weight, layer.bias])
    assert [g.tolist() for g in grads] == [[0, 0], [0, 0]]
    after = layer.state_dict()
    assert all(before[path].tobytes() == after[path].tobytes() for path in before)


def test_layer_norm_over_axes_of_no_numbers_gives_none():
    w, b = (tape.tensor(np.ones((3, 0)), requires_grad=True) for _ in range(2))
    x = tape.tensor(np.ones((2, 3, 0)), requires_grad=True)
    y = tape.layer_norm(x, w, b, axis=(1, 2))
    assert [g.shape for g in tape.grad(y.sum(), [x, w, b])] == [(2, 3, 0), (3, 0), (3, 0)]
    assert tape.layer_norm(x, axis=-1).shape == (2, 3, 0)


def test_a_deep_copy_moves_its_own_statistics():
    layer = nn.BatchNorm1d(2)
    twin = copy.deepcopy(layer)
    twin(normal(4, 2))
    assert layer.num_batches_tracked.item() == 0
    assert not layer.running_mean.numpy().any()


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 3), st.booleans())
def test_layer_norm_makes_the_last_axes_of_each_example_standard(shape, n, affine):
    n = min(n, len(shape))
    layer = nn.LayerNorm(tuple(shape[-n:]), eps=1e-3, affine=affine, dtype="float64")
    x = normal(*shape)
    axes = tuple(range(-n, 0))
    a = x.numpy()
    mean, var = a.mean(axes, keepdims=True), a.var(axes, keepdims=True)
    expected = (a - mean) / np.sqrt(var + 1e-3)
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-9, atol=1e-9)
    assert len(list(layer.parameters())) == 2 * affine


def test_layer_norm_infers_the_last_axis_and_learns():
    layer = nn.LayerNorm()
    net = nn.Sequential(layer, nn.Dense(1))
    x, y = normal(8, 4, dtype="float32"), normal(8, 1, seed=1, dtype="float32")
    net(x)
    assert layer.weight.shape == (4,)
    optimizer = optim.SGD(net.parameters(), lr=0.05)
    losses = []
    for _ in range(50):
        optimizer.zero_grad()
        loss = tape.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert (layer.weight.numpy() != 1).all()


def test_the_reprs_show_what_is_not_as_usual():
    assert repr(nn.BatchNorm1d()) == (
        "BatchNorm1d() (in inferred): weight (?,), bias (?,), running_mean (?,), running_var (?,), "
        "num_batches_tracked (): 0+ parameters"
    )
    plain = nn.BatchNorm2d(2, 1e-3, None, affine=False, track_running_stats=False)
    assert repr(plain) == (
        "BatchNorm2d(eps=0.001, momentum='average', affine=False, track_running_stats=False)"
    )
    assert (
        repr(nn.LayerNorm((2, 3), 0.1, affine=False)) == "LayerNorm((2, 3), eps=0.1, affine=False)"
    )
    assert (
        repr(nn.LayerNorm()) == "LayerNorm() (in inferred): weight (?,), bias (?,): 0+ parameters"
    )


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: nn.BatchNorm1d(-1), ValueError, "BatchNorm1d: n_in must be at least 0"),
        (lambda: nn.BatchNorm2d(eps=-1), ValueError, "BatchNorm2d: eps must be at least 0"),
        (lambda: nn.BatchNorm2d(momentum=2), ValueError, r"momentum must be in \[0, 1\], got 2"),
        (lambda: nn.BatchNorm1d(momentum="a"), TypeError, "BatchNorm1d: momentum must be a number"),
        (
            lambda: nn.BatchNorm1d(eps=None),
            TypeError,
            "BatchNorm1d: eps must be a number, got None",
        ),
        (lambda: nn.BatchNorm1d()(normal(4)), ShapeError, r"x \(4,\) needs at least 2 axes"),
        (
            lambda: nn.BatchNorm2d()(normal(4, 2)),
            ShapeError,
            r"x must be \(N, C, H, W\), got \(4, 2",
        ),
        (lambda: nn.BatchNorm1d(2)(normal(4, 3)), ShapeError, r"weight \(2,\) for 3 channels"),
        (
            lambda: nn.BatchNorm1d()(normal(1, 3)),
            ShapeError,
            "one number a channel has no variance",
        ),
        (lambda: nn.BatchNorm1d()([[1.0]]), DTypeError, "takes a tensor or an array, got a list"),
        (lambda: nn.LayerNorm(()), ValueError, "LayerNorm: n_in takes sizes, or None"),
        (lambda: nn.LayerNorm((None, 2)), ValueError, "LayerNorm: n_in takes sizes, or None"),
        (lambda: nn.LayerNorm(eps=-1), ValueError, "LayerNorm: eps must be at least 0"),
        (lambda: nn.LayerNorm(eps="a"), TypeError, "LayerNorm: eps must be a number, got 'a'"),
        (lambda: nn.LayerNorm(3)(normal(2, 4)), ShapeError, r"x \(2, 4\) does not end in .*\(3,\)"),
        (lambda: nn.LayerNorm((3, 4))(normal(4)), ShapeError, r"x \(4,\) needs at least 2 axes"),
    ],
)
def test_slips_with_normalising_layers_are_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda **k: nn.BatchNorm1d(3, **k), (6, 3)),
        (lambda **k: nn.LayerNorm(3, **k), (6, 3)),
        (lambda **k: nn.GroupNorm(3, 3, **k), (6, 3, 4)),
        (lambda **k: nn.InstanceNorm1d(3, affine=True, **k), (6, 3, 4)),
    ],
)
def test_a_weight_may_stand_without_a_bias(make, shape):
    layer, full = make(bias=False, dtype="float64"), make(dtype="float64")
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    x = normal(*shape)
    assert layer(x).tolist() == full(x).tolist()
    assert "bias=False" in repr(layer)
