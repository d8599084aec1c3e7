"""What tape's own functions make of sizes is made anew in a clone, or it raises."""

import numpy as np
import pytest

import tape
from tape import nn

rng = np.random.default_rng(0)
W = tape.tensor(rng.standard_normal((2, 3, 2)))

# Each takes (n, m); what it computes depends on n or m in more than the ops' own rules.
SIZED = [
    lambda h: tape.kl_div(h, tape.sigmoid(h), reduction="batchmean"),
    lambda h: tape.cross_entropy(h, tape.softmax(h, axis=1), label_smoothing=0.1),
    lambda h: tape.scaled_dot_product_attention(h[None], h[None], h[None]),
    lambda h: tape.scaled_dot_product_attention(h[None], h[None], h[None], is_causal=True),
    lambda h: tape.group_norm(h[None], 1),
    lambda h: tape.instance_norm(h[None]),
    lambda h: tape.local_response_norm(h[None], 2),
    lambda h: tape.kron(h, h),
    lambda h: tape.split(h, 2, axis=0)[0],
    lambda h: tape.split(h, 3, axis=1)[0],
    lambda h: tape.broadcast_arrays(h, h[0])[1],
    lambda h: tape.meshgrid(h[0], h[:, 0])[0],
    lambda h: tape.pad(h, ((1, 0), (0, 0)), mode="reflect"),
    lambda h: tape.pad(h, ((1, 1), (0, 0)), mode="circular"),
    lambda h: tape.linalg.svd(h, full_matrices=False).S,
    lambda h: tape.linalg.qr(h).R,
    lambda h: tape.fft.fftshift(h),
    lambda h: tape.fft.convolve(h[:, 0], h[:, 0]),
    lambda h: tape.fft.rfft(h, n=4, axis=0).real,
    lambda h: tape.interpolate(h[None, None], size=(4, 4)),
    lambda h: tape.adaptive_avg_pool2d(h[None, None], (2, 2)),
    lambda h: tape.adaptive_avg_pool2d(h[None, None], (1, None)),
    lambda h: tape.adaptive_max_pool1d(h[None], 2),
    lambda h: tape.avg_pool1d(h[None], 2, ceil_mode=True),
    lambda h: tape.max_pool1d(h.T[None], 2),
    lambda h: tape.conv1d(h.T[None], W, padding="same") if h.shape[1] == 3 else h,
    lambda h: tape.pixel_unshuffle(h[None, None], 1),
    lambda h: h * tape.ones_like(h[1:]).sum(),
    lambda h: h * tape.full_like(h[:, 0], 2.0).sum(),
]

# Here values decide sizes.
CHOSEN = [
    lambda h: h[h > 0].sum() / len(h[h > 0]),
    lambda h: h / h[h > 0].shape[0],
    lambda h: h * h[h > 0].size,
    lambda h: h * h[h > 0].nbytes,
    lambda h: h * len(tape.nonzero(h > 0)[0]),
    lambda h: h * sum(1 for _ in h[h > 0]),
    lambda h: h + tape.ones_like(h[h > 0]).sum(),
    lambda h: h + tape.arange(h[h > 0].size).sum(),
    lambda h: h * tape.zeros(h[h > 0].shape).size,
    lambda h: tape.fft.fftshift(h[h > 0]),
    lambda h: tape.pad(h[h > 0], 1, mode="circular"),
    lambda h: tape.split(h[h > 0], 1)[0],
    lambda h: tape.mean(h[h > 0]),
    lambda h: tape.std(h[h > 0]),
]

SHAPES = [(4, 3), (3, 3), (1, 3), (2, 3), (6, 3), (12, 3), (4, 4), (4, 6), (3, 6), (3, 12), (4, 1)]


def drawn(shape, scale=1.0, **settings):
    return tape.tensor(rng.standard_normal(shape) * scale, **settings)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("program", SIZED + CHOSEN)
def test_a_clone_gives_what_the_program_gives_for_these_sizes_or_raises(program, named, grad):
    for shape in SHAPES:
        x = drawn(shape, requires_grad=grad)
        x = x.named("x") if named else x
        try:
            f = tape.clone_function(x, program(x))
        except (tape.TapeError, IndexError):
            continue
        for other in [shape, *SHAPES]:
            z = drawn(other, 1.0 + len(other))
            try:
                found = f(z)
            except tape.TapeError:
                continue
            np.testing.assert_array_equal(found.numpy(), program(z).numpy())


@pytest.mark.parametrize("program", SIZED)
def test_the_sizes_that_were_recorded_run(program):
    x = drawn((6, 3)).named("x")
    y = program(x)
    assert tape.clone_function(x, y)(x).tolist() == y.tolist()
    assert tape.clone_function(x, y)(x).tolist() == y.tolist()  # looking did not count


IMAGES = [
    (nn.Sequential(nn.Conv2d(2, 3, padding=1), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2)), 4),
    (nn.Sequential(nn.Conv2d(4, 3), nn.GroupNorm(2), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 4),
    (nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dense(3)), 4),
    (nn.Sequential(nn.Conv1d(2, 3), nn.MaxPool1d(2), nn.AdaptiveAvgPool1d(2)), 3),
    (nn.Sequential(nn.LayerNorm(), nn.Dense(3, activation=tape.gelu)), 3),
    (nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), 3),
]


@pytest.mark.parametrize(("model", "ndim"), IMAGES)
def test_networks_take_other_batches(model, ndim):
    shape = (7, 8, 8, 8)[:ndim]
    model(tape.ones(shape))
    model.eval()
    x = tape.tensor(rng.standard_normal(shape), "float32").named("x")
    f = tape.clone_function(x, model(x), "shared")
    for n in (5, 1):
        z = tape.tensor(rng.standard_normal((n, *shape[1:])), "float32")
        np.testing.assert_array_equal(f(z).numpy(), model(z).numpy())


def test_a_size_that_was_counted_on_is_named():
    x = drawn((4, 3)).named("x")
    f = tape.clone_function(x, tape.pad(x * 2.0, ((1, 1), (0, 0)), mode="circular"))
    with pytest.raises(tape.GuardError, match=r"a size was 4 and is 5, along axis 0 of \(4, 3\)"):
        f(drawn((5, 3)))


def test_a_size_that_values_chose_is_a_guard():
    x = tape.tensor([1.0, -1.0, 2.0]).named("x")
    f = tape.clone_function(x, x[x > 0].sum() / len(x[x > 0]))
    assert f(tape.tensor([4.0, 2.0, -3.0])).item() == 3.0
    with pytest.raises(tape.GuardError, match="as many elements as values choose"):
        f(tape.tensor([4.0, 2.0, 3.0]))


def test_a_parameter_among_the_inputs_takes_other_sizes_after_training():
    layer = nn.Dense(4, 3)
    optimizer = tape.optim.Adam(layer.parameters())
    layer(tape.ones((2, 3))).sum().backward()
    optimizer.step()
    assert repr(layer)
    assert layer.summary(tape.ones((2, 3)))
    x = tape.ones((2, 3)).named("x")
    f = tape.clone_function([x, layer.weight, layer.bias], layer(x))
    assert f(tape.ones((2, 5)), tape.ones((7, 5)), tape.zeros((7,))).shape == (2, 7)


def test_attention_under_a_computed_mask_is_replayed_as_long_as_no_row_is_masked_whole():
    x = drawn((1, 4, 3)).named("x")
    f = tape.clone_function(x, tape.scaled_dot_product_attention(x, x, x, x[:, :, :1] > -9.0))
    z = drawn((1, 4, 3))
    np.testing.assert_array_equal(
        f(z).numpy(), tape.scaled_dot_product_attention(z, z, z, z[:, :, :1] > -9.0).numpy()
    )
    with pytest.raises(tape.GuardError, match="a branch"):
        f(z - 20.0)
