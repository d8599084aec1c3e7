"""Initialisers: shapes, dtypes, the distributions they draw from, and how slips are noticed."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape import nn
from tape.errors import ShapeError
from tape.nn import init

WEIGHTS = {  # of at least two axes
    "glorot_uniform": init.glorot_uniform(),
    "glorot_normal": init.glorot_normal(),
    "he_uniform": init.he_uniform(),
    "he_normal": init.he_normal(),
    "lecun_uniform": init.lecun_uniform(),
    "lecun_normal": init.lecun_normal(),
    "orthogonal": init.orthogonal(),
    "identity": init.identity(),
}
ANY = {
    "zeros": init.zeros,
    "ones": init.ones,
    "constant": init.constant(3.0),
    "uniform": init.uniform(),
    "normal": init.normal(),
    "truncated_normal": init.truncated_normal(),
}
EVERY = {**ANY, **WEIGHTS}
sizes = st.integers(0, 4)


def draw(initialiser, shape, dtype="float64", seed=0):
    return initialiser(shape, np.random.default_rng(seed), dtype)


def deviations(observed, expected, n):
    """How many standard errors the mean of n values of variance 1 lies off."""
    return abs(observed - expected) * math.sqrt(n)


@given(
    st.sampled_from(sorted(EVERY)),
    st.lists(sizes, max_size=4).map(tuple),
    st.sampled_from(["float32", "float64"]),
)
def test_every_initialiser_gives_the_shape_and_dtype_it_is_asked_for(name, shape, dtype):
    if name in WEIGHTS and len(shape) < 2:
        with pytest.raises(ShapeError, match=f"{name}: takes weights of at least two axes"):
            draw(EVERY[name], shape, dtype)
        return
    value = draw(EVERY[name], shape, dtype)
    assert value.shape == shape
    assert value.dtype == dtype
    assert np.isfinite(value).all()


@pytest.mark.parametrize("name", sorted(EVERY))
def test_the_generator_alone_decides_what_comes_out(name):
    first = draw(EVERY[name], (5, 4), seed=3)
    assert first.tobytes() == draw(EVERY[name], (5, 4), seed=3).tobytes()
    if name not in ("zeros", "ones", "constant", "identity"):
        assert first.tobytes() != draw(EVERY[name], (5, 4), seed=4).tobytes()


@given(st.integers(1, 9), st.integers(1, 9), st.lists(st.integers(1, 5), max_size=2))
def test_fans_count_the_window_once_for_each_neighbour(n_out, n_in, window):
    r = math.prod(window)
    assert init.fans("x", (n_out, n_in, *window)) == (n_in * r, n_out * r)


SHAPE = (60, 20, 5, 5)  # fan_in 500, fan_out 1500, 30,000 numbers
VARIANCES = [
    (init.glorot_uniform(2.0), 4 * 2 / 2000, True),
    (init.glorot_normal(), 2 / 2000, False),
    (init.he_uniform(), 2 / 500, True),
    (init.he_normal(), 2 / 500, False),
    (init.he_normal(1.0), 1 / 500, False),
    (init.lecun_uniform(), 1 / 500, True),
    (init.lecun_normal(), 1 / 500, False),
    (init.uniform(-0.5, 1.5), 4 / 12, True),
    (init.normal(0.3), 0.09, False),
]


@pytest.mark.parametrize(("initialiser", "variance", "is_uniform"), VARIANCES)
def test_values_have_the_variance_and_the_shape_of_distribution_they_promise(
    initialiser, variance, is_uniform
):
    value = draw(initialiser, SHAPE)
    mean = 0.5 if value.max() > 1.4 else 0.0
    z = (value - mean) / math.sqrt(variance)
    assert deviations(z.mean(), 0, z.size) < 4
    fourth = 1.8 if is_uniform else 3.0  # E z**4
    assert deviations((z**2).mean(), 1, z.size) < 4 * math.sqrt(fourth - 1)
    assert abs((z**4).mean() - fourth) < 0.2
    assert (abs(z) <= math.sqrt(3) * (1 + 1e-12)).all() == is_uniform


@pytest.mark.parametrize("bound", [0.5, 1.0, 2.0, 4.0])
def test_a_truncated_normal_keeps_its_bound_and_is_normal_within(bound):
    value = draw(init.truncated_normal(0.1, 3.0, bound), (200, 200))
    z = (value - 3.0) / 0.1
    assert abs(z).max() <= bound * (1 + 1e-9)
    assert abs(z).max() > 0.97 * bound
    density = math.exp(-(bound**2) / 2) / math.sqrt(2 * math.pi)
    variance = 1 - 2 * bound * density / math.erf(bound / math.sqrt(2))
    assert deviations(z.mean(), 0, z.size) < 4
    assert (z**2).mean() == pytest.approx(variance, rel=0.03)


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 2), st.floats(0.5, 2.0))
def test_an_orthogonal_weight_has_orthonormal_rows_or_columns(n_out, n_in, window, gain):
    w = draw(init.orthogonal(gain), (n_out, n_in, window)).reshape(n_out, -1) / gain
    gram = w @ w.T if n_out <= n_in * window else w.T @ w
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


def test_orthogonal_weights_are_spread_evenly():
    ws = np.stack([draw(init.orthogonal(), (2, 2), seed=i) for i in range(2000)])
    # Of a rotation or reflection by a uniform angle: each entry has mean 0 and variance 1/2.
    assert abs(ws.mean(0)).max() < 4 * math.sqrt(0.5 / 2000)
    assert (np.linalg.det(ws) > 0).mean() == pytest.approx(0.5, abs=0.05)


def test_identity_passes_inputs_through_also_at_the_centre_of_a_window():
    assert draw(init.identity(2.0), (2, 3)).tolist() == [[2, 0, 0], [0, 2, 0]]
    w = draw(init.identity(), (2, 2, 3, 3))
    assert w[0, 0].tolist() == w[1, 1].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert w.sum() == 2


@pytest.mark.parametrize("name", [n for n in init.__all__ if n not in ("zeros", "ones", "fans")])
def test_a_maker_of_initialisers_that_was_not_called_is_noticed_when_the_layer_is_built(name):
    with pytest.raises(TypeError, match=f"init.{name} makes an initialiser: call it"):
        nn.Dense(3, init=getattr(init, name))


def test_a_number_is_no_initialiser():
    with pytest.raises(TypeError, match=r"got 0\.5; for one value everywhere take init\.constant"):
        nn.Dense(3, init_bias=0.5)


BAD = [
    (lambda: init.normal(-1.0), "normal: std must be at least 0"),
    (lambda: init.truncated_normal(-1.0), "truncated_normal: std must be at least 0"),
    (lambda: init.truncated_normal(bound=0.0), "bound must be positive"),
    (lambda: init.uniform(1.0, 0.0), r"uniform: low = 1\.0 is above high = 0\.0"),
    (lambda: init.he_normal(math.nan), "he_normal: gain must be at least 0, got nan"),
]


@pytest.mark.parametrize(("make", "match"), BAD)
def test_settings_without_meaning_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize(
    "make",
    [
        *(lambda: init.normal("a"), lambda: init.normal(1.0, "a"), lambda: init.he_uniform("a")),
        *(lambda: init.uniform("a"), lambda: init.truncated_normal(bound="a")),
        *(lambda: init.orthogonal("a"), lambda: init.identity("a")),
    ],
)
def test_settings_that_are_no_numbers_are_told_in_words(make):
    with pytest.raises(TypeError, match=r"^\w+: \w+ must be a number, got 'a'"):
        make()
