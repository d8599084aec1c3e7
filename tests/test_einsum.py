"""einsum, tensordot and vecdot against NumPy; gradients by their linearity in each operand."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import tape
from tape.errors import AxisError, ShapeError
from tape.testing import assert_close, gradcheck

DTYPES = ["float64", "float32", "int64", "int8", "bool"]


@st.composite
def contractions(draw, max_operands=4):
    """Subscripts that NumPy takes, and a shape for each operand."""
    letters = "bxaZ"
    sizes = {c: draw(st.integers(0, 3)) for c in letters}
    dotted = [draw(st.integers(0, 3)) for _ in range(2)]
    terms, shapes, any_dots = [], [], False
    for _ in range(draw(st.integers(1, max_operands))):
        term = draw(st.text(letters, max_size=3))
        shape = [sizes[c] for c in term]
        for c in set(term):
            if draw(st.integers(0, 5)) == 0:  # one element, which broadcasts
                shape = [1 if d == c else n for d, n in zip(term, shape, strict=True)]
        if draw(st.integers(0, 3)) == 0:
            at, rank = draw(st.integers(0, len(term))), draw(st.integers(0, 2))
            term = term[:at] + "..." + term[at:]
            shape = shape[:at] + dotted[2 - rank :] + shape[at:]
            any_dots |= rank > 0
        terms.append(term)
        shapes.append(tuple(shape))
    text = ",".join(terms)
    if draw(st.booleans()):
        used = sorted({c for c in text if c.isalpha()})
        result = draw(st.permutations(used))[: draw(st.integers(0, len(used)))]
        if any_dots or (draw(st.integers(0, 3)) == 0 and "..." in text):
            result.insert(draw(st.integers(0, len(result))), "...")
        text += "->" + "".join(result)
    return text, shapes


def operands_for(shapes, dtype, seed):
    rng = np.random.default_rng(seed)
    return [rng.integers(-2, 3, shape).astype(dtype) for shape in shapes]


@given(contractions(), st.sampled_from(DTYPES), st.integers(0, 2**16))
@example(("...,...", [(), ()]), "float64", 0)
@example(("ij,j", [(2, 1), (3,)]), "float64", 0)
def test_einsum_has_numpys_values_and_dtype(contraction, dtype, seed):
    text, shapes = contraction
    xs = operands_for(shapes, dtype, seed)
    expected = np.einsum(text, *xs)
    y = tape.einsum(text, *xs)
    assert y.dtype == expected.dtype
    np.testing.assert_array_equal(y.numpy(), expected)


@given(contractions(), st.integers(0, 2**16))
def test_einsum_gradients_are_those_of_a_product(contraction, seed):
    text, shapes = contraction
    xs = operands_for(shapes, "float64", seed)
    ts = [tape.tensor(x, requires_grad=True) for x in xs]
    y = tape.einsum(text, *ts)
    rng = np.random.default_rng(seed)
    g = rng.integers(-2, 3, y.shape).astype(float)
    for i, t in enumerate(ts):
        moved = rng.integers(-2, 3, t.shape).astype(float)
        dy = np.einsum(text, *xs[:i], moved, *xs[i + 1 :])
        assert (tape.grad(y, t, g=g).numpy() * moved).sum() == (dy * g).sum()


@given(contractions(max_operands=2), st.integers(0, 2**16))
def test_einsum_is_linear_forward_and_twice_differentiable(contraction, seed):
    text, shapes = contraction
    xs = operands_for(shapes, "float64", seed)
    gradcheck(lambda *ts: tape.einsum(text, *ts), xs, order=2)


def test_einsum_sums_over_dots_that_the_result_does_not_have():
    x = np.arange(24.0).reshape(2, 3, 4)
    t = tape.tensor(x, requires_grad=True)
    assert tape.einsum("...i->i", t).tolist() == x.sum(axis=(0, 1)).tolist()
    y = tape.einsum("...ij,...j->i", t, t[0, 0])
    assert y.tolist() == np.einsum("bij,j->i", x, x[0, 0]).tolist()
    gradcheck(lambda x: tape.einsum("...ij,...j->i", x, x[0, 0]), [x], order=2)


def test_einsum_pairs_its_operands_so_that_the_work_stays_small():
    """Contracted in the order given, the first pair alone would have 10**9 elements."""
    a, b, c = np.ones((1000, 3)), np.ones((3, 1000)), np.ones((1000, 3))
    with tape.Tape() as t:
        y = tape.einsum("ij,kl,li->jk", tape.tensor(a), tape.tensor(c), tape.tensor(b))
        assert t.evaluations == 2
    np.testing.assert_allclose(y.numpy(), np.full((3, 1000), 3000.0))


def test_einsum_spelled_in_two_ways_is_one_node():
    a, b = tape.tensor(np.ones((2, 3))), tape.tensor(np.ones((3, 4)))
    first, second = tape.einsum("ij,jk", a, b), tape.einsum(" ij, jk -> ik", a, b)
    assert first.serial == second.serial


def test_einsum_takes_arrays_and_numbers_among_tensors():
    a = np.arange(6.0).reshape(2, 3)
    assert tape.einsum("ij,->i", a, 2.0).tolist() == [6.0, 24.0]


def test_trace_puts_its_cotangent_on_the_diagonal():
    x = tape.tensor(np.ones((3, 3)), requires_grad=True)
    np.testing.assert_array_equal(tape.grad(tape.einsum("ii", x), x).numpy(), np.eye(3))


@pytest.mark.parametrize(
    ("text", "shapes", "message"),
    [
        ("ij,jk", [(2, 3), (4, 2)], r"einsum: index 'j' is 3 in \(2, 3\) and 4 in \(4, 2\)"),
        ("ij", [(2, 3), (3,)], r"einsum: 'ij' names 1 operands, got 2"),
        ("ijk", [(2, 3)], r"einsum: 'ijk' in 'ijk' names 3 axes, operand 0 has 2"),
        ("i...,j", [(2,), (2, 3)], r"'j' in 'i...,j' names 1 axes, operand 1 has 2"),
        ("ii", [(2, 3)], r"index 'i' is 2 in \(2, 3\) and 3 in \(2, 3\)"),
        ("ii", [(1, 3)], r"index 'i' is 1 and 3 in one operand \(1, 3\)"),
        ("i->j", [(2,)], r"einsum: 'j' in 'i->j' is not one of 'i'"),
        ("ij->ii", [(2, 2)], r"the result of 'ij->ii' names an index twice"),
        ("i1", [(2, 2)], r"einsum: '1' in 'i1' is not one of"),
        ("i..", [(2, 2)], r"einsum: '.' in 'i..' is not one of"),
    ],
)
def test_einsum_says_what_does_not_fit(text, shapes, message):
    with pytest.raises(ShapeError, match=message):
        tape.einsum(text, *[np.ones(shape) for shape in shapes])


def test_einsum_wants_its_subscripts_as_text():
    with pytest.raises(TypeError, match="einsum: subscripts are a string, got Tensor"):
        tape.einsum(tape.tensor(1.0), "i")


# -- tensordot ------------------------------------------------------------------------------------


@st.composite
def paired_axes(draw):
    """Two shapes and the axes of each that go together."""
    common = draw(st.lists(st.integers(0, 3), max_size=3))
    a, b = [draw(st.lists(st.integers(0, 3), max_size=2)) for _ in range(2)]
    places = []
    for shape in (a, b):
        order = draw(st.permutations(range(len(shape) + len(common))))
        shape += common
        shape[:] = [shape[i] for i in order]
        # Axis i of the shape before is now where `order` says i.
        places.append([order.index(i) for i in range(len(shape) - len(common), len(shape))])
    signs = [draw(st.booleans()) for _ in common]
    axes = [
        [i - len(shape) if back else i for i, back in zip(found, signs, strict=True)]
        for shape, found in zip((a, b), places, strict=True)
    ]
    return tuple(a), tuple(b), tuple(axes)


@given(paired_axes(), st.sampled_from(["float64", "float32", "int64"]), st.integers(0, 2**16))
def test_tensordot_is_numpys(paired, dtype, seed):
    a_shape, b_shape, axes = paired
    a, b = operands_for([a_shape, b_shape], dtype, seed)
    y = tape.tensordot(a, b, axes=axes)
    expected = np.tensordot(a, b, axes=axes)
    assert y.dtype == expected.dtype
    np.testing.assert_array_equal(y.numpy(), expected)
    if dtype == "float64":
        ts = [tape.tensor(x, requires_grad=True) for x in (a, b)]
        y = tape.tensordot(*ts, axes=axes)
        da, db = [x.numpy() for x in tape.grad((y * y).sum(), ts)]
        assert (da * a).sum() == (db * b).sum() == 2 * (expected * expected).sum()


@pytest.mark.parametrize("axes", [0, 1, 2, (1, 0), ([0, 1], [1, 2])])
def test_tensordot_takes_axes_as_a_number_or_a_pair(axes):
    a, b = np.arange(9.0).reshape(3, 3), np.arange(27.0).reshape(3, 3, 3)
    np.testing.assert_array_equal(tape.tensordot(a, b, axes=axes), np.tensordot(a, b, axes=axes))


@pytest.mark.parametrize(
    ("axes", "error", "message"),
    [
        (1, ShapeError, r"tensordot: axis 1 of a \(2, 3\) is 3, axis 0 of b \(2, 4\) is 2"),
        (3, ShapeError, r"tensordot: a \(2, 3\) and b \(2, 4\) do not share 3 axes"),
        (-1, ShapeError, r"do not share -1 axes"),
        (((0,), (0, 1)), ShapeError, r"tensordot: 1 axes of a go with 2 of b"),
        ((0, 2), AxisError, r"axis 2 is out of range for 2 axes"),
        (((0, 0), (0, 0)), AxisError, r"names an axis twice"),
    ],
)
def test_tensordot_says_what_does_not_fit(axes, error, message):
    with pytest.raises(error, match=message):
        tape.tensordot(np.ones((2, 3)), np.ones((2, 4)), axes=axes)


# -- vecdot ---------------------------------------------------------------------------------------


@given(
    npst.mutually_broadcastable_shapes(signature="(n),(n)->()", max_dims=3, max_side=4),
    st.sampled_from(["float64", "float32", "int64"]),
    st.integers(0, 2**16),
    st.data(),
)
def test_vecdot_is_numpys(found, dtype, seed, data):
    a, b = operands_for(found.input_shapes, dtype, seed)
    axis = data.draw(st.integers(-min(a.ndim, b.ndim), -1))
    a, b = np.moveaxis(a, -1, axis), np.moveaxis(b, -1, axis)
    y = tape.vecdot(a, b, axis=axis)
    expected = np.vecdot(a, b, axis=axis)
    assert y.dtype == expected.dtype
    np.testing.assert_array_equal(y.numpy(), expected)


@pytest.mark.parametrize(
    "shapes", [[(3,), (3,)], [(2, 1, 3), (4, 3)], [(3,), (2, 3)], [(0,), (0,)]]
)
def test_gradient_of_vecdot(shapes):
    gradcheck(tape.vecdot, [np.random.default_rng(0).normal(size=s) for s in shapes], order=2)


def test_vecdot_counts_its_axis_in_each_operand():
    a, b = np.arange(6.0).reshape(2, 3), np.arange(24.0).reshape(2, 4, 3)
    np.testing.assert_array_equal(tape.vecdot(a, b, axis=0), np.vecdot(a, b, axis=0))


@pytest.mark.parametrize(
    ("shapes", "axis", "error", "message"),
    [
        (
            [(2, 3), (2, 4)],
            -1,
            ShapeError,
            r"vecdot: a \(2, 3\) has 3 along axis -1, b \(2, 4\) has 4",
        ),
        ([(2, 3), (4, 3)], -1, ShapeError, r"vecdot: a \(2, 3\) and b \(4, 3\) do not broadcast"),
        ([(3,), (2, 3)], -2, AxisError, r"axis -2 is out of range for 1 axes"),
    ],
)
def test_vecdot_says_what_does_not_fit(shapes, axis, error, message):
    with pytest.raises(error, match=message):
        tape.vecdot(*[np.ones(shape) for shape in shapes], axis=axis)


def test_long_dot_products_of_float32_keep_their_digits():
    a, b = np.random.default_rng(0).random((2, 100_000), np.float32)
    exact = np.dot(a.astype(float), b.astype(float))
    assert_close(tape.vecdot(a, b).item() / exact, 1.0, allowed=1e-6)
