"""The tools tests are made of: what they accept, what they catch, what they draw."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

import tape
from tape import shapes
from tape.errors import DTypeError
from tape.op import bad, op, sample
from tape.testing import (
    LAYOUTS,
    PROPERTIES,
    arrays,
    assert_close,
    broadcastable_shapes,
    check_op,
    draw,
    gradcheck,
    tensors,
)

# -- gradcheck ------------------------------------------------------------------------------------


def doubled(vjp_factor=2.0, jvp_factor=2.0):
    """An op 2 x whose rules multiply by what is given."""

    @op(shape=shapes.same)
    def double(x, /):
        """2 x.   Shapes: x (*s) -> y (*s)"""
        return x * 2

    double.defvjp(lambda g: g * vjp_factor)
    double.defjvp(lambda dx: dx * jvp_factor)
    return double


def test_gradcheck_accepts_right_gradients_of_several_inputs_and_outputs():
    def f(a, b, n):
        return tape.tanh(a @ b), (a * a).sum() * n

    rng = np.random.default_rng(0)
    assert gradcheck(f, [rng.standard_normal((3, 2)), rng.standard_normal((2, 4)), 3], order=2)


def test_gradcheck_names_input_element_and_both_values():
    wrong = doubled(vjp_factor=2.5, jvp_factor=2.5)
    with pytest.raises(AssertionError) as caught:
        gradcheck(lambda a, b: a + wrong(b), [np.zeros(2), np.ones(2)])
    message = str(caught.value)
    assert "output 0 at (0,) by input 1 at (0,), which is 1" in message
    assert "analytic 2.5, numeric 2 (difference 0.5, allowed 0.00201)" in message


@pytest.mark.parametrize("size", [3, 400])
def test_gradcheck_catches_a_factor_of_1_01_small_and_large(size):
    wrong = doubled(2.02, 2.02)
    with pytest.raises(AssertionError, match="J u by input 0" if size > 64 else "input 0 at"):
        gradcheck(wrong, [np.ones(size)])


def test_gradcheck_catches_one_wrong_element_among_many():
    @op(shape=shapes.same)
    def copy(x, /):
        return x.copy()

    weights = np.ones(500)
    weights[77] = 2.0
    copy.defvjp(lambda g: g * weights)
    with pytest.raises(AssertionError, match="gradcheck: "):
        gradcheck(copy, [np.zeros(500)])


def test_gradcheck_catches_modes_that_differ():
    with pytest.raises(AssertionError, match="the two rules of an op differ"):
        gradcheck(doubled(jvp_factor=2.0000001), [np.ones(3)])


def test_gradcheck_does_without_jvp_rules():
    @op(shape=shapes.same)
    def triple(x, /):
        return x * 3

    triple.defvjp(lambda g: g * 3.0)
    assert gradcheck(triple, [np.ones(3)])


def test_gradcheck_of_order_two_catches_a_rule_that_cannot_be_differentiated():
    @op(shape=shapes.same, saves="x")
    def squared(x, /):
        return x * x

    squared.defvjp(lambda g, x: g * x.detach() * 2.0)
    assert gradcheck(squared, [np.ones(3)])
    with pytest.raises(AssertionError, match=r"order 2, .* by input 0"):
        gradcheck(squared, [np.ones(3)], order=2)


def test_gradcheck_of_order_three():
    assert gradcheck(lambda x: (x**4).sum(), [np.array([0.5, -1.5])], order=3)


def test_gradcheck_refuses_float32_and_names_the_input():
    with pytest.raises(DTypeError, match="input 1 is float32; central differences need float64"):
        gradcheck(lambda a, b: a * b, [np.ones(2), tape.tensor([1.0, 2.0])])


def test_gradcheck_refuses_to_check_nothing():
    with pytest.raises(DTypeError, match="nothing to vary"):
        gradcheck(lambda n: n * 2, [np.arange(3)])


def test_gradcheck_refuses_functions_that_are_not_functions():
    rng = np.random.default_rng()
    with pytest.raises(AssertionError, match="output 0 differs between two equal calls"):
        gradcheck(lambda x: x * rng.random(), [np.ones(3)])


def test_gradcheck_leaves_nothing_behind():
    x = tape.tensor([1.0, 2.0], dtype="float64", requires_grad=True)
    before = tape.live_nodes()
    gradcheck(lambda a: (a * a * a).sum(), [x], order=2)
    assert tape.live_nodes() == before
    assert x.grad is None


# -- check_op -------------------------------------------------------------------------------------


def cubes(
    *,
    saves="x",
    forward=lambda x: x**3,
    vjp=lambda g, x: g * 3 * x * x,
    jvp=lambda dx, x: dx * 3 * x * x,
    doc="x ** 3.   Shapes: x (*s) -> y (*s)",
    shape=shapes.same,
    **options,
):
    """A right op, unless told otherwise."""

    def cube(x, /):
        return forward(x)

    cube.__doc__ = doc
    samples = [sample((3, 4)), sample(()), sample((0, 3))]
    declared = op(shape=shape, saves=saves, samples=samples, **options)(cube)
    if vjp is not None:
        declared.defvjp(vjp)
    if jvp is not None:
        declared.defjvp(jvp)
    return declared


def wider(x):
    """A wrong shape rule."""
    return (*x, 1)


COUNT = iter(range(10**9))
FAULTS = {
    "is_described": {"doc": "x ** 3."},
    "shape_rule_gives_the_shape": {"shape": wider},
    "forward_is_the_reference": {"ref": lambda x: x**3 * (1 + 1e-9)},
    "float32_agrees_with_float64": {
        "forward": lambda x: x.astype("f8") ** 3,
        "ref": lambda x: x.astype("f8") ** 3,
    },
    "layouts_do_not_matter": {"forward": lambda x: x**3 + (not x.flags.c_contiguous) * 1e-6},
    "has_both_rules": {"jvp": None},
    "vjp_is_the_adjoint_of_jvp": {"vjp": lambda g, x: g * 3.003 * x * x},
    "jvp_is_the_central_difference": {
        "vjp": lambda g, x: g * 3.003 * x * x,
        "jvp": lambda dx, x: dx * 3.003 * x * x,
    },
    "second_order_is_the_central_difference": {
        "vjp": lambda g, x: g * 3 * x.detach() * x,
    },
    "jvp_has_the_gradient_of_vjp": {"jvp": lambda dx, x: dx * 3 * x.detach() * x},
    "gradients_have_their_operands_dtype": {
        "vjp": lambda g, x: g * 3 * x * x * (1.0 + 1e-3 * (g.dtype == np.float32)),
    },
    "saves_is_the_truth": {"saves": "x y"},
    "same_call_gives_same_bits": {"forward": lambda x: x**3 + next(COUNT) * 1e-13},
    "empty_operands_work_or_are_refused": {
        "forward": lambda x: x**3 if x.size else {}[0],
        "ref": lambda x: x**3,
    },
    "special_values_pass_as_in_numpy": {"forward": np.nan_to_num, "ref": lambda x: x + 0},
}


def fails_somewhere(declared, name):
    """Whether the named property fails on at least one sample."""
    return not all(holds(declared, name, each) for each in declared.samples)


def holds(declared, name, each):
    try:
        PROPERTIES[name](declared, each)
    except AssertionError:
        return False
    return True


def test_check_op_takes_ops_only():
    for wrong in (3, np.tanh):
        with pytest.raises(
            TypeError, match=f"check_op: takes an op, .* got a {type(wrong).__name__}"
        ):
            check_op(wrong)


def test_check_op_accepts_a_right_op():
    check_op(cubes())


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_check_op_catches(name):
    declared = cubes(**FAULTS[name])
    assert fails_somewhere(declared, name)
    with pytest.raises(AssertionError, match="cube, "):
        check_op(declared)


def test_every_property_can_fail_or_has_a_test_of_its_own():
    elsewhere = {
        # These hold by construction of the core, for any op: broken cores are tests of the core.
        "assigned_operand_is_not_reused",
        "each_gradient_alone_is_the_same",
        "everything_dies_at_its_last_del",
        "gradients_do_not_depend_on_layout",
        "gradients_share_no_memory",
        "graph_is_part_of_the_key",
        "any_number_of_axes_will_do",
        "a_number_is_a_0d_operand",
        "live_result_is_shared",
        "mutation_changes_no_recorded_gradient",
        "nothing_is_kept_under_no_grad",
    }
    assert set(FAULTS) | elsewhere == set(PROPERTIES)


def test_an_op_without_reuse_must_not_be_reused_and_is_not():
    PROPERTIES["live_result_is_shared"](cubes(reuse=False), sample((3,)))


def test_an_operand_that_is_kept_by_stealth_is_noticed():
    stolen = []
    rules = {"saves": "", "vjp": lambda g: g * 2.0, "jvp": lambda dx: dx * 2.0}
    honest = cubes(forward=lambda x: x * 2, **rules)
    thief = cubes(forward=lambda x: stolen.append(x) or x * 2, **rules)
    check_op(honest)
    assert fails_somewhere(thief, "saves_is_the_truth")


def test_bad_calls_must_be_refused_with_their_message():
    def rule(x):
        if len(x) > 2:
            raise tape.ShapeError(f"at most two axes, got {x}")
        return x

    def declared(match):
        refused = bad((2, 2, 2), error=tape.ShapeError, match=match)
        return cubes(shape=rule, errors=[refused])

    check_op(declared(r"at most two axes, got \(2, 2, 2\)"))
    with pytest.raises(AssertionError, match=r"refuses .* with .*, not 'three'"):
        check_op(declared("three"))
    accepted = bad((2, 2), error=tape.ShapeError, match="")
    with pytest.raises(AssertionError, match="cube accepts"):
        check_op(cubes(errors=[accepted]))


# -- operands -------------------------------------------------------------------------------------


def test_draw_covers_the_whole_range_and_only_that():
    (x,) = draw(sample((400,), low=-1.0, high=3.0), np.random.default_rng(0))
    assert -1.0 <= x.min() < -0.9
    assert 2.9 < x.max() < 3.0
    assert len(np.unique(x)) == 400
    assert x.dtype == np.float64


def test_draw_gives_every_integer_of_the_range_and_both_bools():
    picked = sample((400,), (400,), (400,), dtypes=["int64", "uint8", "bool"], low=-2, high=3)
    i, u, b = draw(picked, np.random.default_rng(0))
    assert set(i.tolist()) == {-2, -1, 0, 1, 2}
    assert set(u.tolist()) == {0, 1, 2}
    assert set(b.tolist()) == {False, True}
    assert [a.dtype.name for a in (i, u, b)] == ["int64", "uint8", "bool"]


def test_draw_hands_numbers_and_arrays_on():
    labels, values = np.array([0, 2]), np.array([1.0, 1.0])
    given = draw(sample(1.5, labels, values, (2,)), np.random.default_rng(0), "float32")
    assert given[0] == 1.5
    assert given[1] is labels
    assert given[2].dtype == given[3].dtype == np.float32


def test_calls_draw_the_same_each_time_and_others_for_other_samples():
    from tape.testing.operands import Call

    one, again = Call(tape.tanh, sample((5,))), Call(tape.tanh, sample((5,)))
    other = Call(tape.tanh, sample((5,), low=-2.5))
    np.testing.assert_array_equal(one.operands[0], again.operands[0])
    assert not np.any(one.operands[0] == other.operands[0])
    assert len(np.unique(one.like(np.zeros(50)))) == 50


@pytest.mark.parametrize("name", sorted(LAYOUTS))
@pytest.mark.parametrize("shape", [(3, 4), (), (0, 3), (2, 1, 3)])
def test_layouts_keep_values_and_dtype(name, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    laid = LAYOUTS[name](x)
    assert laid.shape == x.shape
    assert laid.dtype.newbyteorder("=") == x.dtype
    assert name == "broadcast" or np.array_equal(laid, x)
    assert not np.shares_memory(laid, x) or name == "broadcast"


def test_layouts_are_what_they_say():
    x = np.arange(12.0).reshape(3, 4)
    laid = {name: layout(x) for name, layout in LAYOUTS.items()}
    assert laid["C"].flags.c_contiguous
    assert laid["F"].flags.f_contiguous
    assert not laid["F"].flags.c_contiguous
    assert not laid["strided"].flags.forc
    assert all(step < 0 for step in laid["negative strides"].strides)
    assert not laid["read-only"].flags.writeable
    assert laid["offset"].base.nbytes == x.nbytes + x.itemsize
    assert not laid["misaligned"].flags.aligned
    assert not laid["byte-swapped"].dtype.isnative
    assert laid["broadcast"].strides == (0, 0)


def test_assert_close_sees_shape_nan_infinity_and_a_last_digit():
    assert_close([1.0, np.nan, np.inf], [1.0, np.nan, np.inf], 1e-12)
    assert_close([1000.0], [1000.0 + 1e-10], 1e-12)
    for a, b in [([1.0], [[1.0]]), ([np.nan], [1.0]), ([np.inf], [-np.inf]), ([1.0], [1 + 1e-9])]:
        with pytest.raises(AssertionError):
            assert_close(a, b, 1e-12)


# -- strategies -----------------------------------------------------------------------------------


@given(broadcastable_shapes(3))
def test_broadcastable_shapes_broadcast(drawn):
    assert len(drawn) == 3
    np.broadcast_shapes(*drawn)


@given(arrays(), tensors(dtype="float32"), tensors(shape=(2, 3), requires_grad=True))
def test_drawn_numbers_are_finite_and_as_asked(a, t, w):
    assert np.all(np.isfinite(a))
    assert a.dtype.newbyteorder("=") == np.float64
    assert t.dtype == np.float32
    assert not t.requires_grad
    assert w.shape == (2, 3)
    assert w.requires_grad


SEEN = {
    "a 0-d shape": (broadcastable_shapes(2), lambda s: () in s),
    "an empty shape": (broadcastable_shapes(2), lambda s: any(0 in x for x in s)),
    "shapes that stretch": (broadcastable_shapes(2), lambda s: len({np.prod(x) for x in s}) == 2),
    "different numbers": (arrays(), lambda a: len(np.unique(a)) > 3),
    "a large number": (arrays(), lambda a: bool(np.any(np.abs(a) > 7))),
    "a negative number": (tensors(), lambda t: bool(np.any(t.numpy() < -1))),
    "negative strides": (arrays(), lambda a: any(s < 0 for s in a.strides)),
    "misaligned memory": (arrays(), lambda a: not a.flags.aligned),
    "read-only memory": (arrays(), lambda a: not a.flags.writeable),
    "Fortran order": (arrays(), lambda a: not a.flags.c_contiguous and a.flags.f_contiguous),
    "an int dtype": (arrays(dtype=st.sampled_from(["int64", "f8"])), lambda a: a.dtype.kind == "i"),
    "a wish for a gradient": (tensors(requires_grad=st.booleans()), lambda t: t.requires_grad),
}


@pytest.mark.parametrize("what", sorted(SEEN))
def test_strategies_draw(what):
    strategy, is_it = SEEN[what]
    find(strategy, is_it, settings=settings(max_examples=2000, database=None))


def test_importing_tape_loads_neither_testing_nor_hypothesis():
    program = (
        "import sys, tape; assert not {'tape.testing', 'hypothesis'} & set(sys.modules); "
        "import tape.testing; assert 'hypothesis' not in sys.modules; "
        "tape.testing.tensors; assert 'hypothesis' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'gradchek'"):
        tape.testing.gradchek  # noqa: B018
