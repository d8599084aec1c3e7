"""Networks of many kinds to remove filters from, and what sets filters of them to zero."""

import numpy as np
from hypothesis import strategies as st

import tape
from tape import nn
from tape.netopt.sparsification.channels import channels_of
from tape.netopt.sparsification.coupled import coupled
from tape.nn.conv import Convolution


def normal(*shape, seed=0):
    return tape.tensor(np.random.default_rng(seed).standard_normal(shape).astype("f"))


def side_by_side(*branches):
    return nn.Parallel(*branches, join=lambda *ys: tape.concat(ys, axis=1))


class TwoHeads(nn.Module):
    """A program of its own: one trunk, two results, what is in between flattened by hand."""

    def __init__(self, trunk, width):
        self.trunk = trunk
        self.first, self.second = nn.Dense(3, width), nn.Dense(2, width, bias=False)

    def forward(self, x):
        y = tape.reshape(self.trunk(x), (x.shape[0], -1))
        return {"first": self.first(y), "second": (self.second(y), y.shape[0])}


@st.composite
def networks(draw, maps_zero=True, padded=True):
    """(network in evaluation mode, batch) with drawn numbers everywhere.

    Args:
        maps_zero: whether all between layers gives 0 for a channel of zeros, and biases are zero.
        padded: whether convolutions may pad.
    """
    acts = [None, tape.relu, tape.tanh, tape.gelu, nn.LeakyReLU(0.2)]
    acts += [] if maps_zero else [tape.sigmoid, tape.cos, nn.Softplus()]
    channels = n = draw(st.integers(1, 3))
    layers, size, last = [], 7, None

    def act():
        return draw(st.sampled_from(acts))

    def conv(n_out, n_in, groups=1, kernel=None):
        kernel = draw(st.sampled_from([1, 3])) if kernel is None else kernel
        bias = not maps_zero or draw(st.booleans())
        pads = 1 if kernel == 3 else 0
        return nn.Conv2d(
            n_out, kernel, 1, pads, groups=groups, bias=bias, activation=act(), n_in=n_in
        )

    kinds = ["conv", "norm", "group norm", "by channel", "grouped", "residual", "concat", "again"]
    kinds += ["pool", "prelu", "transposed", "dropout", "instance norm"]
    kinds = kinds if padded else ["conv", "norm", "by channel", "pool", "concat", "prelu"]
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(kinds))
        if kind == "conv" or last is None:
            n_out = draw(st.sampled_from([4, 6, 8]))
            last = conv(n_out, n, kernel=None if padded else 1)
            layers.append(last)
            n = n_out
        elif kind == "norm":
            layers.append(nn.BatchNorm2d(n))
        elif kind == "group norm":
            layers.append(
                nn.GroupNorm(draw(st.sampled_from([2, n])), n, affine=draw(st.booleans()))
            )
        elif kind == "instance norm":
            layers.append(nn.InstanceNorm2d(n, affine=draw(st.booleans())))
        elif kind == "by channel":
            layers.append(
                conv(n * draw(st.integers(1, 2)), n, groups=n, kernel=None if padded else 1)
            )
            n = layers[-1].n_out
        elif kind == "grouped":
            layers.append(conv(4, n, groups=2))
            n = 4
        elif kind == "residual":
            layers.append(nn.Residual(conv(n, n), nn.BatchNorm2d(n), conv(n, n)))
        elif kind == "concat":
            kernel = None if padded else 1
            layers.append(side_by_side(conv(2, n, kernel=kernel), conv(4, n, kernel=kernel)))
            n = 6
        elif kind == "again" and draw(st.booleans()):
            twice = conv(n, n)
            layers += [twice, tape.tanh, twice]
        elif kind == "pool" and size > 3:
            pool = draw(st.sampled_from([nn.MaxPool2d(2), nn.AvgPool2d(2), nn.MaxPool2d(3, 2)]))
            layers.append(pool)
            size = (size - pool.kernel[0]) // 2 + 1
        elif kind == "prelu":
            layers.append(nn.PReLU(draw(st.sampled_from([1, n]))))
        elif kind == "transposed":
            layers.append(nn.ConvTranspose2d(4, 3, padding=1, n_in=n, bias=not maps_zero))
            n = 4
        elif kind == "dropout":
            layers.append(nn.Dropout2d(0.3))
    if draw(st.booleans()):
        layers.append(nn.AdaptiveAvgPool2d(1))
        size = 1
    if draw(st.booleans()):
        net = nn.Sequential(*layers, nn.Flatten())
        width = n * size * size
        net = nn.Sequential(
            *net.layers, nn.Dense(6, width, act()), nn.BatchNorm1d(6), nn.Dense(4, 6, act())
        )
        net.layers.append(nn.Dense(3, 4))
    else:
        net = TwoHeads(nn.Sequential(*layers), n * size * size)
    fill(net, draw(st.integers(0, 99)), maps_zero)
    return net.eval(), normal(3, channels, 7, 7, seed=1)


def fill(net, seed, maps_zero):
    """Draw all parameters and statistics; with `maps_zero` what is added is zero."""
    rng = np.random.default_rng(seed)
    state = {}
    for path, array in net.state_dict().items():
        value = rng.standard_normal(array.shape) / np.sqrt(
            max(1, array.size / max(1, len(np.atleast_1d(array))))
        )
        if path.endswith("running_var"):
            value = rng.uniform(0.5, 2.0, array.shape)
        elif maps_zero and path.endswith(("bias", "running_mean")):
            value = np.zeros(array.shape)
        state[path] = np.asarray(value).astype(array.dtype)
    names = {}  # what is shared has one value
    for path, entry, _, _ in net.walk(again=True):
        if path in state:
            state[path] = state[names.setdefault(id(entry), path)]
    net.load_state_dict(state)


def groups_of(net, x):
    layers = [m for m in net.modules() if isinstance(m, (nn.Dense, Convolution))]
    channels = channels_of(net, x)
    return channels, coupled(net, channels, layers, set(map(id, layers)), "l1")


def silence(net, x, draw):
    """Set the weights of some filters to zero; (how many of each group, what layers then keep).

    The filters' biases, and what norms add to them, stay: `networks` says whether these are zero.
    """
    _channels, groups = groups_of(net, x)
    amounts, left, state = {}, {}, {}
    for group in groups:
        if group.reason:
            continue
        n = draw(st.integers(1, len(group.units)))
        for (path, layer), roots in zip(group.layers, group.roots, strict=True):
            gone = np.isin(roots, group.units[:n])
            left[path] = int((~gone).sum())
            array = state.get(id(layer.weight), np.array(layer.weight))
            axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
            np.moveaxis(array, axis, 0)[gone] = 0
            state[id(layer.weight)] = array
        amounts[group.layers[0][0]] = int(group.sizes[:n].sum())
    values = net.state_dict()
    for path, entry, _, _ in net.walk(again=True):
        if id(entry) in state:
            values[path] = state[id(entry)]
    net.load_state_dict(values)
    return amounts, left


def results(y):
    if isinstance(y, dict):
        y = list(y.values())
    if isinstance(y, (list, tuple)):
        return [array for part in y for array in results(part)]
    return [y.numpy()] if isinstance(y, tape.Tensor) else [np.asarray(y)]


def close(a, b):
    """Both results are equal to 1e-5 of the largest number."""
    for one, other in zip(results(a), results(b), strict=True):
        size = max(1e-6, float(np.abs(one).max(initial=0)))
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * size)
