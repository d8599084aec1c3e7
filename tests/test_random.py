"""Random tensors and dropout: reproducible, in range, and honest about what was dropped."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tape

shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)
seeds = st.integers(0, 2**32)
DRAWS = {
    "normal": lambda **o: tape.random.normal((3, 4), **o),
    "uniform": lambda **o: tape.random.uniform((3, 4), **o),
    "integers": lambda **o: tape.random.integers(9, shape=(3, 4), **o),
    "permutation": lambda **o: tape.random.permutation(9, **o),
    "bernoulli": lambda **o: tape.random.bernoulli(0.5, (3, 4), **o),
    "dropout": lambda **o: tape.dropout(tape.ones((5, 4)), **o),
}


@pytest.mark.parametrize("name", DRAWS)
@given(seed=seeds)
def test_the_same_seed_gives_the_same_numbers(name, seed):
    draw = DRAWS[name]
    tape.random.seed(seed)
    first = [draw().tolist() for _ in range(6)]
    tape.random.seed(seed)
    assert [draw().tolist() for _ in range(6)] == first
    generators = [np.random.default_rng(seed) for _ in range(2)]
    assert draw(rng=generators[0]).tolist() == draw(rng=generators[1]).tolist()
    assert any(later != first[0] for later in first)


@pytest.mark.parametrize("name", DRAWS)
def test_a_generator_of_ones_own_leaves_the_process_alone(name):
    tape.random.seed(3)
    expected = tape.random.normal(5).tolist()
    tape.random.seed(3)
    DRAWS[name](rng=np.random.default_rng(0))
    assert tape.random.normal(5).tolist() == expected
    with pytest.raises(TypeError, match=rf"{name}: rng is a numpy\.random\.Generator or None"):
        DRAWS[name](rng=3)


def test_a_dropped_python_number_is_float32_as_elsewhere():
    for options in ({}, {"training": False}, {"p": 0}):
        assert tape.dropout(3.0, **options).dtype == np.float32


def test_without_a_seed_processes_differ():
    tape.random.seed()
    first = tape.random.normal(4).tolist()
    tape.random.seed()
    assert tape.random.normal(4).tolist() != first
    assert tape.random.generator() is tape.random.generator()


@given(shapes, st.floats(-5, 5), st.floats(0, 5), seeds)
def test_normal_is_numpys_in_the_dtype_asked_for(shape, mean, std, seed):
    for kind in (np.float32, np.float64):
        rng = np.random.default_rng(seed)
        t = tape.random.normal(shape, mean, std, dtype=kind, rng=np.random.default_rng(seed))
        assert (t.shape, t.dtype, t.is_leaf) == (shape, kind, True)
        truth = rng.standard_normal(shape, kind) * kind(std) + kind(mean)
        np.testing.assert_array_equal(t.numpy(), truth.astype(kind))


@given(st.floats(-1e30, 1e30), st.floats(0, 1e30), seeds)
def test_uniform_stays_below_its_upper_end(low, width, seed):
    for kind in (np.float32, np.float64):
        first, last = kind(low), kind(low + width)
        t = tape.random.uniform(
            100, float(first), float(last), dtype=kind, rng=np.random.default_rng(seed)
        )
        x = t.numpy()
        assert t.dtype == kind
        assert np.all((x >= first) & ((x < last) | (first == last)))


class AlmostOne(np.random.Generator):
    """A generator that draws the largest number below one, as a fair one does once in a while."""

    def random(self, size=None, dtype=np.float64):
        return np.full(size, np.nextafter(dtype.type(1), dtype.type(0)), dtype)


def test_rounding_does_not_carry_uniform_to_its_upper_end():
    rng = AlmostOne(np.random.PCG64(0))
    assert np.float32(1 + 2**-24) == 1  # as low + (high - low) * u would be rounded
    assert tape.random.uniform(3, 1.0, 2.0, rng=rng).numpy().max() < 2


def test_moments_are_as_asked_for():
    tape.random.seed(1)
    normal = tape.random.normal(100_000, 3.0, 2.0).numpy()
    assert abs(normal.mean() - 3) < 0.03
    assert abs(normal.std() - 2) < 0.03
    uniform = tape.random.uniform(100_000, -1, 3).numpy()
    assert abs(uniform.mean() - 1) < 0.03
    assert abs(uniform.var() - 16 / 12) < 0.03
    assert abs(tape.random.bernoulli(0.3, 100_000).numpy().mean() - 0.3) < 0.01


@given(st.integers(-9, 9), st.integers(1, 9), shapes, seeds)
def test_integers_reach_both_ends_of_their_range(low, width, shape, seed):
    rng = np.random.default_rng(seed)
    t = tape.random.integers(low, low + width, shape, rng=rng)
    assert (t.shape, t.dtype) == (shape, np.int64)
    assert np.all((t.numpy() >= low) & (t.numpy() < low + width))
    many = tape.random.integers(low, low + width, 500, rng=rng, dtype=np.int32)
    assert set(many.tolist()) == set(range(low, low + width))
    assert set(tape.random.integers(width, shape=500, rng=rng).tolist()) == set(range(width))


@given(st.integers(0, 40), seeds)
def test_a_permutation_holds_every_number_once(n, seed):
    t = tape.random.permutation(n, rng=np.random.default_rng(seed))
    assert t.dtype == np.int64
    assert sorted(t.tolist()) == list(range(n))


def test_bernoulli_takes_a_tensor_of_probabilities():
    p = tape.tensor([[0.0, 1.0, 0.5]])
    t = tape.random.bernoulli(p, (200, 3))
    assert t.dtype == np.float32
    assert np.all(t.numpy()[:, :2] == [0, 1])
    assert 50 < t.numpy()[:, 2].sum() < 150
    assert tape.random.bernoulli(p).shape == (1, 3)
    assert tape.random.bernoulli(p, dtype=bool).dtype == np.bool_


def test_numbers_out_of_range_are_refused():
    for p in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="bernoulli: a probability is outside"):
            tape.random.bernoulli(p, 3)
        with pytest.raises(ValueError, match=f"dropout: p is {p}, expected a probability"):
            tape.dropout(tape.ones(3), p)
    with pytest.raises(ValueError, match=r"normal: mean 0\.0 and std -1, expected finite float32"):
        tape.random.normal(3, std=-1)
    with pytest.raises(ValueError, match=r"uniform: no range of float32 from 0 to 1e\+40"):
        tape.random.uniform(3, 0, 1e40)
    with pytest.raises(ValueError, match="uniform: no range of float32 from 1 to 0"):
        tape.random.uniform(3, 1, 0)
    with pytest.raises(tape.DTypeError, match="normal: draws float32 or float64, not int64"):
        tape.random.normal(3, dtype=int)
    with pytest.raises(tape.ShapeError, match=r"p \(3,\) does not broadcast to \(2,\)"):
        tape.random.bernoulli([0.1, 0.2, 0.3], 2)
    with pytest.raises(tape.ShapeError, match="permutation: the shape"):
        tape.random.permutation(-1)


def test_threads_share_the_generator_without_drawing_a_number_twice():
    tape.random.seed(7)
    drawn = [None] * 4

    def draw(i):
        drawn[i] = np.concatenate([tape.random.uniform(50, dtype="float64") for _ in range(50)])

    threads = [threading.Thread(target=draw, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    tape.random.seed(7)
    expected = tape.random.uniform(4 * 2500, dtype="float64").numpy()
    np.testing.assert_array_equal(np.sort(np.concatenate(drawn)), np.sort(expected))


# dropout


@given(shapes, st.floats(0.01, 0.99), seeds)
def test_dropout_keeps_or_drops_and_the_gradient_with_it(shape, p, seed):
    x = tape.ones(shape, requires_grad=True)
    y = tape.dropout(x, p, rng=np.random.default_rng(seed))
    kept = np.float32(1 / (1 - p))
    assert set(np.unique(y.numpy())) <= {np.float32(0), kept}
    np.testing.assert_array_equal(tape.grad(y, x, g=np.ones(shape, "f4")).numpy(), y.numpy())


def test_dropout_does_not_change_the_expectation():
    y = tape.dropout(tape.ones(100_000), 0.2, rng=np.random.default_rng(0)).numpy()
    assert abs(y.mean() - 1) < 0.01
    assert abs((y == 0).mean() - 0.2) < 0.01


def test_dropout_draws_anew_at_every_call():
    x = tape.ones(64, requires_grad=True)
    first, second = tape.dropout(x), tape.dropout(x)
    assert first.serial != second.serial
    assert first.tolist() != second.tolist()


def test_dropout_that_drops_nothing_is_the_same_tensor():
    x = tape.ones(3, requires_grad=True)
    assert tape.dropout(x, training=False) is x
    assert tape.dropout(x, 0) is x


@pytest.mark.parametrize("p", [0.5, 1])
def test_what_is_dropped_is_zero_even_if_it_was_not_finite(p):
    x = tape.tensor(np.full(100, np.inf), requires_grad=True)
    y = tape.dropout(x, p, rng=np.random.default_rng(0))
    dx = tape.grad(y, x, g=np.full(100, np.nan)).numpy()
    dropped = y.numpy() == 0
    assert dropped.sum() == 100 if p == 1 else 20 < dropped.sum() < 80
    assert np.all(np.isinf(y.numpy()[~dropped]))
    np.testing.assert_array_equal(dx == 0, dropped)


def test_dropout_has_a_second_derivative_through_the_same_choice():
    x = tape.tensor(np.arange(1.0, 9.0), requires_grad=True)
    y = tape.dropout(x * x * x, 0.5, rng=np.random.default_rng(0))
    (dx,) = tape.grad(y.sum(), [x], create_graph=True)
    np.testing.assert_allclose(tape.grad(dx.sum(), x).numpy(), 6 * y.numpy() / x.numpy() ** 2)
