"""Convolution and pooling against their definitions, written as loops."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from layouts import laid_out, layouts

import tape
from tape import DTypeError, ShapeError
from tape.ops.channels import channel_sum


def outputs(n, k, stride, padding, dilation):
    return (n + sum(padding) - dilation * (k - 1) - 1) // stride + 1


def slow_conv2d(x, w, stride, padding, dilation, groups):
    (N, _, H, W), (C_out, c, R, S) = x.shape, w.shape
    Ho, Wo = (
        outputs(n, k, s, p, d)
        for n, k, s, p, d in zip((H, W), (R, S), stride, padding, dilation, strict=True)
    )
    padded = np.pad(x, ((0, 0), (0, 0), *padding))
    y = np.zeros((N, C_out, Ho, Wo))
    for n, o, i, j in itertools.product(range(N), range(C_out), range(Ho), range(Wo)):
        first = o // (C_out // groups) * c
        for r, s in itertools.product(range(R), range(S)):
            at = i * stride[0] + r * dilation[0], j * stride[1] + s * dilation[1]
            y[n, o, i, j] += padded[n, first : first + c, at[0], at[1]] @ w[o, :, r, s]
    return y


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
pads = st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2)


@given(
    n=st.integers(1, 2),
    groups=st.integers(1, 2),
    channels=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    image=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    window=pairs,
    stride=pairs,
    padding=pads,
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    seed=st.integers(0, 99),
)
def test_conv2d_is_its_definition(
    n, groups, channels, image, window, stride, padding, dilation, seed
):
    sizes = zip(image, window, stride, padding, dilation, strict=True)
    assume(all(outputs(*size) > 0 for size in sizes))
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, channels[0] * groups, *image))
    w = rng.standard_normal((channels[1] * groups, channels[0], *window))
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    expected = slow_conv2d(x, w, **settings)
    np.testing.assert_allclose(tape.conv2d(x, w, **settings).numpy(), expected, atol=1e-12)
    flipped = np.asfortranarray(x)[:, :, ::-1, ::-1]
    again = tape.conv2d(flipped[:, :, ::-1, ::-1], w, **settings).numpy()
    np.testing.assert_allclose(again, tape.conv2d(x, w, **settings).numpy(), atol=1e-14)


@given(seed=st.integers(0, 99), groups=st.sampled_from([1, 2]))
def test_the_gradients_of_conv2d_are_its_adjoints(seed, groups):
    rng = np.random.default_rng(seed)
    x = tape.tensor(rng.standard_normal((2, 2, 5, 6)), requires_grad=True)
    w = tape.tensor(rng.standard_normal((4, 2 // groups, 3, 2)), requires_grad=True)
    settings = {"stride": (2, 1), "padding": ((1, 0), (2, 1)), "groups": groups}
    y = tape.conv2d(x, w, **settings)
    g = rng.standard_normal(y.shape)
    dx, dw = tape.grad(y, [x, w], g=tape.tensor(g))
    # conv2d is linear in either operand, so each gradient pairs with it to the same number.
    np.testing.assert_allclose((dx.numpy() * x.numpy()).sum(), (g * y.numpy()).sum())
    np.testing.assert_allclose((dw.numpy() * w.numpy()).sum(), (g * y.numpy()).sum())


def test_bias_is_added_to_every_position_and_gets_their_sum():
    x, w = tape.ones((2, 1, 3, 3)), tape.ones((2, 1, 3, 3))
    b = tape.tensor([1.0, -1.0], requires_grad=True)
    y = tape.conv2d(x, w, b, padding=1)
    assert y[0, 0, 1, 1].item() == 10.0
    y.sum().backward()
    assert b.grad.tolist() == [18.0, 18.0]


def test_same_padding_keeps_the_image_for_even_windows_too():
    x = tape.ones((1, 1, 5, 6))
    for window in ((2, 2), (3, 4), (5, 1)):
        assert tape.conv2d(x, tape.ones((1, 1, *window)), padding="same").shape == x.shape


def test_an_empty_batch_gives_an_empty_result_and_zero_gradients():
    w = tape.tensor(np.ones((2, 3, 3, 3)), requires_grad=True)
    y = tape.conv2d(np.ones((0, 3, 5, 5)), w)
    assert y.shape == (0, 2, 3, 3)
    y.sum().backward()
    assert not w.grad.numpy().any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tape.conv2d(np.ones((8, 3, 32, 32)), np.ones((16, 4, 3, 3))),
         r"conv2d: x has 3 channels, w expects 4 \(x \(8, 3, 32, 32\), w \(16, 4, 3, 3\)\)"),
        (lambda: tape.conv2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)), np.ones(2)),
         "b has shape"),
        (lambda: tape.conv2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)), stride=-1),
         "at least 1"),
        (lambda: tape.conv2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)), padding=-1),
         "must not be negative"),
        (lambda: tape.conv2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)), padding="half"),
         '"same" or "valid"'),
        (lambda: tape.conv2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)), stride=2,
                             padding="same"), "stride 1"),
        (lambda: tape.max_pool2d(np.ones((1, 1, 4, 4)), 2, padding=2), "more than half"),
        (lambda: tape.max_pool2d(np.ones((1, 1, 2, 2)), 3), "does not fit the image"),
        (lambda: tape.avg_pool2d(np.ones((4, 4)), 2), r"must be \(N, C, H, W\)"),
        (lambda: tape.max_pool2d(np.ones((1, 1, 4, 4)), (2, 2, 2)), "a pair of them"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ShapeError, match=message):
        call()


@given(
    image=st.tuples(st.integers(3, 7), st.integers(3, 7)),
    window=pairs,
    stride=pairs,
    seed=st.integers(0, 99),
)
def test_max_pool2d_gives_the_gradient_to_the_first_maximum(image, window, stride, seed):
    rng = np.random.default_rng(seed)
    x = tape.tensor(rng.integers(0, 3, (1, 2, *image)).astype(float), requires_grad=True)
    y = tape.max_pool2d(x, window, stride)
    g = rng.standard_normal(y.shape)
    expected = np.zeros(x.shape)
    for c, i, j in itertools.product(range(2), range(y.shape[2]), range(y.shape[3])):
        top, left = i * stride[0], j * stride[1]
        part = x.numpy()[0, c, top : top + window[0], left : left + window[1]]
        r, s = np.unravel_index(part.argmax(), part.shape)
        assert y.numpy()[0, c, i, j] == part.max()
        expected[0, c, top + r, left + s] += g[0, c, i, j]
    np.testing.assert_allclose(tape.grad(y, x, g=tape.tensor(g)).numpy(), expected)


def test_max_pool2d_hands_on_nan_and_never_chooses_padding():
    x = tape.tensor([[[[-5.0, -6.0], [float("nan"), -8.0]]]])
    assert np.isnan(tape.max_pool2d(x, 2).numpy()).all()
    assert tape.max_pool2d(x[:, :, :1], (1, 2), padding=(0, 1), stride=1).tolist() == [
        [[[-5.0, -5.0, -6.0]]]
    ]


def test_max_pool2d_searches_its_windows_once_for_forward_and_backward():
    x = tape.tensor(np.arange(16.0).reshape(1, 1, 4, 4), requires_grad=True)
    with tape.Tape() as t:
        y = tape.max_pool2d(x, 2)
        y.sum().backward()
        assert [node.op.name for node in t.nodes].count("max_pool2d_index") <= 1
    assert x.grad.numpy().sum() == 4


def test_avg_pool2d_counts_padding_or_not():
    x = tape.ones((1, 1, 2, 2))
    counted = tape.avg_pool2d(x, 2, stride=1, padding=1)
    assert counted[0, 0, 0].tolist() == [0.25, 0.5, 0.25]
    real = tape.avg_pool2d(x, 2, stride=1, padding=1, count_include_pad=False)
    assert real.numpy().min() == 1.0


def test_a_single_image_needs_no_batch_axis():
    rng = np.random.default_rng(0)
    x = tape.tensor(rng.standard_normal((2, 5, 6)), requires_grad=True)
    w, b = rng.standard_normal((4, 2, 3, 3)), rng.standard_normal(4)
    for f in (
        lambda x: tape.conv2d(x, w, b, padding=1, stride=2),
        lambda x: tape.max_pool2d(x, 2, padding=1),
        lambda x: tape.avg_pool2d(x, 2, padding=1),
    ):
        y, batch = f(x), f(x.reshape((1, 2, 5, 6)))
        assert y.tolist() == batch[0].tolist()
        assert tape.grad(y.sum(), x).tolist() == tape.grad(batch.sum(), x).tolist()


def test_avg_pool2d_divides_by_what_it_is_told():
    x = tape.tensor(np.arange(16.0).reshape(1, 1, 4, 4), requires_grad=True)
    y = tape.avg_pool2d(x, 3, stride=2, padding=1, ceil_mode=True, divisor_override=2)
    assert y.tolist() == [[[[5.0, 12.0, 5.0], [25.5, 45.0, 16.5], [12.5, 21.0, 7.5]]]]
    assert tape.grad(y.sum(), x).numpy().sum() == 0.5 * 36
    for wrong in (0, 2.5):
        with pytest.raises(ValueError, match=f"divisor_override is an integer other.* got {wrong}"):
            tape.avg_pool2d(x, 2, divisor_override=wrong)


def test_one_number_in_a_tuple_stands_for_both_axes():
    x = tape.ones((1, 1, 6, 6))
    assert tape.avg_pool2d(x, (2,), (1,), (1,)).shape == tape.avg_pool2d(x, 2, 1, 1).shape
    assert tape.avg_pool2d(x, 2, ()).shape == tape.avg_pool2d(x, 2).shape == (1, 1, 3, 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: tape.conv2d(x, np.ones((1, 1, 3, 3))),
        lambda x: tape.max_pool2d(x, 2),
        lambda x: tape.avg_pool2d(x, 2),
    ],
)
def test_images_of_integers_are_refused_by_name(call):
    with pytest.raises(DTypeError, match=r"^(conv|max_pool|avg_pool)2d: x is uint8, expected fl"):
        call(np.ones((1, 1, 4, 4), np.uint8))


def test_ceil_mode_keeps_a_last_window_that_starts_inside():
    x = tape.tensor(np.arange(25.0).reshape(1, 1, 5, 5))
    assert tape.max_pool2d(x, 2, ceil_mode=True).tolist() == [
        [[[6.0, 8.0, 9.0], [16.0, 18.0, 19.0], [21.0, 23.0, 24.0]]]
    ]
    assert tape.max_pool2d(x, 2).shape == (1, 1, 2, 2)


FLOATS = ["float32", "float64"]
ANY = [*FLOATS, "int64", "int8", "bool"]


@pytest.mark.parametrize("activation", [None, tape.relu, tape.tanh])
@pytest.mark.parametrize(("of_x", "of_w", "of_b"), [*itertools.product(FLOATS, ANY, [*ANY, None])])
def test_operands_of_several_dtypes_give_what_they_give_a_linear_layer(
    of_x, of_w, of_b, activation
):
    x, w = np.ones((2, 3), of_x), np.ones((4, 3), of_w)
    b = None if of_b is None else np.ones(4, of_b)
    expected = tape.linear(x, w, b, activation)
    leaf = tape.tensor(x[..., None, None], requires_grad=True)
    y = tape.conv2d(leaf, w[..., None, None], b, activation=activation)
    assert y.dtype == expected.dtype
    np.testing.assert_allclose(y.numpy()[..., 0, 0], expected.numpy(), rtol=1e-6)
    assert tape.grad(y.sum(), leaf).shape == leaf.shape


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "tanh", "sigmoid", "gelu"])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("x", "w"),
    [
        ((2, 3, 30, 31), (5, 3, 3, 3)),
        ((1, 40, 11, 13), (33, 40, 3, 3)),
        ((2, 4, 9, 9), (6, 2, 1, 1)),
    ],
)
def test_the_activation_of_a_block_is_that_of_the_whole_to_the_bit(name, dtype, x, w):
    rng = np.random.default_rng(0)
    groups = x[1] // w[1]
    x, w, b = (rng.standard_normal(s).astype(dtype) for s in (x, w, w[:1]))
    activation = getattr(tape, name)
    with tape.no_grad():
        for settings in ({"padding": 1}, {"stride": 2}):
            y = tape.conv2d(x, w, b, groups=groups, activation=activation, **settings)
            steps = activation(tape.conv2d(x, w, b, groups=groups, **settings))
            assert y.numpy().tobytes() == steps.numpy().tobytes()


def test_an_activation_may_be_named():
    x, w = tape.reshape(tape.arange(-8.0, 8.0), (1, 1, 4, 4)), tape.ones((1, 1, 2, 2))
    assert (tape.conv2d(x, w, activation="relu") == tape.conv2d(x, w, activation=tape.relu)).all()


@pytest.mark.parametrize("activation", ["rely", 3])
def test_an_activation_that_is_no_function_is_refused_in_words(activation):
    one = np.ones((1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"^conv2d: activation is .*, expected None, a function"):
        tape.conv2d(one, one, activation=activation)
    with pytest.raises(ValueError, match=r"^linear: activation is .*, expected None, a function"):
        tape.linear(np.ones((1, 1)), np.ones((1, 1)), None, activation)


HUGE = [2**31, 2**62, 2**64, 2**70]


@pytest.mark.parametrize("setting", ["padding", "stride", "dilation"])
@pytest.mark.parametrize("n", HUGE)
def test_settings_beyond_31_bits_are_refused_with_their_numbers(setting, n):
    x, w = np.ones((1, 1, 5, 5)), np.ones((1, 1, 3, 3))
    words = rf".*\({n}, {n}\).* must be at most 2147483647"
    with pytest.raises(ShapeError, match=rf"^conv2d: {words}"):
        tape.conv2d(x, w, **{setting: n})
    if setting != "padding":
        with pytest.raises(ShapeError, match=rf"^max_pool2d: {words}"):
            tape.max_pool2d(x, 2, **{setting: n})


def test_results_that_no_memory_holds_name_the_op_and_their_size():
    x, w = np.ones((1, 1, 5, 5)), np.ones((1, 1, 3, 3))
    with pytest.raises(
        MemoryError, match=r"conv2d: .* \(1, 1, 2147483651, 2147483651\), 4.61e\+18"
    ):
        tape.conv2d(x, w, padding=2**30)
    with pytest.raises(ValueError, match=r"conv2d: 1 channels .* 2\^31 numbers"):
        tape.conv2d(x, w, padding=2**30, stride=2**20)
    with pytest.raises(ValueError, match="divisor_override is an integer other"):
        tape.avg_pool2d(x, 2, divisor_override=2**63)


@given(
    shape=st.tuples(st.integers(0, 5), st.integers(1, 4), st.integers(0, 40), st.integers(1, 70)),
    dtype=st.sampled_from(FLOATS),
    layout=layouts,
    seed=st.integers(0, 99),
)
def test_the_bias_gets_each_channels_sum_as_exactly_as_numpy_gives_it(shape, dtype, layout, seed):
    x = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    y, exact = channel_sum(laid_out(x, layout)).numpy(), x.astype(np.longdouble).sum((0, 2, 3))
    assert y.dtype == dtype
    assert y.tobytes() == channel_sum(x).numpy().tobytes()
    # 8 numbers one after another, 2 stages of pairs, then sums in float64 and a rounding
    bound = 22 * np.finfo(dtype).eps / 2 * np.abs(x.astype(np.longdouble)).sum((0, 2, 3))
    assert (np.abs(y - exact) <= bound).all()


def test_channels_sum_to_infinity_and_nan_where_they_hold_them():
    x = np.ones((2, 4, 30, 30), np.float32)
    x[0, 1, 3, 3], x[1, 2, 29, 29] = np.inf, np.nan
    x[0, 3, 0, 0], x[1, 3, 0, 0] = np.inf, -np.inf
    np.testing.assert_array_equal(channel_sum(x).numpy(), [1800, np.inf, np.nan, np.nan])
