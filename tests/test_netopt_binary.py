"""Binary convolutions and dense layers: what they train, and that lowering changes nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import generators
from trees import values

import tape
from tape import nn, optim
from tape.errors import GradError, NumericsError, SettingError, ShapeError, TapeError
from tape.netopt import quantization as q


def normal(*shape, seed=0, dtype="f"):
    return tape.tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def cntk_net():
    """The network of CNTK's test: four convolutions 5 x 5 with 64 filters, the first named."""
    net = nn.Sequential(
        nn.Conv2d(64, 5, 2, 2, bias=False, activation=tape.relu, n_in=1),
        nn.Conv2d(64, 5, 2, 2, bias=False, activation=tape.relu, n_in=64),
        nn.Conv2d(64, 5, 1, 2, activation=tape.relu, n_in=64),
        nn.Conv2d(64, 5, 1, 2, activation=tape.relu, n_in=64),
        nn.Flatten(),
        nn.Dense(10, 64 * 7 * 7),
    )
    for layer in net[:4]:
        layer.name = "convo"
    net[0].name = "first_convo"
    return net


class Skip(nn.Module):
    """Batch norms, and a sum around a convolution."""

    def __init__(self, net):
        self.first, self.second, self.third, self.fourth = net[:4]
        self.norm, self.norm2 = nn.BatchNorm2d(64), nn.BatchNorm2d(64)

    def forward(self, x):
        a = self.second(self.norm(self.first(x)))
        b = self.third(self.norm2(a))
        return self.fourth(a + b)


def kinds(net, kind):
    return [path for path, module in net.named_modules() if type(module) is kind]


def not_first(layer):
    return layer.name != "first_convo"


@pytest.mark.parametrize("form", [lambda net: net, Skip], ids=["row", "skip"])
def test_case_08_filters_choose_convolutions_by_name(form):
    net = form(cntk_net())
    before = values(net)
    assert len(kinds(q.convert_to_binary_convolution(net), q.BinaryConv2d)) == 4
    new, report = q.convert_to_binary_convolution(net, not_first, return_report=True)
    assert len(kinds(new, q.BinaryConv2d)) == 3
    (first,) = kinds(new, nn.Conv2d)
    assert first == next(path for path, m in net.named_modules() if type(m) is nn.Conv2d)
    assert dict(new.named_modules())[first].name == "first_convo"
    assert report[first].action == "not chosen"
    assert values(net) == before
    x = normal(1, 1, 28, 28)
    low = q.convert_to_native_binary_convolution(new.eval(), x=x)
    assert len(kinds(low, q.NativeBinaryConv2d)) == 3


def test_case_09_one_call_filters_trains_once_and_lowers():
    net, trained = cntk_net().eval(), []

    def train(model):
        trained.append(model)

    low = q.binarize_convolution(net, train, not_first)
    assert len(trained) == 1
    assert kinds(trained[0], q.BinaryConv2d) == ["1", "2", "3"]
    assert kinds(low, q.NativeBinaryConv2d) == ["1", "2", "3"]
    with pytest.raises(TypeError, match="train_function"):
        q.binarize_convolution(net)
    with pytest.raises(SettingError, match="got None; to do without, use convert_to_binary"):
        q.binarize_convolution(net, None, not_first)


def test_what_training_returns_is_lowered():
    net = nn.Sequential(nn.Conv2d(4, 3, n_in=40)).eval()
    made = []

    def train(model):
        other = model.clone()
        with tape.no_grad():
            other[0].weight = nn.Parameter(-model[0].weight.numpy())
        made.append(other)
        return other

    low = q.binarize_convolution(net, train)
    x = normal(1, 40, 5, 5)
    np.testing.assert_array_equal(low(x).numpy(), made[0](x).numpy())


def test_case_10_quantiser_of_one_and_two_bits():
    numbers = [-2, -1, -0.5, 0, 0.5, 1, 1.0001, 3]
    x = tape.tensor(numbers, requires_grad=True)
    y = q.multibit(x)
    np.testing.assert_allclose(y.numpy(), [-1.1250125] * 4 + [1.1250125] * 4, rtol=1e-6)
    assert tape.grad(y.sum(), x).tolist() == [0, 1, 1, 1, 1, 1, 0, 0]
    two = q.multibit(x, bits=2)
    assert tape.grad(two.sum(), x).tolist() == [1, 1, 1, 1, 1, 1, 1, 0]
    assert q.multibit(x, zero=1).numpy()[3] > 0
    drawn = np.random.default_rng(0).standard_normal(200_000)
    errors = [
        float(np.square(q.multibit(drawn, n).numpy() - drawn).sum() / np.square(drawn).sum())
        for n in (1, 2, 3, 4)
    ]
    np.testing.assert_allclose(errors, [0.363, 0.130, 0.0585, 0.0324], rtol=0.03)
    for bits in (0, -1, 1.5, True):
        with pytest.raises(SettingError, match="bits"):
            q.multibit(x, bits)


def emulated(x, layer):
    """The correlation of signs, strictly by floats."""
    signs = [np.where(a.numpy() > 0, np.float32(1), np.float32(-1)) for a in (x, layer.weight)]
    how = layer.stride, layer.padding, layer.dilation, layer.groups
    return tape.conv2d(tape.tensor(signs[0]), tape.tensor(signs[1]), None, *how).numpy()


@pytest.mark.parametrize("channels", [3, 8, 64, 100])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_case_11_packed_is_emulated_exactly(channels, kernel, stride):
    rng = np.random.default_rng(channels)
    for padding in (0, kernel // 2):
        layer = q.BinaryConv2d(
            64, kernel, stride, padding, n_in=channels, bias=False, scale=None
        ).eval()
        layer.weight = nn.Parameter(rng.uniform(-1, 1, layer.weight.shape).astype("f"))
        low = q.convert_to_native_binary_convolution(layer)
        for shape in ((7, channels, 28, 17), (channels, 28, 28)):
            x = tape.tensor(rng.uniform(-1, 1, shape).astype("f"))
            np.testing.assert_array_equal(low(x).numpy(), emulated(x, layer))
            np.testing.assert_array_equal(layer(x).numpy(), emulated(x, layer))


@pytest.mark.parametrize("scale", [None, "tensor", "filter"])
def test_case_12_saved_loaded_and_lowered(tmp_path, scale):
    net = q.convert_to_binary_convolution(cntk_net(), not_first, scale=scale)
    tape.save(tmp_path / "trained", net)
    other = q.convert_to_binary_convolution(cntk_net(), not_first, scale=scale).eval()
    tape.load(tmp_path / "trained", other)
    x = normal(3, 1, 28, 28)
    low = q.convert_to_native_binary_convolution(other, x=x)
    assert len(kinds(low, q.NativeBinaryConv2d)) == 3
    y = net.eval()(x).numpy()
    np.testing.assert_allclose(low(x).numpy(), y, rtol=1e-5, atol=1e-5 * np.abs(y).max())
    tape.save(tmp_path / "low", low)
    arrays = tape.load(tmp_path / "low")
    assert arrays["1.words"].dtype == np.uint64
    assert arrays["1.words"].nbytes * 32 == net[1].weight.nbytes
    blank = q.convert_to_binary_convolution(cntk_net(), not_first, scale=scale).eval()
    blank = q.convert_to_native_binary_convolution(blank)
    before = blank(x).numpy()
    tape.load(tmp_path / "low", blank)
    assert not np.array_equal(blank(x).numpy(), before)
    np.testing.assert_array_equal(blank(x).numpy(), low(x).numpy())
    needed = tape.tensor(x, requires_grad=True)
    with pytest.raises(GradError, match="forward only"):
        low(needed).sum().backward()


def test_case_13_trained_kernels_are_kept():
    net = nn.Sequential(nn.Conv2d(6, 3, n_in=5), nn.Conv2d(4, 3, n_in=6))
    x = normal(2, 5, 9, 9)
    optimizer, before = optim.SGD(net.parameters(), lr=0.05), net[0].weight.numpy().copy()
    for _ in range(5):
        tape.mean((net(x) - 1) ** 2).backward()
        optimizer.step()
        optimizer.zero_grad()
    net.eval()
    assert not np.array_equal(net[0].weight.numpy(), before)
    assert net[0].bias.numpy().all()
    for scale, axes in (("filter", (1, 2, 3)), ("tensor", None)):
        binary = q.convert_to_binary_convolution(net, "0", scale=scale)
        w = net[0].weight.numpy()
        size = np.broadcast_to(np.abs(w).mean(axes), 6).reshape(-1, 1, 1)
        expected = emulated(x, net[0]) * size + net[0].bias.numpy().reshape(-1, 1, 1)
        np.testing.assert_allclose(binary[0](x).numpy(), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(binary[0].weight.numpy(), w)
        assert binary[0].weight is not net[0].weight
        low = q.convert_to_native_binary_convolution(binary.eval(), x=x)
        np.testing.assert_allclose(low[0](x).numpy(), expected, rtol=1e-5, atol=1e-6)


@st.composite
def convolutions(draw):
    """(binary convolution, images) of all sorts."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    per_group = draw(st.integers(1, 130 // groups))
    kernel = draw(st.tuples(*[st.sampled_from([1, 3, 5])] * 2))
    stride = draw(st.tuples(*[st.integers(1, 3)] * 2))
    dilation = draw(st.tuples(*[st.integers(1, 2)] * 2))
    padding = draw(st.sampled_from([0, 1, 2, (1, 0), ((0, 2), (1, 0))]))
    layer = q.BinaryConv2d(
        groups * draw(st.integers(1, 40)),
        kernel,
        stride,
        padding,
        dilation,
        groups,
        draw(st.booleans()),
        draw(st.sampled_from([None, tape.relu, tape.tanh])),
        per_group * groups,
        dtype=draw(st.sampled_from(["float32", "float32", "float64"])),
        scale=draw(st.sampled_from([None, "tensor", "filter"])),
        zero=draw(st.sampled_from([-1, 1])),
        input_scale=draw(st.booleans()),
    )
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    sides = [r + draw(st.integers(0, 6)) for r in reach]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.standard_normal((draw(st.integers(1, 4)), layer.n_in, *sides))
    x[rng.random(x.shape) < 0.2] = 0
    if layer.bias is not None:
        layer.bias = nn.Parameter(rng.standard_normal(layer.n_out).astype(layer.bias.dtype))
    return layer.eval(), tape.tensor(x.astype(draw(st.sampled_from(["float32", "float64"]))))


@given(convolutions())
def test_lowered_convolution_is_the_trained_one(drawn):
    layer, x = drawn
    y = layer(x)
    low = q.convert_to_native_binary_convolution(layer, check=False)
    np.testing.assert_array_equal(low(x).numpy(), y.numpy())
    assert low(x).dtype == y.dtype
    np.testing.assert_array_equal(low(x[0]).numpy(), layer(x[0]).numpy())
    np.testing.assert_array_equal(low.clone()(x).numpy(), y.numpy())
    q.convert_to_native_binary_convolution(layer, x=x)


@given(
    generators,
    st.integers(1, 130),
    st.integers(1, 70),
    st.sampled_from([(), (1,), (5,), (2, 3), (0,)]),
    st.sampled_from([None, "tensor", "filter"]),
    st.sampled_from([-1, 1]),
    st.booleans(),
)
def test_lowered_dense_layer_is_the_trained_one(rng, n_in, n_out, lead, scale, zero, input_scale):
    layer = q.BinaryDense(
        n_out, n_in, tape.relu, scale=scale, zero=zero, input_scale=input_scale
    ).eval()
    x = tape.tensor(rng.integers(-1, 2, (*lead, n_in)).astype("f") * 0.7)
    low = q.convert_to_native_binary_convolution(layer)
    np.testing.assert_array_equal(low(x).numpy(), layer(x).numpy())
    assert low(x).shape == layer(x).shape


def test_gradients_are_those_of_floats_inside_of_the_window():
    layer = q.BinaryConv2d(4, 3, padding=1, n_in=3, scale="filter", window=0.5)
    x = tape.tensor(normal(2, 3, 5, 5), requires_grad=True)
    g = normal(2, 4, 5, 5, seed=1).numpy()
    dx, dw = tape.grad(layer(x), [x, layer.weight], g=g)
    signs = [
        tape.tensor(np.where(a.numpy() > 0, np.float32(1), np.float32(-1)), requires_grad=True)
        for a in (x, layer.weight)
    ]
    size = np.abs(layer.weight.numpy()).mean((1, 2, 3)).reshape(-1, 1, 1)
    y = tape.conv2d(*signs, padding=1) * size
    for found, expected, at in zip(
        (dx, dw), tape.grad(y, signs, g=g), (x, layer.weight), strict=True
    ):
        inside = np.abs(at.numpy()) <= 0.5
        np.testing.assert_allclose(found.numpy(), expected.numpy() * inside, rtol=1e-4, atol=1e-5)


def test_latent_weights_are_clipped_while_training():
    layer = q.BinaryDense(2, 2, clip=0.5, bias=False)
    layer.weight = nn.Parameter([[0.25, -3.0], [0.5, 0.6]])
    layer.eval()(tape.ones((1, 2)))
    assert layer.weight.numpy().max() > 0.55
    layer.train()(tape.ones((1, 2)))
    np.testing.assert_allclose(layer.weight.numpy(), [[0.25, -0.5], [0.5, 0.5]])
    assert layer.weight.requires_grad


def test_it_learns():
    rng = np.random.default_rng(0)
    tape.random.seed(0)
    x = tape.tensor(rng.standard_normal((64, 20)).astype("f"))
    labels = (x.numpy()[:, :3].sum(1) > 0).astype(int)
    net = nn.Sequential(nn.Dense(64, 20), nn.BatchNorm1d(), q.BinaryDense(2))
    net(x)
    optimizer = tape.optim.Adam(net.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        tape.cross_entropy(net(x), labels).backward()
        optimizer.step()
    low = q.convert_to_native_binary_convolution(net.eval(), x=x)
    assert (low(x).numpy().argmax(1) == labels).mean() > 0.9


def test_dense_layers_in_one_call():
    net = nn.Sequential(nn.Flatten(), nn.Dense(64, 64, tape.relu), nn.Dense(10, 64)).eval()
    low, report = q.binarize_dense(net, lambda model: None, "1", return_report=True)
    assert kinds(low, q.NativeBinaryDense) == ["1"]
    assert report["1"].action == "signs, scale filter, 1 bit"
    assert report["1"].bytes == (64 * 65 * 4, 64 * 8 + 64 * 4 * 2)


def test_errors_name_the_thing_and_leave_the_model():
    net = nn.Sequential(nn.Conv1d(4, 3, n_in=2), nn.Conv2d(4, 3, n_in=40))
    before = values(net)
    with pytest.raises(TapeError, match=r"of the 1 Conv2d layers \(1\) none is chosen"):
        q.convert_to_binary_convolution(net, lambda layer: False)
    with pytest.raises(TapeError, match="finds nothing to lower in this Sequential"):
        q.convert_to_native_binary_convolution(net.eval())
    binary, report = q.convert_to_binary_convolution(net, return_report=True)
    assert report["0"].action == "kept: Conv1d is not supported"
    with pytest.raises(TapeError, match="in training mode"):
        q.convert_to_native_binary_convolution(binary.train())
    for wrong in ({"scale": "layer"}, {"zero": 0}, {"clip": 0}):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            q.convert_to_binary_convolution(net, **wrong)
    assert values(net) == before
    net[1].weight = nn.Parameter(np.full((4, 40, 3, 3), np.nan, "f"))
    with pytest.raises(NumericsError, match=r"1\.weight: 1440 of 1440 numbers are NaN"):
        q.convert_to_binary_convolution(net)
    binary[1].weight = nn.Parameter(np.full((4, 40, 3, 3), np.nan, "f"))
    with pytest.raises(NumericsError, match=r"1\.weight"):
        q.convert_to_native_binary_convolution(binary.eval())


def test_lowered_layers_refuse_other_shapes():
    low = q.convert_to_native_binary_convolution(q.BinaryConv2d(4, 3, n_in=40).eval())
    for shape in ((1, 41, 5, 5), (40,), (1, 40, 2, 2)):
        with pytest.raises(ShapeError):
            low(tape.ones(shape))
    dense = q.convert_to_native_binary_convolution(q.BinaryDense(4, 40).eval())
    for shape in ((3, 41), ()):
        with pytest.raises(ShapeError):
            dense(tape.ones(shape))


def test_what_would_be_larger_or_slower_is_refused_in_words():
    net = nn.Sequential(nn.Conv2d(1, 1, n_in=1, bias=False)).eval()
    with pytest.warns(UserWarning, match="left 1 layers as they are"):
        new = q.convert_to_binary_convolution(net)
    assert kinds(new, nn.Conv2d) == ["0"]
    forced = q.convert_to_binary_convolution(net, only_cheaper=False)
    assert kinds(forced, q.BinaryConv2d) == ["0"]
