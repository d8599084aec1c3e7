"""Layers: what they compute, the sizes they infer, what they refuse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tape
from tape import nn, optim
from tape.errors import DTypeError, IndexRangeError, ShapeError


def ones(*shape):
    return tape.tensor(np.ones(shape, "f"))


def normal(*shape, seed=0, dtype="float32"):
    return tape.tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


# -- Dense -------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3), max_size=2), st.integers(0, 4), st.integers(0, 4), st.booleans())
def test_dense_multiplies_the_last_axis_by_its_weight(batch, n_in, n_out, bias):
    layer = nn.Dense(n_out, bias=bias, init=nn.init.normal(), init_bias=nn.init.normal())
    x = normal(*batch, n_in)
    y = layer(x)
    assert layer.weight.shape == (n_out, n_in)
    expected = x.numpy() @ layer.weight.numpy().T
    if bias:
        expected = expected + layer.bias.numpy()
    assert y.shape == (*batch, n_out)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_dense_applies_its_activation_and_has_the_dtype_it_is_given():
    layer = nn.Dense(3, activation=tape.tanh, dtype="float64")
    y = layer(normal(2, 5, dtype="float64"))
    assert y.op.name == "activated_linear"  # one node
    assert {p.dtype.name for p in layer.parameters()} == {"float64"}


def test_an_activation_may_be_a_module_with_parameters():
    class Scale(nn.Module):
        def __init__(self):
            self.by = nn.Parameter(2.0)

        def forward(self, x):
            return x * self.by

    layer = nn.Dense(1, 1, activation=Scale())
    assert list(layer.state_dict()) == ["activation.by", "weight", "bias"]
    assert repr(layer).splitlines() == [
        "Dense(1, activation=Scale): weight (1, 1), bias (1,): 3 parameters",
        "  activation: Scale(): by (): 1 parameters",
    ]


def test_dense_starts_with_glorot_weights_and_without_bias():
    layer = nn.Dense(300, 200, rng=np.random.default_rng(0))
    w = layer.weight.numpy()
    assert abs(w).max() <= np.sqrt(6 / 500)
    assert w.std() == pytest.approx(np.sqrt(2 / 500), rel=0.02)
    assert not layer.bias.numpy().any()


def test_the_same_generator_gives_the_same_layers_sizes_inferred_or_given():
    def build(*n_in):
        return nn.Dense(4, *n_in, rng=np.random.default_rng(5))

    given_, inferred = build(3), build()
    inferred(ones(1, 3))
    assert given_.weight.tolist() == inferred.weight.tolist()


def test_an_input_of_another_size_is_refused_with_the_layer_and_the_numbers():
    net = nn.Sequential(nn.Dense(4, 15), nn.Dense(2, 4))
    with pytest.raises(ShapeError, match=r"16.*15.*in Sequential\.0\n"):
        net(ones(8, 16))


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: nn.Dense(-1), ValueError, "Dense: n_out must be at least 0, got -1"),
        (lambda: nn.Dense(2.5), TypeError, r"Dense: n_out must be a whole number, got 2\.5"),
        (lambda: nn.Dense(2, n_in="3"), TypeError, "Dense: n_in must be a whole number, got '3'"),
        (lambda: nn.Dense(2, activation="relu"), TypeError, "a function such as tape.relu"),
        (lambda: nn.Dense(2)(tape.tensor(1.0)), ShapeError, r"x \(\) needs at least 1 axes"),
        (lambda: nn.Dense(2)([[1.0]]), DTypeError, "takes a tensor or an array, got a list"),
    ],
)
def test_slips_with_dense_are_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


# -- images ------------------------------------------------------------------------------------


@given(
    st.sampled_from([(3, 1), (3, 3), (4, 2), (6, 2)]),
    st.sampled_from([1, 2, (2, 3)]),
    st.sampled_from([1, (1, 2)]),
    st.sampled_from([0, 1, (1, 2), ((0, 1), (2, 1)), "valid"]),
    st.booleans(),
)
def test_conv2d_is_the_op_with_its_own_weight_and_bias(channels, kernel, stride, padding, bias):
    n_in, groups = channels
    layer = nn.Conv2d(6, kernel, stride, padding, 1, groups, bias, init_bias=nn.init.ones)
    x = normal(2, n_in, 5, 6)
    y = layer(x)
    assert layer.n_in == n_in
    assert layer.weight.shape[:2] == (6, n_in // groups)
    plain = tape.conv2d(x, layer.weight, None, stride, padding, 1, groups)
    assert y.numpy().tolist() == (plain.numpy() + float(bias)).tolist()


def test_conv2d_starts_with_glorot_weights_by_the_size_of_its_window():
    w = nn.Conv2d(40, 5, n_in=20, rng=np.random.default_rng(0)).weight.numpy()
    assert abs(w).max() <= np.sqrt(6 / (25 * 60))
    assert w.std() == pytest.approx(np.sqrt(2 / (25 * 60)), rel=0.02)


def test_pooling_layers_are_the_ops():
    x = normal(2, 3, 7, 6)
    maximum = nn.MaxPool2d(3, 2, 1, dilation=1, ceil_mode=True)
    assert maximum(x).tolist() == tape.max_pool2d(x, 3, 2, 1, 1, True).tolist()
    assert nn.MaxPool2d(2)(x).shape == (2, 3, 3, 3)
    mean = nn.AvgPool2d((2, 3), padding=1, ceil_mode=True, count_include_pad=False)
    assert mean(x).tolist() == tape.avg_pool2d(x, (2, 3), None, 1, True, False).tolist()
    total = nn.AvgPool2d(2, divisor_override=1)
    assert total(x).tolist() == tape.avg_pool2d(x, 2, divisor_override=1).tolist()
    assert repr(total) == "AvgPool2d(2, divisor_override=1)"


def test_image_layers_take_a_single_image():
    net = nn.Sequential(nn.Conv2d(4, 3, padding=1), nn.MaxPool2d(2), nn.AvgPool2d(2))
    x = normal(2, 8, 8)
    y = net(x)
    assert net[0].n_in == 2
    assert y.tolist() == net(x[None])[0].tolist()


def test_a_convolutional_network_infers_every_size_and_names_its_layers_in_errors():
    net = nn.Sequential(
        nn.For(range(2), lambda i: [nn.Conv2d(4 * (i + 1), 3, padding="same"), nn.MaxPool2d(2)]),
        *(nn.Flatten(), nn.Dense(10)),
    )
    with pytest.raises(ShapeError, match=r"in Sequential\.0\.3\n"):
        net(ones(1, 1, 3, 3))
    assert net[0][0].n_in is None
    assert net(ones(2, 3, 9, 8)).shape == (2, 10)
    assert net[2].n_in == 8 * 2 * 2
    with pytest.raises(
        ShapeError, match=r"conv2d: x has 5 channels, w expects 3.*Sequential\.0\.0\n"
    ):
        net(ones(2, 5, 9, 8))


def test_the_reprs_of_image_layers_show_what_is_not_as_usual():
    layer = nn.Conv2d(8, (3, 2), 2, "valid", (1, 2), 2, bias=False, activation=tape.tanh, n_in=4)
    assert repr(layer) == (
        "Conv2d(8, (3, 2), stride=2, padding='valid', dilation=(1, 2), groups=2, bias=False, "
        "activation=tanh): weight (8, 2, 3, 2): 96 parameters"
    )
    assert repr(nn.MaxPool2d(2)) == "MaxPool2d(2)"
    assert repr(nn.MaxPool2d(3, 2, 1, 2, True)) == (
        "MaxPool2d(3, stride=2, padding=1, dilation=2, ceil_mode=True)"
    )
    assert repr(nn.AvgPool2d(3, 1, 1, count_include_pad=False)) == (
        "AvgPool2d(3, stride=1, padding=1, count_include_pad=False)"
    )


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: nn.Conv2d(4, 0), ValueError, "Conv2d: kernel must be at least 1, got 0"),
        (lambda: nn.Conv2d(4, (3, 3, 3)), ShapeError, "Conv2d: kernel is an integer or a pair"),
        (lambda: nn.Conv2d(4, 1, stride=1.5), ShapeError, "Conv2d: stride is an integer or a pair"),
        (
            lambda: nn.Conv2d(4, 3, padding=-1),
            ShapeError,
            "Conv2d: padding must be at least 0, got",
        ),
        (lambda: nn.MaxPool2d(2, padding=(0, -1)), ShapeError, "MaxPool2d: padding must be at lea"),
        (lambda: nn.AvgPool2d(2, padding=-1), ShapeError, "AvgPool2d: padding must be at least 0"),
        (lambda: nn.Conv2d(4, 3, padding="full"), ShapeError, "Conv2d: padding is numbers"),
        (lambda: nn.Conv2d(4, 3, groups=3), ShapeError, "3 groups do not divide n_out = 4"),
        (lambda: nn.Conv2d(4, 3, groups=2, n_in=3), ShapeError, "do not divide n_in = 3"),
        (lambda: nn.Conv2d(4, 1, groups=2)(ones(1, 3, 2, 2)), ShapeError, "divide n_in = 3"),
        (lambda: nn.Conv2d(4, 1)(ones(2, 2)), ShapeError, r"x \(2, 2\) needs at least 3 axes"),
        (lambda: nn.MaxPool2d(2, 0), ValueError, "MaxPool2d: stride must be at least 1, got 0"),
        (lambda: nn.AvgPool2d(2, divisor_override=0), ValueError, "other than 0, or None, got 0"),
        (
            lambda: nn.AvgPool2d(2, padding=2),
            ShapeError,
            "AvgPool2d: padding 2 is more than half of",
        ),
    ],
)
def test_slips_with_image_layers_are_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


# -- embedding and dropout ---------------------------------------------------------------------


def test_embedding_looks_rows_up_and_learns_only_those():
    layer = nn.Embedding(5, 3)
    y = layer(tape.tensor([[1, 4], [1, 1]]))
    w = layer.weight.numpy()
    assert y.tolist() == w[[[1, 4], [1, 1]]].tolist()
    del w
    y.sum().backward()
    assert layer.weight.grad.numpy()[:, 0].tolist() == [0, 3, 0, 0, 1]


def test_the_padding_row_of_an_embedding_is_zero_and_stays_so():
    layer = nn.Embedding(4, 2, padding_idx=-1)
    optimizer = optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        layer(tape.tensor([0, 3, 3])).sum().backward()
        optimizer.step()
    assert layer.weight.numpy()[3].tolist() == [0, 0]
    assert layer.weight.numpy()[0].all()
    assert repr(layer) == "Embedding(4, 2, padding_idx=-1): weight (4, 2): 8 parameters"


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_rows_that_are_looked_up_are_first_scaled_to_max_norm_in_place(kind):
    layer = kind(3, 4, max_norm=0.5, init=nn.init.constant(1.0), dtype=np.float64)
    before = layer.weight
    y = layer([[2, 0]])
    assert layer.weight is before
    assert layer.weight.requires_grad
    norms = np.linalg.norm(layer.weight.numpy(), axis=1)
    np.testing.assert_allclose(norms, [0.5, 2.0, 0.5], rtol=1e-6)
    y.sum().backward()
    share = 1.0 if kind is nn.Embedding else 0.5
    assert layer.weight.grad.numpy()[:, 0].tolist() == [share, 0.0, share]
    with pytest.raises(IndexRangeError, match="index 3 at"):
        layer([[1, 3]])
    assert np.linalg.norm(layer.weight.numpy()[1]) == 2.0  # nothing half done
    assert "max_norm=0.5" in repr(layer)


def test_embedding_starts_with_standard_normal_rows():
    w = nn.Embedding(100, 50, rng=np.random.default_rng(0)).weight.numpy()
    assert abs(w.mean()) < 4 / np.sqrt(w.size)
    assert w.std() == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: nn.Embedding(3, -1), ValueError, "Embedding: dim must be at least 0"),
        (lambda: nn.Embedding(3, 2, padding_idx=3), IndexRangeError, "3 is none of 3 rows"),
        (lambda: nn.Embedding(3, 2, padding_idx=-4), ValueError, "must be at least -3, got -4"),
        (
            lambda: nn.Embedding(3, 2)(tape.tensor([0, 3])),
            *(IndexRangeError, r"index 3 at \(1,\) is out of range .* 3 rows, in Embedding"),
        ),
        (lambda: nn.Dropout(1.5), ValueError, r"Dropout: p must be in \[0, 1\], got 1\.5"),
        (lambda: nn.Dropout(float("nan")), ValueError, "got nan"),
        (lambda: nn.Dropout("a"), TypeError, "Dropout: p must be a number, got 'a'"),
        (lambda: nn.Dropout("0.5"), TypeError, "Dropout: p must be a number, got '0.5'"),
    ],
)
def test_slips_with_embedding_and_dropout_are_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_dropout_drops_while_training_and_keeps_the_mean():
    layer = nn.Dropout(0.25, rng=np.random.default_rng(0))
    y = layer(ones(200, 200)).numpy()
    assert set(np.unique(y)) == {0, np.float32(4 / 3)}
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.01)
    assert layer(ones(200, 200)).tolist() != y.tolist()
    x = ones(3)
    assert layer.eval()(x) is x
    assert not nn.Dropout(1.0)(x).numpy().any()
    assert nn.Dropout(0.0)(x) is x


def test_dropout_of_the_same_generator_is_the_same_and_train_reaches_it_in_a_tree():
    def outputs():
        layers = nn.Dropout(0.5, rng=np.random.default_rng(7)), nn.Dense(3, 3, init=nn.init.ones)
        net = nn.Sequential(*layers)
        return [net(ones(4, 3)).tolist() for _ in range(2)], net.eval()(ones(4, 3)).tolist()

    assert outputs() == outputs()
    assert outputs()[1] == [[3.0] * 3] * 4


@pytest.mark.parametrize("make", [nn.Dense, nn.Embedding])
def test_arguments_that_a_layer_does_not_have_are_refused_in_its_name(make):
    with pytest.raises(
        TypeError, match=rf"{make.__name__}\.__init__\(\) got an unexpected .*'foo'"
    ):
        make(3, 3, foo=1)
    with pytest.raises(TypeError, match=rf"{make.__name__}\.__init__\(\) missing .*'"):
        make()
