"""Convolutions of floats that give packed signs: the bits of the floats, that are never written."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from isas import ISAS, beside_a_guard

import tape
from tape import nn
from tape._kernels import table
from tape._kernels.bits import pack
from tape._kernels.conv import conv2d, conv2d_signs
from tape.errors import DTypeError, GradError, ShapeError, TapeError
from tape.netopt import quantization as q
from tape.netopt.quantization.folded import Folded
from tape.netopt.quantization.native import BitMaxPool2d
from tape.netopt.quantization.sign_conv import SignConv2d
from tape.ops.geometry import Geometry

RULES = "negative", "not positive"
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
edges = st.tuples(st.integers(0, 2), st.integers(0, 2))


@st.composite
def convolutions(draw):
    """(x, w, b, geometry): numbers of which many sums are 0, some infinite, some NaN."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    dtype = draw(st.sampled_from(["f", "d"]))
    n, channels = draw(st.integers(0, 2)), draw(st.integers(1, 3))
    filters = draw(st.sampled_from([1, 2, 3, 5, 16, 31, 32, 33, 48, 70]))
    image = draw(st.tuples(st.integers(1, 9), st.sampled_from([1, 3, 8, 17, 40, 70])))
    window = draw(pairs)
    geometry = Geometry(draw(pairs), (draw(edges), draw(edges)), draw(pairs))
    spans = [d * (k - 1) + 1 for d, k in zip(geometry.dilation, window, strict=True)]
    sides = [size + sum(p) for size, p in zip(image, geometry.padding, strict=True)]
    assume(all(side >= span for side, span in zip(sides, spans, strict=True)))
    x = rng.integers(-2, 3, (n, channels, *image)).astype(dtype)
    w = rng.integers(-1, 2, (filters, channels, *window)).astype(dtype)
    if draw(st.booleans()):
        x, w = x * rng.random(x.shape).astype(dtype), w * rng.random(w.shape).astype(dtype)
    if draw(st.booleans()):
        x[rng.random(x.shape) < 0.02] = np.nan
        x[rng.random(x.shape) < 0.02] = np.inf
    b = draw(st.sampled_from([None, rng.integers(-2, 3, filters).astype(dtype)]))
    return x, w, b, geometry


def floats_first(x, w, b, geometry, rule, border):
    """The signs by way of the floats."""
    return pack(conv2d(x, w, *geometry[:3], 1, b), 1, rule, 1.0, border)


@given(convolutions(), st.sampled_from(RULES), st.tuples(*[st.integers(0, 2)] * 4))
def test_the_signs_are_those_of_the_floats(drawn, rule, border):
    x, w, b, geometry = drawn
    with np.errstate(all="ignore"):
        for isa in ISAS:
            table.use(isa)
            expected = floats_first(*drawn, rule, border)
            found = conv2d_signs(x, w, *geometry[:3], b, rule, border)
            assert found.shape == expected.shape
            assert found.border == expected.border
            np.testing.assert_array_equal(found.words, expected.words)


@pytest.mark.parametrize("isa", ISAS)
def test_nothing_beyond_the_operands_is_read(isa):
    table.use(isa)
    rng = np.random.default_rng(0)
    for channels, filters, size in [(1, 32, 28), (3, 5, 17), (2, 1, 33), (5, 48, 6)]:
        for dtype in "fd":
            x, w = rng.standard_normal((1, channels, size, size)), None
            w = rng.standard_normal((filters, channels, 3, 3))
            x, w, b = (beside_a_guard(a.astype(dtype)) for a in (x, w, rng.random(filters)))
            geometry = Geometry(padding=((1, 1), (1, 1)))
            found = conv2d_signs(x, w, *geometry[:3], b)
            expected = floats_first(x, w, b, geometry, "negative", (0, 0, 0, 0))
            np.testing.assert_array_equal(found.words, expected.words)


def test_many_threads_give_the_signs_of_one():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((8, 16, 40, 40), "f"), rng.standard_normal((33, 16, 3, 3), "f")
    found = []
    for threads in (1, 3):
        tape.set_num_threads(threads)
        found.append(conv2d_signs(x, w, *Geometry()[:3]).words)
    np.testing.assert_array_equal(*found)


def test_what_does_not_fit_is_refused():
    x, w = np.ones((1, 2, 4, 4), "f"), np.ones((3, 2, 3, 3), "f")
    plain = Geometry()[:3]
    with pytest.raises(ValueError, match="x has 2 channels, w expects 1"):
        conv2d_signs(x, w[:, :1], *plain)
    with pytest.raises(ValueError, match=r"height is only 0 \+ 2"):
        conv2d_signs(x[:, :, :2], w, *plain)
    with pytest.raises(TypeError, match="int64"):
        conv2d_signs(x.astype(int), w, *plain)
    with pytest.raises(ValueError, match="four axes"):
        conv2d_signs(x[0], w, *plain)


def normal(*shape, seed=0):
    return tape.tensor(np.random.default_rng(seed).standard_normal(shape).astype("f"))


def network(*between, n_in=1, zero=-1, **settings):
    """A convolution of floats, what stands between, a binary one that gives numbers."""
    settings = {"activation": tape.relu, **settings}
    net = nn.Sequential(
        nn.Conv2d(33, 3, padding=1, n_in=n_in, init_bias=nn.init.normal(0, 0.3), **settings),
        *between,
        q.BinaryConv2d(20, 3, padding=(1, 2), n_in=33, zero=zero),
    )
    return net.eval()


STEPS = [
    (),
    (nn.MaxPool2d(3, 2),),
    (nn.Dropout(), nn.ReLU(), nn.MaxPool2d(2, padding=1), nn.Tanh()),
]


@pytest.mark.parametrize("between", STEPS)
@pytest.mark.parametrize("bias", [True, False])
def test_a_first_convolution_gives_bits_and_nothing_changes(between, bias):
    net, x = network(*between, bias=bias), normal(2, 1, 13, 12)
    low, report = q.convert_to_native_binary_convolution(net, x=x, return_report=True)
    kinds = [BitMaxPool2d if isinstance(step, nn.MaxPool2d) else Folded for step in between]
    assert [type(m) for m in low] == [SignConv2d, *kinds, q.NativeBinaryConv2d]
    assert report[""].action == "1 layers give bits"
    np.testing.assert_array_equal(low(x).numpy(), net(x).numpy())
    for other in (x[0], x[:0], x.numpy().transpose(1, 0, 3, 2).copy().transpose(1, 0, 3, 2)):
        np.testing.assert_array_equal(low(other).numpy(), net(other).numpy())
    wide = x.numpy().astype("d")
    np.testing.assert_allclose(low(wide).numpy(), net(wide).numpy(), rtol=1e-6)
    assert sorted(low[0].state_dict()) == sorted(net[0].state_dict())


def test_images_go_on_into_a_dense_layer_in_bits():
    dense = q.BinaryDense(7, 33 * 6 * 6)
    net = nn.Sequential(*network()[:1], nn.MaxPool2d(2), nn.Flatten(), nn.ReLU(), dense).eval()
    low, x = q.convert_to_native_binary_convolution(net), normal(3, 1, 12, 12)
    assert type(low[0]) is SignConv2d
    np.testing.assert_array_equal(low(x).numpy(), net(x).numpy())


class Twice(nn.Module):
    """Uses a convolution apart from the row it stands in."""

    def __init__(self, row):
        self.row, self.first = row, row[0]

    def forward(self, x):
        return self.row(x), self.first(x)


def test_a_convolution_whose_numbers_matter_keeps_them():
    x = normal(2, 1, 9, 9)
    for net in (
        network(zero=1),  # relu gives no sign but +1
        network(activation=tape.sigmoid),
        network(nn.BatchNorm2d(33)),
        network(nn.AvgPool2d(2)),
        network(groups=1, activation=nn.PReLU(33)),
        Twice(network()).eval(),
    ):
        low = q.convert_to_native_binary_convolution(net)
        assert not any(isinstance(m, SignConv2d) for m in low.modules())
        together = zip(net(x), low(x), strict=True)  # images, or the two results of Twice
        for y, found in together:
            np.testing.assert_array_equal(found.numpy(), y.numpy())


def test_convolutions_in_groups_keep_their_numbers():
    net = nn.Sequential(nn.Conv2d(4, 3, groups=2, n_in=2), q.BinaryConv2d(4, 3, n_in=4)).eval()
    low, x = q.convert_to_native_binary_convolution(net), normal(2, 2, 9, 9)
    assert type(low[0]) is nn.Conv2d
    np.testing.assert_array_equal(low(x).numpy(), net(x).numpy())


def test_signs_are_saved_and_loaded_and_the_trained_model_stays_its_own(tmp_path):
    net, x = network(nn.MaxPool2d(2)), normal(2, 1, 12, 12)
    low = q.convert_to_native_binary_convolution(net, x=x)
    y = low(x).numpy()
    tape.save(tmp_path / "low", low)
    other = q.convert_to_native_binary_convolution(network(nn.MaxPool2d(2)))
    other(x)
    tape.load(tmp_path / "low", other)
    np.testing.assert_array_equal(other(x).numpy(), y)
    with tape.no_grad():
        net[0].weight[...] = 0
    np.testing.assert_array_equal(low(x).numpy(), y)
    np.testing.assert_array_equal(low.clone()(x).numpy(), y)


def test_backward_through_signs_raises():
    low = q.convert_to_native_binary_convolution(network())
    x = tape.tensor(normal(1, 1, 9, 9), requires_grad=True)
    with pytest.raises(GradError, match="forward only"):
        low(x).sum().backward()


def test_errors_of_sign_convolutions_name_what_is_wrong():
    low = q.convert_to_native_binary_convolution(network(n_in=2))
    with pytest.raises(ShapeError, match=r"SignConv2d: .*x has 1 channels, w expects 2"):
        low(normal(1, 1, 9, 9))
    with pytest.raises(ShapeError, match=r"must be \(N, C, H, W\) or \(C, H, W\)"):
        low(normal(9, 9))
    with pytest.raises(DTypeError, match="SignConv2d: x holds packed signs"):
        low(tape.pack_bits(normal(1, 2, 9, 9), 1))


def test_lowering_proves_the_signs(monkeypatch):
    class Wrong(SignConv2d):
        def compute(self, x, lead):
            return super().compute(x + 0.5, lead)

    monkeypatch.setattr("tape.netopt.quantization.chain.SignConv2d", Wrong)
    with pytest.raises(TapeError, match="signs that 0 gives lowered differ"):
        q.convert_to_native_binary_convolution(network())
