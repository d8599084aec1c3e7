"""A clone for other sizes than it was recorded with: what the layers give, or an error."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tape
from tape import nn

LAYERS = {  # a layer, and the shape it is recorded with
    "conv1d": (lambda: nn.Conv1d(4, 3), (2, 3, 10)),
    "conv1d of one": (lambda: nn.Conv1d(4, 3), (3, 10)),
    "conv2d of one": (lambda: nn.Conv2d(4, 3), (3, 6, 7)),
    "conv3d": (lambda: nn.Conv3d(2, 2), (2, 3, 4, 5, 3)),
    "transposed": (lambda: nn.ConvTranspose1d(4, 3), (2, 3, 10)),
    "max pool": (lambda: nn.MaxPool1d(2), (2, 3, 10)),
    "mean pool": (lambda: nn.AvgPool1d(3), (2, 3, 10)),
    "mean pool of one": (lambda: nn.AvgPool2d(2), (4, 8, 6)),
    "bins": (lambda: nn.AdaptiveAvgPool2d(2), (3, 5, 8, 8)),
    "bins of a sequence": (lambda: nn.AdaptiveAvgPool1d(2), (3, 5, 10)),
    "uneven bins": (lambda: nn.AdaptiveAvgPool2d(3), (3, 5, 8, 7)),
    "largest in bins": (lambda: nn.AdaptiveMaxPool2d(2), (3, 5, 8, 8)),
    "group norm": (lambda: nn.GroupNorm(2), (2, 4, 6, 3)),
    "one group": (lambda: nn.GroupNorm(1), (2, 4, 6, 3)),
    "instance norm": (lambda: nn.InstanceNorm2d(), (2, 4, 6, 3)),
    "instance norm of one": (lambda: nn.InstanceNorm2d(), (4, 6, 3)),
    "pixels": (lambda: nn.PixelShuffle(2), (2, 4, 3, 3)),
    "unpixels": (lambda: nn.PixelUnshuffle(2), (2, 3, 2, 6)),
    "lstm cell": (lambda: nn.LSTMCell(5) >> (lambda states: states[0]), (7, 3)),
    "gru cell": (lambda: nn.GRUCell(5), (7, 3)),
    "rnn cell": (lambda: nn.RNNCell(5), (7, 3)),
    "attention": (lambda: nn.TransformerEncoderLayer(8, nhead=2, batch_first=True), (3, 5, 8)),
}


def data(*shape):
    return tape.tensor(np.random.default_rng(0).standard_normal(shape).astype("f"))


def cut(layer, shape):
    """The layer, in eval mode, and a clone of what it recorded for data of this shape."""
    layer(data(*shape))
    layer.eval()
    x = data(*shape).named("x")
    return layer, tape.clone_function(x, layer(x), "shared")


@given(st.sampled_from(sorted(LAYERS)), st.data())
@example("conv1d", None)
@example("bins", None)
@example("lstm cell", None)
@example("unpixels", None)
@example("group norm", None)
def test_a_clone_for_other_sizes_gives_what_the_layer_gives_or_raises(name, draw):
    make, shape = LAYERS[name]
    layer, clone = cut(make(), shape)
    others = [tuple([2 * n if i == at else n for i, n in enumerate(shape)]) for at in (0, -1, -2)]
    if draw is not None:
        factors = draw.draw(st.tuples(*[st.sampled_from([1, 2, 3, 0.5]) for _ in shape]))
        others = [tuple([max(1, int(n * f)) for n, f in zip(shape, factors, strict=True)])]
    for other in others:
        x = data(*other)
        try:
            y = clone(x)
        except tape.TapeError:
            continue
        expected = layer(x)
        assert y.shape == expected.shape, (name, other)
        np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("conv1d", (4, 3, 20)),
        ("conv1d of one", (3, 20)),
        ("conv2d of one", (3, 12, 9)),
        ("max pool", (2, 3, 20)),
        ("mean pool", (2, 3, 20)),
        ("bins", (6, 5, 8, 8)),
        ("group norm", (4, 4, 6, 3)),
        ("lstm cell", (14, 3)),
        ("gru cell", (6, 3)),
        ("rnn cell", (21, 3)),
    ],
)
def test_longer_sequences_and_larger_batches_run(name, other):
    make, shape = LAYERS[name]
    layer, clone = cut(make(), shape)
    x = data(*other)
    assert clone(x).tolist() == layer(x).tolist()


def test_a_cell_that_is_unrolled_over_time_runs_for_other_batches():
    cell = nn.LSTMCell(5)

    def last(x):
        state = None
        for t in range(4):
            state = cell(x[:, t], state)
        return state[0]

    x = data(7, 4, 3).named("x")
    clone = tape.clone_function(x, last(x))
    for n in (1, 6, 14):
        assert clone(data(n, 4, 3)).tolist() == last(data(n, 4, 3)).tolist()


def test_a_split_that_does_not_tell_which_size_changes_is_refused():
    x = data(2, 6).named("x")
    clone = tape.clone_function(x, x.reshape((2, 2, 3)) * 0.7)
    assert clone(data(4, 6)).shape == (4, 2, 3)
    for other in ((2, 12), (2, 9), (2, 4)):
        with pytest.raises(tape.GuardError, match=r"\(6,\) became \(2, 3\), which does not tell"):
            clone(data(*other))
    x, z = data(2, 6).named("x"), data(2, 12)
    clone = tape.clone_function(x, x.reshape((2, -1, 3)) * 0.7)
    assert clone(z).tolist() == (z.reshape((2, -1, 3)) * 0.7).tolist()
    with pytest.raises(tape.GuardError):
        clone(data(2, 8))


def test_the_scale_of_attention_is_that_of_the_size_it_came_from():
    x = data(5, 6, 8).named("x")
    clone = tape.clone_function(x, tape.scaled_dot_product_attention(x, x, x))
    z = data(10, 7, 8)
    assert clone(z).tolist() == tape.scaled_dot_product_attention(z, z, z).tolist()
    with pytest.raises(tape.GuardError, match="a size was 8 and is 4"):
        clone(data(5, 6, 4))
