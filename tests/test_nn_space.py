"""Layers over sequences, images and volumes: they are the ops, with sizes of their own."""

import copy

import numpy as np
import pytest

import tape
from tape import nn
from tape.errors import ShapeError


def normal(*shape, seed=0):
    values = np.random.default_rng(seed).standard_normal(shape) * 3 + 1
    return tape.tensor(values, dtype="float64")


def test_convolutions_are_the_ops_with_weight_and_bias_of_their_own():
    x = normal(2, 4, 9)
    layer = nn.Conv1d(6, 3, 2, 1, 1, 2, init_bias=nn.init.ones, dtype="float64")
    y = layer(x)
    assert (layer.n_in, layer.weight.shape) == (4, (6, 2, 3))
    assert y.tolist() == tape.conv1d(x, layer.weight, layer.bias, 2, 1, 1, 2).tolist()
    assert layer(x[0]).tolist() == y[0].tolist()
    volume = normal(1, 2, 3, 4, 5)
    layer = nn.Conv3d(4, (1, 2, 3), padding="same", activation=tape.tanh, dtype="float64")
    y = layer(volume)
    assert (layer.n_in, layer.weight.shape) == (2, (4, 2, 1, 2, 3))
    direct = tape.conv3d(volume, layer.weight, layer.bias, padding="same", activation=tape.tanh)
    assert y.tolist() == direct.tolist()
    assert y.shape == (1, 4, 3, 4, 5)


@pytest.mark.parametrize(
    ("make", "op", "x"),
    [
        (nn.ConvTranspose1d, tape.conv_transpose1d, normal(2, 4, 5)),
        (nn.ConvTranspose2d, tape.conv_transpose2d, normal(2, 4, 5, 3)),
    ],
)
def test_transposed_convolutions_are_the_ops_with_weight_and_bias_of_their_own(make, op, x):
    layer = make(6, 3, 2, 1, 1, 2, init_bias=nn.init.ones, dtype="float64")
    assert layer.n_in is None
    y = layer(x)
    assert (layer.n_in, layer.weight.shape[:2]) == (4, (4, 3))
    assert y.tolist() == op(x, layer.weight, layer.bias, 2, 1, 1, 2).tolist()
    assert layer(x[0]).tolist() == y[0].tolist()
    rectified = make(6, 3, activation=tape.relu, bias=False, dtype="float64")
    y = rectified(x)
    assert y.tolist() == tape.relu(op(x, rectified.weight)).tolist()


def test_layers_are_written_as_they_are_made():
    assert repr(nn.Conv1d(8, 3, 2, n_in=4)).startswith("Conv1d(8, 3, stride=2): weight (8, 4, 3)")
    assert repr(nn.Conv3d(8, (1, 3, 3), n_in=2)).startswith("Conv3d(8, (1, 3, 3)): weight (8, 2,")
    assert repr(nn.ConvTranspose1d(8, 3, 2, 1, 1, n_in=4)).startswith(
        "ConvTranspose1d(8, 3, stride=2, padding=1, output_padding=1): weight (4, 8, 3)"
    )
    assert repr(nn.MaxPool1d(3, 2, 1)) == "MaxPool1d(3, stride=2, padding=1)"
    assert repr(nn.AvgPool1d(3)) == "AvgPool1d(3)"
    assert repr(nn.AdaptiveAvgPool2d(1)) == "AdaptiveAvgPool2d(1)"
    assert repr(nn.AdaptiveMaxPool2d((1, None))) == "AdaptiveMaxPool2d((1, None))"
    assert repr(nn.Upsample(scale_factor=2, mode="bilinear")) == (
        "Upsample(scale_factor=2, mode='bilinear')"
    )
    assert repr(nn.Unfold(3, stride=2)) == "Unfold(3, stride=2)"
    assert repr(nn.InstanceNorm2d(affine=True, n_in=2)).startswith("InstanceNorm2d(affine=True)")
    assert repr(nn.RMSNorm(4, affine=False)) == "RMSNorm((4,), affine=False)"
    assert repr(nn.GroupNorm(2, 4)).startswith("GroupNorm(2): weight (4,), bias (4,)")


X, S = normal(2, 4, 6, 7), normal(2, 4, 9)
PLAIN = [
    (nn.MaxPool1d(3, 2, 1, 1, True), tape.max_pool1d(S, 3, 2, 1, 1, True), S),
    (nn.AvgPool1d(3, 2, 1, True, False), tape.avg_pool1d(S, 3, 2, 1, True, False), S),
    (nn.AdaptiveAvgPool1d(4), tape.adaptive_avg_pool1d(S, 4), S),
    (nn.AdaptiveMaxPool1d(4), tape.adaptive_max_pool1d(S, 4), S),
    (nn.AdaptiveAvgPool2d((4, None)), tape.adaptive_avg_pool2d(X, (4, 7)), X),
    (nn.AdaptiveMaxPool2d(2), tape.adaptive_max_pool2d(X, 2), X),
    (nn.Upsample((3, 9)), tape.interpolate(X, (3, 9)), X),
    (
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        tape.interpolate(X, scale_factor=2, mode="bilinear", align_corners=True),
        X,
    ),
    (nn.PixelShuffle(2), tape.pixel_shuffle(X, 2), X),
    (nn.PixelUnshuffle(1), X, X),
    (nn.Unfold((2, 3), 1, 1, 2), tape.unfold(X, (2, 3), 1, 1, 2), X),
    (nn.Fold((4, 3), 2), tape.fold(normal(1, 4, 6), (4, 3), 2), normal(1, 4, 6)),
    (nn.GroupNorm(2, dtype="float64"), tape.group_norm(X, 2), X),
    (nn.InstanceNorm1d(dtype="float64"), tape.instance_norm(S), S),
    (nn.InstanceNorm2d(affine=True, dtype="float64"), tape.instance_norm(X), X),
    (nn.RMSNorm(dtype="float64"), tape.rms_norm(X), X),
    (nn.RMSNorm((6, 7), eps=0.1, dtype="float64"), tape.rms_norm(X, axis=(2, 3), eps=0.1), X),
]


@pytest.mark.parametrize(("layer", "y", "x"), PLAIN, ids=lambda part: type(part).__name__)
def test_layers_are_the_ops(layer, y, x):
    np.testing.assert_allclose(layer(x).numpy(), y.numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (nn.InstanceNorm1d, (3, 2, 5)),
        (nn.InstanceNorm2d, (3, 2, 4, 5)),
        (nn.InstanceNorm3d, (3, 2, 4, 5, 2)),
    ],
)
def test_instance_norm_keeps_running_statistics_if_asked_to(make, shape):
    layer = make(track_running_stats=True, dtype="float64")
    x = normal(*shape)
    rows = x.numpy().reshape(3, 2, -1)
    y = layer(x)
    assert y.tolist() == tape.instance_norm(x).tolist()
    mean, var = rows.mean((0, 2)), rows.var(2, ddof=1).mean(0)
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.1 * mean, rtol=1e-12)
    np.testing.assert_allclose(layer.running_var.numpy(), 0.9 + 0.1 * var, rtol=1e-12)
    before = copy.deepcopy(layer.state_dict())
    used = layer.eval()(x)
    expected = tape.batch_norm(x, mean=layer.running_mean, var=layer.running_var)
    assert used.tolist() == expected.tolist()
    assert layer(x[0]).tolist() == used[0].tolist()
    assert {k: v.tolist() for k, v in before.items()} == {
        k: v.tolist() for k, v in layer.state_dict().items()
    }


REFUSED = [
    (lambda: nn.Conv1d(4, (2, 2)), ShapeError, "Conv1d: kernel is an integer or a tuple of one"),
    (lambda: nn.Conv3d(4, 2, stride=(1, 2)), ShapeError, "Conv3d: stride is an integer or 3"),
    (lambda: nn.Conv1d(4, 2, 0), ValueError, "Conv1d: stride must be at least 1, got 0"),
    (lambda: nn.Conv1d(4, 2, padding="full"), ShapeError, "Conv1d: padding is numbers"),
    (lambda: nn.Conv1d(4, 2, n_in=3, groups=2), ShapeError, "Conv1d: 2 groups do not divide n_in"),
    (
        *(lambda: nn.ConvTranspose2d(4, 2, output_padding=1), ShapeError),
        "ConvTranspose2d: output_padding 1 must be less than stride 1",
    ),
    (
        lambda: nn.ConvTranspose1d(4, 2, padding="same"),
        ShapeError,
        "ConvTranspose1d: padding is an",
    ),
    (lambda: nn.ConvTranspose2d(4, 2, groups=2)(normal(1, 3, 4, 4)), ShapeError, "n_in = 3"),
    (lambda: nn.ConvTranspose2d(4, 2, n_in=2)(X), ShapeError, "x has 4 channels, w is for 2"),
    (lambda: nn.MaxPool1d(2, padding=2), ShapeError, "MaxPool1d: padding .* more than half"),
    (lambda: nn.AdaptiveAvgPool2d((1, 2, 3)), ShapeError, "AdaptiveAvgPool2d: output_size is an"),
    (lambda: nn.AdaptiveAvgPool1d(-1), ValueError, "AdaptiveAvgPool1d: output_size must be"),
    (lambda: nn.Upsample(), ValueError, "Upsample: takes either size or scale_factor"),
    (lambda: nn.Upsample(2, mode="cubic"), ValueError, "Upsample: mode 'cubic' is none of"),
    (lambda: nn.PixelShuffle(0), ValueError, "PixelShuffle: upscale_factor must be at least 1"),
    (lambda: nn.GroupNorm(4, 6), ShapeError, "GroupNorm: 4 groups do not divide n_in = 6"),
    (lambda: nn.GroupNorm(3)(X), ShapeError, "group_norm: num_groups = 3 does not divide"),
    (lambda: nn.InstanceNorm2d()(S[0]), ShapeError, r"instance_norm|InstanceNorm2d"),
    (lambda: nn.InstanceNorm1d()(X), ShapeError, r"InstanceNorm1d: x must be \(N, C, L\) or"),
    (lambda: nn.RMSNorm(5)(X), ShapeError, r"RMSNorm: x \(2, 4, 6, 7\) does not end in"),
]


@pytest.mark.parametrize(("call", "error", "match"), REFUSED)
def test_what_does_not_fit_is_refused_in_the_layers_name(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_a_network_of_sequences_infers_every_size_and_learns():
    net = nn.Sequential(
        *(nn.Conv1d(8, 3, padding="same"), nn.GroupNorm(2), nn.MaxPool1d(2)),
        *(nn.ConvTranspose1d(4, 2, 2), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Dense(2)),
    )
    x = tape.tensor(normal(3, 5, 8), dtype="float32")
    loss = tape.cross_entropy(net(x), [0, 1, 1])
    loss.backward()
    assert net[0].n_in == 5
    assert net[3].n_in == 8
    assert all(p.grad is not None and np.isfinite(p.grad.numpy()).all() for p in net.parameters())


FRAMES = [
    ("ConstantPad", "constant", (2.5,)),
    ("ZeroPad", "constant", ()),
    ("ReflectionPad", "reflect", ()),
    ("ReplicationPad", "replicate", ()),
    ("CircularPad", "circular", ()),
]


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize(("name", "mode", "value"), FRAMES)
def test_frames_are_given_last_axis_first(name, mode, value, n):
    make, x = getattr(nn, f"{name}{n}d"), normal(2, 3, *(3, 4, 5)[-n:])
    sides = (1, 2, 0, 3, -1, 1)[: 2 * n]
    pairs = [(0, 0), (0, 0), *[sides[2 * i : 2 * i + 2] for i in range(n)][::-1]]
    y = make(sides, *value)(x)
    assert y.tolist() == tape.pad(x, pairs, mode, *value).tolist()
    assert make(sides, *value)(x[0]).tolist() == y[0].tolist()
    around = tape.pad(x, [(0, 0)] * 2 + [(1, 1)] * n, mode, *value)
    assert make(1, *value)(x).tolist() == around.tolist()


def test_frames_that_do_not_fit_are_refused():
    assert repr(nn.ConstantPad2d((1, 2, 0, 0), 3.0)) == "ConstantPad2d((1, 2, 0, 0), value=3.0)"
    with pytest.raises(ValueError, match="ZeroPad2d: padding is an integer, or 4 of them, got"):
        nn.ZeroPad2d((1, 2))
    with pytest.raises(ValueError, match="ReflectionPad1d: padding is an integer, or 2 of them"):
        nn.ReflectionPad1d(1.5)
    with pytest.raises(ShapeError, match=r"CircularPad1d: x \(3,\) has not 3 axes, nor 2"):
        nn.CircularPad1d(1)(normal(3))
    with pytest.raises(ShapeError, match="pad: "):
        nn.ReflectionPad1d(3)(normal(1, 3))


@pytest.mark.parametrize(
    ("layer", "function", "shape"),
    [(nn.MaxPool1d, tape.max_pool1d, (2, 3, 8)), (nn.MaxPool2d, tape.max_pool2d, (2, 3, 8, 6))],
)
def test_layers_of_max_pooling_give_indices_too(layer, function, shape):
    x = tape.tensor(np.random.default_rng(0).normal(size=shape))
    pool = layer(2, return_indices=True)
    for given, wanted in zip(pool(x), function(x, 2, return_indices=True), strict=True):
        assert given.tolist() == wanted.tolist()
    assert "return_indices=True" in repr(pool)
