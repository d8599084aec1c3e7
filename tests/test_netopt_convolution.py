"""`factor_convolution`: rows of small convolutions that compute what a large one did."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import values

import tape
from tape import nn
from tape.errors import NumericsError, TapeError
from tape.netopt import ranks
from tape.netopt.factorization import factor_convolution
from tape.netopt.factorization.tucker import composed, separable, sides, tucker2, unfolded

KINDS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def normal(*shape, seed=0, dtype="d"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def planted(n_out, n_in, r_out, r_in, window, seed=0):
    """A kernel whose channels lie in r_out and r_in dimensions."""
    core = normal(r_out, r_in, *window, seed=seed)
    w = np.tensordot(normal(n_out, r_out, seed=seed + 1), core, 1)
    return np.moveaxis(np.tensordot(w, normal(r_in, n_in, seed=seed + 2), (1, 0)), -1, 1)


@st.composite
def layers(draw):
    """(convolution of any geometry with planted ranks, those ranks, an image)."""
    n = draw(st.integers(1, 3))
    n_in, n_out = draw(st.integers(2, 5)), draw(st.integers(2, 5))
    ranks_of = draw(st.integers(1, n_in)), draw(st.integers(1, n_out))
    window = tuple(draw(st.lists(st.integers(1, 3), min_size=n, max_size=n)))
    each = st.lists(st.integers(1, 2), min_size=n, max_size=n).map(tuple)
    pads = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=n, max_size=n)
    padding = draw(st.sampled_from(["valid", "same"]) | pads.map(tuple))
    stride = (1,) * n if padding == "same" else draw(each)
    layer = KINDS[n](
        n_out,
        window,
        stride,
        padding,
        draw(each),
        bias=draw(st.booleans()),
        activation=draw(st.sampled_from([None, tape.tanh])),
        n_in=n_in,
        init_bias=nn.init.normal(),
        dtype="float64",
    )
    layer.weight = nn.Parameter(planted(n_out, n_in, *ranks_of[::-1], window))
    size = int(np.prod(window))
    pair = min(ranks_of[0], n_out * size), min(ranks_of[1], n_in * size)
    return layer, pair, tape.tensor(normal(2, n_in, *([6] * n), seed=5))


@given(layers())
def test_planted_ranks_give_the_same_results_in_any_geometry(drawn):
    layer, pair, x = drawn
    net = nn.Sequential(layer)
    new, report = factor_convolution(net, pair, only_cheaper=False, return_report=True)
    np.testing.assert_allclose(new(x).numpy(), layer(x).numpy(), rtol=1e-9, atol=1e-9)
    row = report["0"]
    if row.is_changed:
        assert row.error < 1e-9
        assert new[0][-1].activation is layer.activation
        assert (new[0][-1].bias is None) == (layer.bias is None)
    else:
        assert row.action == "kept: full rank, there is nothing to gain"


@given(layers(), st.data())
def test_separable_layers_of_planted_rank_give_the_same_results(drawn, data):
    layer, _, x = drawn
    net = nn.Sequential(layer)
    if layer.n_axes != 2:
        _, report = factor_convolution(net, 1, method="separable", return_report=True)
        assert report["0"].action == "kept: only Conv2d is separable"
        return
    shape = sides(layer.weight.numpy()).shape
    k = data.draw(st.integers(1, min(shape)))
    first = normal(k, layer.n_in, layer.kernel[0], 1)
    second = normal(layer.n_out, k, 1, layer.kernel[1], seed=1)
    layer.weight = nn.Parameter(composed([first, second]))
    new = factor_convolution(net, k, method="separable", only_cheaper=False)
    assert [conv.n_out for conv in new[0]] == [k, layer.n_out]
    np.testing.assert_allclose(new(x).numpy(), layer(x).numpy(), rtol=1e-9, atol=1e-9)


@given(st.integers(2, 8), st.integers(2, 8), st.integers(0, 50), st.data())
def test_a_tucker_core_loses_no_more_than_the_tails_of_both_unfoldings(n_out, n_in, seed, data):
    w = normal(n_out, n_in, 3, 3, seed=seed)
    r_in, r_out = data.draw(st.integers(1, n_in)), data.draw(st.integers(1, n_out))
    found = np.linalg.norm(w - composed(tucker2(w, r_in, r_out)))
    tails = [
        np.sum(np.linalg.svd(unfolded(w, axis), compute_uv=False)[rank:] ** 2)
        for axis, rank in ((0, r_out), (1, r_in))
    ]
    assert found <= np.sqrt(sum(tails)) + 1e-9
    assert found >= np.sqrt(max(tails)) - 1e-9


@given(st.integers(1, 5), st.integers(1, 5), st.data())
def test_the_error_of_a_separable_kernel_is_the_tail_of_the_spectrum(n_out, n_in, data):
    w = normal(n_out, n_in, 3, 2)
    s = np.linalg.svd(sides(w), compute_uv=False)
    k = data.draw(st.integers(1, len(s)))
    found = np.linalg.norm(w - composed(separable(w, k)))
    assert found == pytest.approx(np.sqrt(np.sum(s[k:] ** 2)), abs=1e-9)


def test_without_a_rank_noise_is_told_from_signal():
    w = planted(64, 48, 10, 6, (3, 3)) + 0.5 * normal(64, 48, 3, 3, seed=9)
    net = nn.Sequential(nn.Conv2d(64, 3, padding=1, activation=tape.relu, n_in=48))
    net[0].weight = nn.Parameter(w.astype("f"))
    new, report = factor_convolution(net, return_report=True)
    assert report["0"].action == "Tucker-2, rank 6, 10"
    assert [conv.kernel for conv in new[0]] == [(1, 1), (3, 3), (1, 1)]
    assert [conv.padding for conv in new[0]] == [((0, 0),) * 2, ((1, 1),) * 2, ((0, 0),) * 2]
    weaker = factor_convolution(net, ranks.evbmf(weaken=0.1))
    assert [conv.n_out for conv in weaker[0]][:2] == [10, 15]


def test_windows_of_one_pixel_become_two_layers():
    net = nn.Sequential(nn.Conv2d(32, 1, stride=2, padding=1, n_in=40))
    new, report = factor_convolution(net, 4, return_report=True)
    assert report["0"].action == "SVD, rank 4"
    assert [(conv.stride, conv.n_out) for conv in new[0]] == [((2, 2), 4), ((1, 1), 32)]
    full = factor_convolution(net, 32, only_cheaper=False)
    x = tape.tensor(normal(2, 40, 5, 5, dtype="f"))
    np.testing.assert_allclose(full(x).numpy(), net(x).numpy(), rtol=1e-4, atol=1e-4)


def test_groups_and_other_kinds_are_named_and_left_alone():
    net = nn.Sequential(
        nn.Conv2d(8, 3, groups=4, n_in=4), nn.ConvTranspose2d(8, 3, n_in=8), nn.Conv2d(8, 3, n_in=8)
    )
    new, report = factor_convolution(net, 2, return_report=True)
    assert report["0"].action == "kept: 4 groups are not supported"
    assert report["1"].action == "kept: ConvTranspose2d is not supported"
    assert [type(layer).__name__ for layer in new] == ["Conv2d", "ConvTranspose2d", "Sequential"]


def test_shared_layers_names_and_modes_stay():
    shared = nn.Conv2d(16, 3, padding="same", activation=tape.tanh, n_in=16)
    net = nn.Sequential(shared, nn.Conv2d(16, 3, padding=1, n_in=16), shared).eval()
    net[1].weight = shared.weight
    net.freeze("0")
    new = factor_convolution(net, 2)
    assert new[0] is new[2]
    assert new[0][1].weight is new[1][1].weight
    assert [m.is_frozen for m in new] == [True, False, True]
    assert not any(m.training for m in new.modules())
    assert list(new.state_dict())[:4] == ["0.0.weight", "0.1.weight", "0.2.weight", "0.2.bias"]


@pytest.mark.parametrize(
    ("rank", "options", "error", "words"),
    [
        (9, {}, ValueError, r"0 \(8, 8, 3, 3\): rank 9 must be from 1 to 8"),
        ((2, 0), {}, ValueError, r"0 \(8, 8, 3, 3\): rank 0 must be from 1 to 8"),
        ((2, 2, 2), {}, ValueError, "rank is one for both or a pair"),
        (2, {"method": "cp"}, ValueError, "method is one of .* got 'cp'"),
        (25, {"method": "separable"}, ValueError, "rank 25 must be from 1 to 24"),
        (2, {"filter_function": lambda m: False}, TapeError, "Conv1d or Conv2d or Conv3d layers"),
    ],
)
def test_bad_calls_are_refused_and_leave_the_model_alone(rank, options, error, words):
    net = nn.Sequential(nn.Conv2d(8, 3, n_in=8))
    before = values(net)
    with pytest.raises(error, match=words):
        factor_convolution(net, rank, **options)
    assert values(net) == before


def test_kernels_that_are_no_numbers_are_named():
    net = nn.Sequential(nn.Conv2d(8, 3, n_in=8))
    with tape.no_grad():
        net[0].weight[0, 1] = np.inf
    with pytest.raises(NumericsError, match=r"0 \(8, 8, 3, 3\): 9 of 576 numbers are NaN or inf"):
        factor_convolution(net, 2)


def test_what_pays_is_measured_on_a_batch():
    net = nn.Sequential(nn.Conv2d(64, 3, padding=1, activation=tape.relu, n_in=64))
    x = tape.tensor(normal(4, 64, 16, 16, dtype="f"))
    _, report = factor_convolution(net, (16, 16), x=x, return_report=True)
    assert report["0"].is_changed
    assert report.total.multiply_adds == (
        4 * 256 * 64 * 576,
        4 * 256 * (64 * 16 + 16 * 144 + 16 * 64),
    )
    assert report.speedup > 1


def test_a_convolution_without_numbers_is_left_alone():
    net = nn.Sequential(nn.Conv2d(0, 3, n_in=2), nn.Conv2d(8, 3, n_in=8))
    _, report = factor_convolution(net, 2, return_report=True)
    assert report["0"].action == "kept: has no numbers"
