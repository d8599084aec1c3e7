"""Lowered layers in a row: bits pass between them, and nothing that the model gives changes."""

import copy
import gc
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import values

import tape
from tape import nn
from tape.errors import GradError, NumericsError, ShapeError, TapeError
from tape.netopt import quantization as q
from tape.netopt.quantization.folded import Folded
from tape.netopt.quantization.native import BitMaxPool2d
from tape.netopt.quantization.sign_conv import SignConv2d


def normal(*shape, seed=0):
    return tape.tensor(np.random.default_rng(seed).standard_normal(shape).astype("f"))


def settled(norm, rng, kind="both"):
    """A batch norm with statistics and weights of all sorts."""
    n = norm.n_in
    norm.running_mean = tape.tensor(rng.normal(0, 3, n).astype("f"))
    norm.running_var = tape.tensor(rng.uniform(0.1, 9, n).astype("f"))
    weight = rng.normal(0, 1, n).astype("f")
    weight[rng.random(n) < 0.1] = 0
    norm.weight = nn.Parameter(np.abs(weight) if kind == "rising" else weight)
    norm.bias = nn.Parameter(rng.normal(0, 1, n).astype("f"))
    return norm


ACTIVATIONS = [tape.relu, nn.ReLU(), nn.Tanh(), tape.hardtanh, nn.LeakyReLU(0.1), nn.Dropout(0.3)]


@st.composite
def rows(draw):
    """(network of binary layers in a row, with what may stand between them; images)."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    n, size = draw(st.integers(1, 40)), draw(st.integers(8, 14))
    first = n
    settings = {"zero": draw(st.sampled_from([-1, -1, 1]))}
    layers = []
    if draw(st.booleans()):
        layers.append(nn.Conv2d(n, 3, padding=1, n_in=n, activation=tape.relu))
    for _ in range(draw(st.integers(1, 3))):
        m = draw(st.integers(1, 40))
        groups = draw(st.sampled_from([k for k in (1, 2, 3) if n % k == m % k == 0]))
        layers.append(
            q.BinaryConv2d(
                m,
                draw(st.sampled_from([1, 3])),
                padding=draw(st.sampled_from([0, 1, (1, 0)])),
                dilation=draw(st.sampled_from([1, (1, 2)])),
                groups=groups,
                n_in=n,
                bias=draw(st.booleans()),
                activation=draw(st.sampled_from([None, None, tape.relu])),
                scale=draw(st.sampled_from([None, "tensor", "filter"])),
                **settings,
            )
        )
        n = m
        pooled = False
        for what in draw(st.lists(st.sampled_from(["norm", "pool", "activation"]), max_size=3)):
            if what == "norm":
                layers.append(settled(nn.BatchNorm2d(n), rng))
            elif what == "pool" and not pooled:
                layers.append(nn.MaxPool2d(2, draw(st.sampled_from([1, 2])), ceil_mode=False))
                pooled = True
            elif what == "activation":
                layers.append(draw(st.sampled_from(ACTIVATIONS)))
    if draw(st.booleans()):  # rows in rows
        layers = [nn.Sequential(*layers[:2]), *layers[2:]]
    net = nn.Sequential(*layers)
    x = tape.tensor(rng.standard_normal((2, first, size, size + 1), "f"))
    net.eval()
    try:
        y = net(x)
    except ShapeError:  # poolings and convolutions have left nothing
        return draw(rows())
    for _ in range(draw(st.integers(0, 2))):
        if len(y.shape) == 4:
            net = nn.Sequential(net, nn.Flatten(), q.BinaryDense(20, y[0].size, **settings)).eval()
        else:
            norm = settled(nn.BatchNorm1d(20), rng)
            net = nn.Sequential(net, norm, q.BinaryDense(20, 20, **settings)).eval()
        y = net(x)
    return net, x


@given(rows())
def test_bits_that_pass_change_nothing(drawn):
    net, x = drawn
    before = values(net)
    y = net(x).numpy()
    low = q.convert_to_native_binary_convolution(net, x=x)
    np.testing.assert_allclose(low(x).numpy(), y, rtol=1e-5, atol=1e-5 * max(1, np.abs(y).max()))
    apart = q.convert_to_native_binary_convolution(net, x=x, pass_bits=False)
    np.testing.assert_array_equal(apart(x).numpy(), y)
    assert values(net) == before
    np.testing.assert_array_equal(net(x).numpy(), y)
    paths = [path for path, module in net.named_modules()]
    assert [path for path, _ in low.named_modules() if path in paths] == paths


def row(norm_kind="both", seed=0):
    """Binary convolutions with norm, activation and pooling between, then dense layers."""
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Conv2d(33, 3, padding=1, n_in=1, activation=tape.relu),
        nn.MaxPool2d(3, 2),
        q.BinaryConv2d(40, 3, padding=1, n_in=33),
        nn.MaxPool2d(2),
        settled(nn.BatchNorm2d(40), rng, norm_kind),
        tape.tanh,
        q.BinaryConv2d(50, 3, n_in=40),
        settled(nn.BatchNorm2d(50), rng, norm_kind),
        nn.ReLU(),
        nn.Flatten(),
        q.BinaryDense(60, 50 * 4 * 4),
        settled(nn.BatchNorm1d(60), rng, norm_kind),
        nn.Dropout(),
        q.BinaryDense(10, 60),
        settled(nn.BatchNorm1d(10), rng, norm_kind),
    ).eval()


def test_all_between_two_binary_layers_is_folded():
    net, x = row(), normal(3, 1, 26, 26)
    low, report = q.convert_to_native_binary_convolution(net, x=x, return_report=True)
    kinds = [type(layer) for layer in low]
    conv, dense = q.NativeBinaryConv2d, q.NativeBinaryDense
    assert kinds[:6] == [SignConv2d, BitMaxPool2d, conv, BitMaxPool2d, Folded, Folded]
    assert kinds[6:] == [conv, Folded, Folded, Folded, dense, Folded, Folded, dense, Folded]
    assert [layer.least is not None for layer in low if type(layer) in (conv, dense)] == [
        *(True, True, True, False)
    ]
    assert low[2].flip.numpy().any()
    assert report.lowered_error <= 1e-6
    assert report[""].action == "4 layers give bits"


@pytest.mark.parametrize("kind", ["both", "rising"])
def test_a_lowered_row_is_saved_loaded_and_copied(tmp_path, kind):
    x = normal(3, 1, 26, 26)
    low = q.convert_to_native_binary_convolution(row(kind), x=x)
    y = low(x).numpy()
    tape.save(tmp_path / "low", low)
    other = q.convert_to_native_binary_convolution(row(kind, seed=9), x=x)
    other(x)  # what is made of the buffers must not outlive them
    tape.load(tmp_path / "low", other)
    np.testing.assert_array_equal(other(x).numpy(), y)
    for twin in (low.clone(), copy.deepcopy(low)):
        np.testing.assert_array_equal(twin(x).numpy(), y)


def test_backward_through_bits_raises_and_single_images_come_out_single():
    net = row()
    low = q.convert_to_native_binary_convolution(net[:9].eval(), x=normal(3, 1, 26, 26))
    x = tape.tensor(normal(2, 1, 26, 26), requires_grad=True)
    y = low(x) + 0 * x.sum()
    with pytest.raises(GradError, match="forward only"):
        y.sum().backward()
    plain = nn.Sequential(net[0], net[1], net[2], tape.relu, net[6]).eval()
    low = q.convert_to_native_binary_convolution(plain)
    np.testing.assert_array_equal(low(x.detach()[0]).numpy(), plain(x.detach()[0]).numpy())


def test_a_norm_that_folds_refuses_what_the_norm_refused():
    net = nn.Sequential(q.BinaryDense(5, 4), nn.BatchNorm1d(5), q.BinaryDense(3, 5)).eval()
    low = q.convert_to_native_binary_convolution(net)
    np.testing.assert_array_equal(low(normal(2, 4)).numpy(), net(normal(2, 4)).numpy())
    with pytest.raises(ShapeError, match="batches alone"):
        low(normal(2, 5, 4))


def test_layers_that_stand_elsewhere_too_keep_their_numbers():
    conv = q.BinaryConv2d(8, 3, padding=1, n_in=8)
    norm = settled(nn.BatchNorm2d(8), np.random.default_rng(0))
    last = q.BinaryConv2d(8, 3, padding=1, n_in=8)
    block = nn.Sequential(conv, norm, last)
    net = nn.Sequential(conv, norm, block, nn.ReLU(), block, last).eval()
    x = normal(2, 8, 6, 6)
    low = q.convert_to_native_binary_convolution(net, x=x)
    np.testing.assert_array_equal(low(x).numpy(), net(x).numpy())
    assert low[0] is low[2][0]
    assert low[0].least is None


class Wave(nn.Module):
    """A step that nobody knows."""

    def forward(self, x):
        return tape.sin(x)


def test_what_is_not_known_to_rise_or_fall_is_left_between():
    x = normal(2, 40, 6, 6)
    for step in (Wave(), tape.sin, nn.GELU(), nn.LeakyReLU(-0.5), nn.BatchNorm2d(40).train()):
        net = nn.Sequential(q.BinaryConv2d(40, 3, n_in=40), step, q.BinaryConv2d(4, 3, n_in=40))
        net.eval()
        low = q.convert_to_native_binary_convolution(net, x=x)
        np.testing.assert_array_equal(low(x).numpy(), net(x).numpy())
        assert (low[0].least is None) == (not isinstance(step, nn.BatchNorm2d))


def test_rows_that_are_not_called_as_rows_may_keep_numbers():
    class Taps(nn.Module):
        def __init__(self):
            self.body = nn.Sequential(*(q.BinaryConv2d(8, 1, n_in=8) for _ in range(3)))

        def forward(self, x):
            found = []
            for layer in self.body:
                x = layer(x)
                found.append(x.sum())
            return sum(found)

    net, x = Taps().eval(), normal(2, 8, 6, 6)
    low = q.convert_to_native_binary_convolution(net, x=x, pass_bits=False)
    np.testing.assert_allclose(low(x).numpy(), net(x).numpy(), rtol=1e-5)


def test_batch_norms_fold_into_convolutions_and_dense_layers():
    rng = np.random.default_rng(0)
    net = nn.Sequential(
        nn.Conv2d(8, 3, n_in=3, groups=1, bias=False),
        settled(nn.BatchNorm2d(8), rng),
        tape.relu,
        nn.Sequential(nn.Flatten(), nn.Dense(5, 8 * 16), settled(nn.BatchNorm1d(5), rng)),
        nn.Dense(4, 5, activation=tape.relu),
        settled(nn.BatchNorm1d(4), rng),
    ).eval()
    before, x = values(net), normal(2, 3, 6, 6)
    new, report = q.fold_batch_norm(net, x=x, return_report=True)
    np.testing.assert_allclose(new(x).numpy(), net(x).numpy(), rtol=1e-4, atol=1e-4)
    assert values(net) == before
    assert [type(new[1]), type(new[3][2]), type(new[5])] == [Folded, Folded, nn.BatchNorm1d]
    assert report["5"].action == "kept: stands behind an activation"
    assert report.drift < 1e-5
    assert new[0].bias is not None
    with pytest.raises(TapeError, match="folds nothing: 1: stands behind an activation"):
        q.fold_batch_norm(nn.Sequential(*net[4:]).eval())
    with pytest.raises(TapeError, match="in training mode"):
        q.fold_batch_norm(net.clone().train())
    net[1].running_var = tape.tensor(np.full(8, np.nan, "f"))
    with pytest.raises(NumericsError, match="fold_batch_norm: 1"):
        q.fold_batch_norm(net)


def test_threads_with_images_of_other_sizes_do_not_disturb_each_other():
    layers = [q.BinaryConv2d(40, 3, padding=1, n_in=40) for _ in range(2)]
    net = nn.Sequential(layers[0], tape.relu, layers[1]).eval()
    low = q.convert_to_native_binary_convolution(net)
    images = [normal(1, 40, 5 + i, 9 - i, seed=i) for i in range(4)]
    expected, wrong = [net(x).numpy() for x in images], []

    def work(i):
        found = [low(images[i]).numpy() for _ in range(40)]
        wrong.extend(i for y in found if not np.array_equal(y, expected[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_images_of_any_strides_none_and_nan():
    net = nn.Sequential(q.BinaryConv2d(4, 3, n_in=33), nn.ReLU(), q.BinaryConv2d(4, 1, n_in=4))
    low = q.convert_to_native_binary_convolution(net.eval())
    x = np.random.default_rng(0).standard_normal((2, 10, 9, 33)).astype("f").transpose(0, 3, 1, 2)
    x.flags.writeable = False
    holes = np.where(np.arange(9) == 4, np.float32(np.nan), x)
    for images in (x, x[:, :, ::2, ::-1], x[:0], holes):
        np.testing.assert_array_equal(low(images).numpy(), net(images).numpy())


def test_a_layer_without_a_size_is_not_lowered():
    net = nn.Sequential(nn.ReLU(), q.BinaryConv2d(3, 3)).eval()
    with pytest.raises(ShapeError, match=r"no sizes yet for 1\.weight"):
        q.convert_to_native_binary_convolution(net)


def test_nothing_is_left_for_the_collector():
    net = nn.Sequential(nn.Conv2d(8, 3, n_in=40), nn.BatchNorm2d(8), nn.Conv2d(4, 3, n_in=8))
    x = normal(1, 40, 6, 6)
    gc.collect()
    binary = q.convert_to_binary_convolution(net.eval(), x=x, only_cheaper=False)
    low = q.convert_to_native_binary_convolution(binary, x=x)
    low(x)
    del binary, low
    assert gc.collect() == 0


def test_a_training_state_goes_on_with_the_binary_model():
    net = nn.Sequential(nn.Conv2d(4, 3, n_in=40))
    optimizer = tape.optim.Adam(net.parameters(), 1e-3)
    x = normal(1, 40, 5, 5)
    net(x).sum().backward()
    optimizer.step()
    binary = q.convert_to_binary_convolution(net, optimizer=optimizer)
    optimizer.zero_grad()
    before = [net[0].weight.numpy().copy(), binary[0].weight.numpy().copy()]
    binary(x).sum().backward()
    optimizer.step()
    np.testing.assert_array_equal(net[0].weight.numpy(), before[0])
    assert not np.array_equal(binary[0].weight.numpy(), before[1])
