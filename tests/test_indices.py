"""Integer indices (tape._kernels.indices): their range, and sums of rows, against NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from layouts import dtypes, generators, laid_out, layouts

from tape._kernels.indices import add_into, first_outside, scatter_add

INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]


@given(st.data())
def test_the_first_integer_out_of_range_is_found(data):
    dtype = data.draw(st.sampled_from(INTEGERS))
    facts = np.iinfo(dtype)
    any_value = st.integers(int(facts.min), int(facts.max))
    near = st.integers(max(int(facts.min), -3), 3)
    shape = data.draw(npst.array_shapes(min_side=0))
    index = data.draw(npst.arrays(dtype, shape, elements=near | any_value))
    low, high = data.draw(st.integers(-3, 0)), data.draw(st.integers(0, 3) | st.just(2**63 - 1))
    outside = [i for i, v in enumerate(index.ravel().tolist()) if not low <= v < high]
    if data.draw(st.booleans()):
        index = np.repeat(index, 2, axis=-1)[..., ::2]
    layout = data.draw(st.sampled_from(["C", "negative strides", "F", "read-only"]))
    found = first_outside(laid_out(index, layout), low, high)
    assert found == (outside[0] if outside else -1)
    if index.size:
        value = int(index.flat[0])
        assert first_outside(np.asarray(index.flat[0]), low, high) == -(low <= value < high)


def test_only_integers_have_a_range():
    for dtype in ("float64", "bool"):
        with pytest.raises(TypeError, match=dtype):
            first_outside(np.zeros(3, dtype), 0, 1)


@given(generators, dtypes)
def test_rows_add_up_in_order(rng, dtype):
    outer, n, inner = rng.integers(0, 4), rng.integers(1, 5), rng.integers(0, 5)
    index = rng.integers(-n, n, rng.integers(0, 9))
    y = rng.normal(size=(outer, n, inner)).astype(dtype)
    g = rng.normal(size=(outer, index.size, inner)).astype(dtype)
    expected = y.copy()
    for o in range(outer):
        for i, row in enumerate(index):
            expected[o, row] += g[o, i]
    scatter_add(y, index, g)
    assert y.tobytes() == expected.tobytes()


@pytest.mark.parametrize("index", [3, -4, 2**31, -(2**31), 2**63 - 1, -(2**63)])
def test_a_row_that_is_not_there_is_refused_before_any_sum(index):
    y = np.zeros((1, 3, 2))
    with pytest.raises(IndexError, match=rf"index {index} at 1 is not in \[-3, 3\)"):
        scatter_add(y, np.array([0, index]), np.ones((1, 2, 2)))
    assert not y.any()


def test_rows_that_do_not_fit_are_refused():
    y, index, g = np.zeros((2, 3, 4)), np.array([0, 2]), np.ones((2, 2, 4))
    frozen = y.copy()
    frozen.flags.writeable = False
    for bad in [
        (y[0], index, g),
        (y, index[None], g),
        (y, index, g[:, :1]),
        (y, index, g[:1]),
        (y, index, g[..., :3]),
        (y.astype("float32"), index, g),
        (y, index.astype("int32"), g),
        (y.astype("int64"), index, g.astype("int64")),
        (np.asfortranarray(y), index, g),
        (y, np.zeros(4, int)[::2], g),
        (y, index, g[..., ::-1]),
        (frozen, index, g),
    ]:
        with pytest.raises(ValueError, match="scatter_add"):
            scatter_add(*bad)
    assert not y.any()


@given(generators, dtypes, layouts.filter(lambda name: name not in ("byte-swapped", "misaligned")))
def test_adding_into_a_view_is_numpys(rng, dtype, layout):
    y = rng.normal(size=(3, 4, 5)).astype(dtype)
    x = laid_out(rng.normal(size=(4, 1)).astype(dtype), layout)
    expected = y.copy()
    expected[::-2, :, 1:3] += x
    add_into(y[::-2, :, 1:3], x)
    assert y.tobytes() == expected.tobytes()


def test_adding_what_does_not_fit_is_refused():
    y = np.zeros((2, 3))
    for x in [np.zeros(2), np.zeros((1, 2, 3)), np.zeros(3, "float32"), np.zeros(3, int)]:
        with pytest.raises(ValueError, match="add_into"):
            add_into(y, x)
    y.flags.writeable = False
    with pytest.raises(ValueError, match="add_into"):
        add_into(y, np.zeros(3))


def test_an_infinite_sum_does_not_warn():
    y = np.array([np.inf, 1e308])
    add_into(y, np.array([-np.inf, 1e308]))
    assert np.isnan(y[0])
    assert np.isinf(y[1])
