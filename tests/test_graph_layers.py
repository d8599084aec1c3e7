"""A clone of every layer, recorded at one batch and run at others, gives what the layer gives."""

import numpy as np
import pytest

import tape
from tape import nn


def encoder(**settings):
    return nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, **settings)


def first(layer):
    return layer >> nn.Lambda(lambda parts: parts[0])


def attending(**settings):
    layer = nn.MultiHeadAttention(8, 2, batch_first=True, **settings)
    return nn.Lambda(lambda x: layer(x, x, x)[0])


LINE, IMAGE, VOLUME = (3, 4, 8), (3, 4, 8, 6), (3, 2, 5, 6, 4)

# Layers, and the shapes they take; the first axis is the batch.
LAYERS = {
    "Dense": (nn.Dense(5), (3, 4)),
    "Dense of sequences": (nn.Dense(5), LINE),
    "Dense with an activation": (nn.Dense(5, activation=tape.gelu), (3, 4)),
    "Sequential": (nn.Sequential(nn.Dense(5), tape.relu, nn.Dropout(), nn.Dense(2)), (3, 4)),
    "Residual": (nn.Residual(nn.Dense(4)), (3, 4)),
    "Flatten": (nn.Flatten() >> nn.Dense(2), IMAGE),
    "Conv1d": (nn.Conv1d(5, 3, padding="same"), LINE),
    "Conv2d": (nn.Conv2d(5, 3, stride=2, padding=1), IMAGE),
    "Conv2d in groups": (nn.Conv2d(4, 3, groups=2, activation=tape.relu), IMAGE),
    "Conv3d": (nn.Conv3d(2, 3, padding=1), VOLUME),
    "ConvTranspose1d": (nn.ConvTranspose1d(5, 3, stride=2, output_padding=1), LINE),
    "ConvTranspose2d": (nn.ConvTranspose2d(5, 3, stride=2), IMAGE),
    "MaxPool1d": (nn.MaxPool1d(2), LINE),
    "MaxPool2d": (nn.MaxPool2d(2), IMAGE),
    "AvgPool1d": (nn.AvgPool1d(2, padding=1), LINE),
    "AvgPool2d": (nn.AvgPool2d(3, ceil_mode=True), IMAGE),
    "AdaptiveAvgPool1d": (nn.AdaptiveAvgPool1d(3), LINE),
    "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d((2, None)), IMAGE),
    "AdaptiveAvgPool2d of all": (nn.AdaptiveAvgPool2d(1) >> nn.Flatten(), IMAGE),
    "AdaptiveMaxPool1d": (nn.AdaptiveMaxPool1d(3), LINE),
    "AdaptiveMaxPool2d": (nn.AdaptiveMaxPool2d(2), IMAGE),
    "BatchNorm1d": (nn.BatchNorm1d(), LINE),
    "BatchNorm2d": (nn.BatchNorm2d(), IMAGE),
    "BatchNorm3d": (nn.BatchNorm3d(), VOLUME),
    "LayerNorm": (nn.LayerNorm(), LINE),
    "LayerNorm of two axes": (nn.LayerNorm((4, 8)), LINE),
    "RMSNorm": (nn.RMSNorm(), LINE),
    "RMSNorm of two axes": (nn.RMSNorm((4, 8)), LINE),
    "GroupNorm": (nn.GroupNorm(2), IMAGE),
    "GroupNorm of one": (nn.GroupNorm(1), IMAGE),
    "InstanceNorm1d": (nn.InstanceNorm1d(affine=True), LINE),
    "InstanceNorm2d": (nn.InstanceNorm2d(track_running_stats=True), IMAGE),
    "InstanceNorm3d": (nn.InstanceNorm3d(), VOLUME),
    "GLU": (nn.GLU(1), LINE),
    "PReLU": (nn.PReLU(4), LINE),
    "Softmax": (nn.Softmax(1), LINE),
    "LogSoftmax": (nn.LogSoftmax(-1), LINE),
    "Softmin": (nn.Softmin(1), LINE),
    "GELU": (nn.GELU(), LINE),
    "Dropout1d": (nn.Dropout1d(), LINE),
    "Dropout2d": (nn.Dropout2d(), IMAGE),
    "AlphaDropout": (nn.AlphaDropout(), LINE),
    "FeatureAlphaDropout": (nn.FeatureAlphaDropout(), LINE),
    "Upsample": (nn.Upsample(scale_factor=2), IMAGE),
    "Upsample bilinear": (nn.Upsample(size=(5, 9), mode="bilinear"), IMAGE),
    "Upsample of lines": (nn.Upsample(scale_factor=1.5, mode="linear"), LINE),
    "PixelShuffle": (nn.PixelShuffle(2), IMAGE),
    "PixelUnshuffle": (nn.PixelUnshuffle(2), IMAGE),
    "Unfold": (nn.Unfold(2), IMAGE),
    "Unfold and Fold": (nn.Unfold(2) >> nn.Fold((8, 6), 2), IMAGE),
    "ZeroPad1d": (nn.ZeroPad1d((1, 2)), LINE),
    "ZeroPad2d that cuts": (nn.ZeroPad2d((1, -2, 0, 3)), IMAGE),
    "ConstantPad3d": (nn.ConstantPad3d(1, 2.0), VOLUME),
    "ReflectionPad2d": (nn.ReflectionPad2d(2), IMAGE),
    "ReplicationPad1d": (nn.ReplicationPad1d(2), LINE),
    "CircularPad2d": (nn.CircularPad2d((1, 2, 0, 1)), IMAGE),
    "RNN": (first(nn.RNN(5, batch_first=True, nonlinearity="relu")), LINE),
    "GRU": (first(nn.GRU(5, batch_first=True, bidirectional=True)), LINE),
    "LSTM": (first(nn.LSTM(5, num_layers=2, batch_first=True)), LINE),
    "LSTM in both directions": (first(nn.LSTM(5, batch_first=True, bidirectional=True)), LINE),
    "last state of LSTM": (nn.LSTM(5, batch_first=True) >> (lambda y: y[1][0][0]), LINE),
    "RNNCell": (nn.RNNCell(5), (3, 4)),
    "GRUCell": (nn.GRUCell(5), (3, 4)),
    "LSTMCell": (first(nn.LSTMCell(5)), (3, 4)),
    "MultiHeadAttention": (attending(), LINE),
    "MultiHeadAttention with zeros": (attending(add_bias_kv=True, add_zero_attn=True), LINE),
    "TransformerEncoderLayer": (encoder(batch_first=True), LINE),
    "TransformerEncoderLayer first": (encoder(batch_first=True, norm_first=True), LINE),
    "TransformerEncoder": (nn.TransformerEncoder(encoder(batch_first=True), 2), LINE),
}

# Layers that are refused at other batches, and why.
REFUSED = {
    "MultiHeadAttention with zeros": "keys that do not come from the input are made for each batch",
}


def data(*shape):
    return tape.tensor(np.random.default_rng(0).standard_normal(shape).astype("f"))


def cut(name):
    """A layer, a clone of what it records for data of a shape, and the shape."""
    layer, shape = LAYERS[name]
    layer(data(*shape))
    if hasattr(layer, "eval"):
        layer.eval()
    x = data(*shape).named("x")
    return layer, tape.clone_function(x, layer(x), "shared"), shape


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_runs_at_other_batches(name):
    layer, clone, shape = cut(name)
    for n in (1, 2, 5, 6, 3):
        x = data(n, *shape[1:])
        if name in REFUSED and n != 3:
            with pytest.raises(tape.GuardError):
                clone(x)
            continue
        np.testing.assert_array_equal(clone(x).numpy(), layer(x).numpy())


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_at_other_lengths_is_right_or_raises(name):
    layer, clone, shape = cut(name)
    for axis in range(1, len(shape)):
        for n in (1, shape[axis] + 1, 2 * shape[axis]):
            x = data(*[n if at == axis else m for at, m in enumerate(shape)])
            try:
                y = clone(x)
            except tape.TapeError:
                continue
            np.testing.assert_allclose(y.numpy(), layer(x).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("Conv1d", (2, 4, 11)),
        ("Conv2d", (2, 4, 11, 9)),
        ("Conv3d", (2, 2, 5, 8, 7)),
        ("MaxPool2d", (1, 4, 9, 4)),
        ("AdaptiveAvgPool2d of all", (2, 4, 3, 3)),
        ("BatchNorm2d", (2, 4, 3, 3)),
        ("ZeroPad1d", (2, 4, 9)),
        ("PixelShuffle", (2, 4, 3, 3)),
        ("LSTM", (2, 7, 8)),
        ("GRU", (2, 7, 8)),
        ("TransformerEncoder", (2, 9, 8)),
        ("MultiHeadAttention", (2, 9, 8)),
    ],
)
def test_layers_that_take_other_lengths_do(name, shape):
    layer, clone, _ = cut(name)
    x = data(*shape)
    np.testing.assert_array_equal(clone(x).numpy(), layer(x).numpy())


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_recorded_for_one_example_is_right_for_more_or_raises(name):
    layer, shape = LAYERS[name]
    layer(data(*shape))
    if hasattr(layer, "eval"):
        layer.eval()
    x = data(1, *shape[1:]).named("x")
    clone = tape.clone_function(x, layer(x), "shared")
    for n in (1, 2, 5):
        x = data(n, *shape[1:])
        try:
            y = clone(x)
        except tape.TapeError:
            assert n > 1
            continue
        np.testing.assert_allclose(y.numpy(), layer(x).numpy(), rtol=1e-5, atol=1e-6)
