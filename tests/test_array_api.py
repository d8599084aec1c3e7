"""tape as a namespace of the Array API standard, beside array-api-strict on the same values.

What is left out, and why, stands in ARRAY_API.md.
"""

import inspect
import math
import operator
import re
from pathlib import Path

import array_api_strict as strict
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.array_api import make_strategies_namespace

import tape

ROOT = Path(__file__).parent.parent
xps = make_strategies_namespace(tape)
NAMES = {
    "bool": ["bool"],
    "int": ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"],
    "float": ["float32", "float64"],
}
NAMES["real"] = NAMES["int"] + NAMES["float"]
NAMES["all"] = NAMES["bool"] + NAMES["real"]
NAMES["bits"] = NAMES["bool"] + NAMES["int"]
LEFT_OUT = set(re.findall(r"^- `(\w+)`:", (ROOT / "ARRAY_API.md").read_text(), re.M))
# Of array-api-strict itself, or of other helpers' modules, which have tests of their own.
NOT_FUNCTIONS = {"ArrayAPIStrictFlags", "Device", "fft", "linalg", "broadcast_shapes", "isin"}
FUNCTIONS = [
    name
    for name in strict.__all__
    if not name.endswith("_flags") and name not in NOT_FUNCTIONS | LEFT_OUT
]
SPECIAL = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.5, 2.0, -3.0, math.pi, math.inf, -math.inf, math.nan]


def to_strict(x):
    """The same array of array-api-strict; numbers, None and names as they are."""
    if isinstance(x, (tape.Tensor, np.ndarray)):
        return strict.asarray(np.array(x))
    if isinstance(x, np.dtype):
        return getattr(strict, x.name)
    return type(x)(map(to_strict, x)) if isinstance(x, (list, tuple)) else x


def assert_same(ours, theirs, exact=True):
    """Same dtype, shape and elements; the last bits may differ if not exact."""
    if isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b, exact)
        return
    expected = np.asarray(theirs)
    # The standard leaves the default to us, and ours is float32.
    assert ours.dtype == expected.dtype, (ours, theirs)
    assert ours.shape == expected.shape, (ours, theirs)
    if exact:
        np.testing.assert_array_equal(ours.numpy(), expected)
        zeros = expected == 0
        np.testing.assert_array_equal(np.signbit(ours.numpy()[zeros]), np.signbit(expected[zeros]))
    else:
        rtol = 1e-12 if expected.dtype == np.float64 else 1e-5
        np.testing.assert_allclose(ours.numpy(), expected, rtol, rtol)


def agree(name, *operands, exact=True, **arguments):
    """A function gives what it gives in array-api-strict, or both refuse."""
    with np.errstate(all="ignore"):
        theirs = getattr(strict, name)(
            *map(to_strict, operands), **{k: to_strict(v) for k, v in arguments.items()}
        )
    ours = getattr(tape, name)(*operands, **arguments)
    assert_same(ours, theirs, exact)


def arrays(kind="all", min_dims=0, min_side=0, **facts):
    """Tensors of a kind of dtypes, small; facts are those of elements."""
    shapes = xps.array_shapes(min_dims=min_dims, max_dims=3, min_side=min_side, max_side=4)
    return st.sampled_from(NAMES[kind]).flatmap(
        lambda name: xps.arrays(
            getattr(tape, name), shapes, elements=facts if name.startswith("float") else None
        )
    )


def pairs(kind):
    """Two tensors of one kind that broadcast, of dtypes for which the standard knows a result."""

    def drawn(names):
        if "uint64" in names and any(n.startswith("int") for n in names):
            names = (names[0], names[0])
        shapes = xps.mutually_broadcastable_shapes(2, max_dims=3, max_side=4)
        return shapes.flatmap(
            lambda s: st.tuples(
                *[
                    xps.arrays(getattr(tape, n), shape)
                    for n, shape in zip(names, s.input_shapes, strict=True)
                ]
            )
        )

    return st.tuples(*[st.sampled_from(NAMES[kind])] * 2).flatmap(drawn)


def axes(ndim):
    """None, an axis, or several."""
    some = st.none()
    if ndim:
        some |= st.integers(-ndim, ndim - 1) | xps.valid_tuple_axes(ndim)
    return some


# -- names and signatures --------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_name_is_there(name):
    assert hasattr(tape, name)


@pytest.mark.parametrize("name", sorted(LEFT_OUT))
def test_what_is_left_out_is_not_there(name):
    assert not hasattr(tape, name)


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if inspect.isfunction(getattr(strict, n))])
def test_signature_takes_the_calls_of_the_standard(name):
    ours = list(inspect.signature(getattr(tape, name)).parameters.values())
    for i, theirs in enumerate(inspect.signature(getattr(strict, name)).parameters.values()):
        if theirs.name in ("api_version",) or (name, theirs.name) == ("astype", "device"):
            continue
        if theirs.kind in (theirs.POSITIONAL_ONLY, theirs.VAR_POSITIONAL):
            assert ours[i].kind not in (theirs.KEYWORD_ONLY, theirs.VAR_KEYWORD)
        else:
            mine = next(p for p in ours if p.name == theirs.name)
            assert mine.kind in (theirs.kind, theirs.POSITIONAL_OR_KEYWORD)
            assert (mine.default is mine.empty) <= (theirs.default is theirs.empty), mine


@pytest.mark.parametrize(
    "name", [n for n in dir(strict.asarray(1.0)) if n not in dir(object) and n[-3:] != "_is"]
)
def test_a_tensor_has_every_method_and_attribute(name):
    of_python = (
        "__module__",
        "__dict__",
        "__slots__",
        "__weakref__",
        "__annotations__",
        "__buffer__",
    )
    if name not in of_python and (name.endswith("__") or not name.startswith("_")):
        assert name in dir(tape.Tensor)


def test_the_namespace_says_what_it_is():
    info = tape.__array_namespace_info__()
    x = tape.zeros(2)
    assert x.__array_namespace__() is x.__array_namespace__(api_version="2024.12") is tape
    with pytest.raises(ValueError, match=r"2030\.01"):
        x.__array_namespace__(api_version="2030.01")
    assert tape.__array_api_version__ == "2024.12"
    assert info.devices() == ["cpu"] == [info.default_device()] == [x.device]
    assert x.to_device("cpu") is x
    assert list(info.dtypes()) == NAMES["all"][:1] + sorted(
        NAMES["real"], key=lambda n: (n[0] != "i", n[0] != "u", int(n.lstrip("uintfloa")))
    )
    assert list(info.dtypes(kind=("bool", "real floating"))) == ["bool", "float32", "float64"]
    assert info.default_dtypes()["real floating"] == tape.asarray(1.0).dtype
    assert info.default_dtypes()["integral"] == tape.asarray(1).dtype
    assert info.default_dtypes()["indexing"] == tape.argsort(x).dtype
    assert info.capabilities()["max dimensions"] == tape.zeros((1,) * 64).ndim
    for wrong in (info.dtypes, info.default_dtypes, lambda device: x.to_device(device)):
        with pytest.raises(ValueError, match="gpu"):
            wrong(device="gpu") if wrong in (info.dtypes, info.default_dtypes) else wrong("gpu")


@pytest.mark.parametrize(
    "number", [1j, complex(0, math.nan), np.complex64(), [0j], np.zeros(2, "D")]
)
def test_complex_numbers_are_refused_by_name(number):
    for make in (tape.asarray, tape.tensor):
        with pytest.raises(tape.DTypeError, match="complex"):
            make(number)
    with pytest.raises(tape.DTypeError, match="complex"):
        tape.zeros(2, dtype=np.complex128)


def test_no_complex_dtypes_can_be_told_from_the_namespace():
    assert not any(hasattr(tape, name) for name in ("complex64", "complex128"))
    assert not tape.__array_namespace_info__().dtypes(kind="complex floating")
    # As suites and wrappers ask for the default dtype of a kind.
    default = tape.asarray(0j).dtype
    assert default == tape.float32
    assert not tape.isdtype(default, "complex floating")


@given(
    real=st.floats(width=32),
    imag=st.sampled_from([0.0, -0.0]),
    dtype=st.sampled_from(NAMES["float"]),
)
def test_a_complex_number_without_imaginary_part_is_the_real_number(real, imag, dtype):
    number = complex(real, imag)
    for make in (tape.asarray, tape.tensor):
        assert_same(make(number), make(real).numpy())
        assert_same(make(number, getattr(tape, dtype)), make(real, getattr(tape, dtype)).numpy())
    assert_same(tape.asarray(number, copy=True), tape.asarray(real).numpy())


# -- dtypes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("a", NAMES["all"])
@pytest.mark.parametrize("b", NAMES["all"])
def test_dtypes_promote_as_the_standard_says(a, b):
    ours = getattr(tape, a), getattr(tape, b)
    theirs = getattr(strict, a), getattr(strict, b)
    try:
        expected = strict.result_type(*theirs)
    except TypeError:
        pass  # the standard leaves mixed kinds open
    else:
        assert tape.result_type(*ours) == tape.result_type(tape.ones(2, dtype=a), ours[1])
        assert tape.result_type(*ours).name == str(expected).rpartition(".")[2]
        assert (tape.ones(2, dtype=a) + tape.ones(2, dtype=b)).dtype == tape.result_type(*ours) or (
            a == b == "bool"
        )
        assert not strict.can_cast(*theirs) or tape.can_cast(*ours)


@pytest.mark.parametrize("name", NAMES["all"])
def test_kinds_and_limits_of_dtypes(name):
    ours, theirs = getattr(tape, name), getattr(strict, name)
    kinds = ["bool", "signed integer", "unsigned integer", "integral", "real floating", "numeric"]
    for kind in [*kinds, "complex floating"]:
        assert tape.isdtype(ours, kind) is strict.isdtype(theirs, kind)
    assert tape.isdtype(ours, ours)
    assert tape.isdtype(ours, ("bool", "numeric"))
    with pytest.raises(ValueError, match="'float' is none of"):
        tape.isdtype(ours, "float")
    if name in NAMES["real"]:
        limits, wanted = (
            (tape.finfo(ours), strict.finfo(theirs))
            if name in NAMES["float"]
            else (tape.iinfo(tape.ones(2, dtype=ours)), strict.iinfo(theirs))
        )
        for key in limits._fields[:-1]:
            assert getattr(limits, key) == getattr(wanted, key)
            assert type(getattr(limits, key)) in (int, float)
        assert limits.dtype == ours


def test_limits_of_the_wrong_kind_are_refused():
    with pytest.raises(tape.DTypeError, match="finfo: takes a floating-point dtype, got int8"):
        tape.finfo(tape.int8)
    with pytest.raises(tape.DTypeError, match="iinfo: takes an integer dtype, got float32"):
        tape.iinfo(tape.float32)
    with pytest.raises(ValueError, match="one tensor, dtype or number at least"):
        tape.result_type()
    assert tape.result_type(1, 2.5) == (tape.asarray(1.0) + 2).dtype == tape.float32


@given(arrays(), st.sampled_from(NAMES["all"]), st.booleans())
def test_astype(x, name, copy):
    if x.dtype.kind == "f":
        assume(np.isfinite(x.numpy()).all() and (abs(x.numpy()) < 100).all())
    if name.startswith("u"):
        assume((x.numpy() >= 0).all())
    y = tape.astype(x, getattr(tape, name), copy=copy)
    with np.errstate(all="ignore"):
        assert_same(y, x.numpy().astype(name))
    assert (y is x) == (not copy and x.dtype.name == name)


# -- elementwise -----------------------------------------------------------------------------------

UNARY = {
    "float": [
        *["acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "exp", "expm1", "log"],
        *["log1p", "log2", "log10", "reciprocal", "signbit", "sin", "sinh", "sqrt", "tan", "tanh"],
    ],
    "real": [
        *["abs", "ceil", "floor", "isfinite", "isinf", "isnan", "negative", "positive", "round"],
        *["sign", "square", "trunc"],
    ],
    "bits": ["bitwise_invert"],
    "bool": ["logical_not"],
}
BINARY = {
    "float": ["atan2", "copysign", "divide", "hypot", "logaddexp", "nextafter"],
    "real": [
        *["add", "floor_divide", "greater", "greater_equal", "less", "less_equal", "maximum"],
        *["minimum", "multiply", "pow", "remainder", "subtract"],
    ],
    "all": ["equal", "not_equal"],
    "bits": ["bitwise_and", "bitwise_or", "bitwise_xor"],
    "int": ["bitwise_left_shift", "bitwise_right_shift"],
    "bool": ["logical_and", "logical_or", "logical_xor"],
}
INEXACT = {*UNARY["float"], "atan2", "hypot", "logaddexp", "pow"} - {"signbit", "reciprocal"}


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, ns in UNARY.items() for n in ns])
@settings(max_examples=30)
@given(data=st.data())
def test_function_of_one_operand(kind, name, data):
    x = data.draw(arrays(kind))
    agree(name, x, exact=name not in INEXACT)


def domain(name, x1, x2):
    """What the standard says something about."""
    if name in ("floor_divide", "remainder"):
        finite = np.isfinite(x1.numpy()).all() and np.isfinite(x2.numpy()).all()
        return finite and (x2.numpy() != 0).all()
    if name == "pow" and x1.dtype.kind in "iu":
        return (x2.numpy() >= 0).all()
    if name.endswith("shift"):
        bits = np.result_type(x1.numpy(), x2.numpy()).itemsize * 8
        return ((x2.numpy() >= 0) & (x2.numpy() < bits)).all()
    return True


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, ns in BINARY.items() for n in ns])
@settings(max_examples=30)
@given(data=st.data())
def test_function_of_two_operands(kind, name, data):
    if name.endswith("shift"):
        dtype = getattr(tape, data.draw(st.sampled_from(NAMES["int"])))
        x1 = data.draw(xps.arrays(dtype, (3,)))
        x2 = data.draw(xps.arrays(dtype, (3,), elements={"min_value": 0, "max_value": 7}))
    else:
        x1, x2 = data.draw(pairs("float" if kind == "float" else kind))
    if x1.dtype.kind != x2.dtype.kind and {x1.dtype.kind, x2.dtype.kind} != {"i", "u"}:
        x2 = x2.astype(x1.dtype)
    assume(domain(name, x1, x2))
    agree(name, x1, x2, exact=name not in INEXACT)


@pytest.mark.parametrize("name", UNARY["float"] + UNARY["real"])
@pytest.mark.parametrize("dtype", NAMES["float"])
def test_special_values_of_one_operand(name, dtype):
    agree(name, tape.asarray(SPECIAL, dtype), exact=name not in INEXACT)


@pytest.mark.parametrize("name", [*BINARY["float"], *BINARY["real"], *BINARY["all"]])
@pytest.mark.parametrize("dtype", NAMES["float"])
def test_special_values_of_two_operands(name, dtype):
    if name == "floor_divide":  # array-api-strict has NumPy's
        return
    # Of one exponent for all, 0.5, NumPy takes the root, which is NaN at -inf: see ARRAY_API.md.
    x1, x2 = [tape.tensor(x) for x in np.meshgrid(*[np.asarray(SPECIAL, dtype)] * 2)]
    agree(name, x1, x2, exact=name not in INEXACT)


@pytest.mark.parametrize("divide", [tape.floor_divide, operator.floordiv, operator.ifloordiv])
def test_quotients_of_one_infinity_are_those_of_the_standard(divide):
    def of(a, b):
        y = divide(tape.asarray(a, "float64"), tape.asarray(b, "float64")).item()
        return y, math.copysign(1.0, y)

    inf = math.inf
    assert [of(a, b)[0] for a in (inf, -inf) for b in (2.0, -2.0)] == [inf, -inf, -inf, inf]
    assert [of(a, b) for a in (5.0, -5.0) for b in (inf, -inf)] == [
        *[(0.0, 1.0), (0.0, -1.0), (0.0, -1.0), (0.0, 1.0)]
    ]
    assert math.isnan(of(inf, -inf)[0])
    assert math.isnan(of(0.0, 0.0)[0])


OPERATORS = {
    "real": ["add", "floordiv", "ge", "gt", "le", "lt", "mod", "mul", "pow", "sub"],
    "float": ["truediv"],
    "all": ["eq", "ne"],
    "bits": ["and_", "or_", "xor"],
}


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, ns in OPERATORS.items() for n in ns])
@settings(max_examples=30)
@given(data=st.data())
def test_a_python_number_on_either_side_takes_the_dtype_of_the_tensor(kind, name, data):
    apply = getattr(operator, name)
    dtype = getattr(tape, data.draw(st.sampled_from(NAMES[kind])))
    x = data.draw(xps.arrays(dtype, (3,), elements={} if dtype.kind == "b" else {"min_value": 1}))
    number = {
        "b": st.booleans(),
        "i": st.integers(1, 100),
        "u": st.integers(1, 100),
        "f": st.floats(1, 100, width=32) | st.integers(1, 100),
    }[dtype.kind]
    n = data.draw(number)
    assert np.isfinite(x.numpy()).all() or dtype.kind == "f"
    assume(np.isfinite(x.numpy()).all())
    for a, b in [(x, n), (n, x)]:
        with np.errstate(all="ignore"):
            theirs = apply(to_strict(a), to_strict(b))
        assert_same(apply(a, b), theirs, exact=name != "pow")
    y = tape.asarray(x, copy=True)
    if name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "and_", "or_", "xor"):
        changed = getattr(operator, f"i{name.rstrip('_')}")(y, n)
        assert changed is y
        assert_same(y, np.asarray(apply(x, n)))


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, ns in BINARY.items() for n in ns])
def test_a_python_number_is_an_operand_of_every_function(kind, name):
    for dtype in NAMES[kind]:
        x = tape.asarray([1, 0, 1] if dtype == "bool" else [1, 2, 3], dtype)
        for n in [True] if dtype == "bool" else [2.5, 2] if dtype in NAMES["float"] else [2]:
            for a, b in [(x, n), (n, x)]:
                agree(name, a, b, exact=name not in INEXACT)


def test_a_python_number_is_an_alternative_of_where():
    for dtype in NAMES["all"]:
        x = tape.asarray([True, False], dtype)
        for n in [True] if dtype == "bool" else [2.5, 2] if dtype in NAMES["float"] else [2]:
            agree("where", tape.asarray([True, False]), x, n)
            agree("where", tape.asarray([True, False]), n, x)


@given(st.data())
@settings(max_examples=100)
def test_clip_keeps_the_dtype_and_takes_numbers_and_tensors_as_bounds(data):
    x = data.draw(arrays("real", allow_nan=False))
    names = NAMES["float"] if x.dtype.kind == "f" else NAMES["int"]
    bounds = []
    for _ in range(2):
        dtype = getattr(tape, data.draw(st.sampled_from(names)))
        own = xps.from_dtype(x.dtype, **({"allow_nan": False} if x.dtype.kind == "f" else {}))
        facts = {"allow_nan": False} if dtype.kind == "f" else None
        shape = st.sampled_from([(), x.shape, x.shape[1:]])
        bounds.append(data.draw(st.none() | own | xps.arrays(dtype, shape, elements=facts)))
    low, high = bounds
    assume(low is None or high is None or not bool(tape.any(tape.asarray(low) > high)))
    y = tape.clip(x, low, high)
    assert y.dtype == x.dtype
    exact = x.numpy().astype(object)
    for bound, closest in [(low, np.maximum), (high, np.minimum)]:
        if bound is not None:
            numbers = np.asarray(bound).astype(object)
            if x.dtype.kind in "iu":
                info = np.iinfo(x.dtype)
                numbers = np.asarray(
                    np.maximum(numbers, info.min), object
                )  # NumPy gives 0-d as int
                numbers = np.asarray(np.minimum(numbers, info.max), object)
            exact = closest(exact, numbers)
    with np.errstate(all="ignore"):
        assert_same(y + 0, np.asarray(exact, object).astype(x.dtype) + 0)  # of 0 and -0 either


# -- creation --------------------------------------------------------------------------------------


@given(st.integers(-30, 30), st.integers(-30, 30), st.integers(-5, 5), st.sampled_from(["int64"]))
def test_arange_of_integers(start, stop, step, name):
    assume(step)
    agree("arange", start, stop, step)
    agree("arange", start, stop, step, dtype=getattr(tape, name))


def test_ranges_reach_the_ends_of_their_dtypes():
    assert tape.arange(2**64 - 3, 2**64 - 1, dtype="uint64").tolist() == [2**64 - 3, 2**64 - 2]
    assert tape.asarray([0, 2**64 - 1], dtype="uint64").tolist() == [0, 2**64 - 1]
    assert tape.asarray([2**62 + 1, 0.0], dtype="int64").tolist() == [2**62 + 1, 0]
    with pytest.raises(tape.DTypeError, match="do not fit uint8"):
        tape.arange(-1, 2**70, 2**69, dtype="uint8")


@given(
    st.floats(-10, 10),
    st.floats(-10, 10),
    st.integers(0, 20),
    st.sampled_from(NAMES["float"]),
    st.booleans(),
)
def test_linspace(start, stop, n, name, endpoint):
    dtype = getattr(tape, name)
    agree("linspace", start, stop, n, dtype=dtype, endpoint=endpoint, exact=False)
    if not endpoint:
        longer = tape.linspace(start, stop, n + 1, dtype=dtype)
        assert_same(tape.linspace(start, stop, n, dtype=dtype, endpoint=False), longer[:-1])


@given(
    st.integers(0, 6),
    st.none() | st.integers(0, 6),
    st.integers(-8, 8) | st.sampled_from([10**25, -(10**25)]),
    st.sampled_from(NAMES["real"]),
)
def test_eye(rows, cols, k, name):
    agree("eye", rows, cols, k=k, dtype=getattr(tape, name))


@given(st.data())
def test_created_by_shape_and_like_another(data):
    x = data.draw(arrays())
    dtype = getattr(tape, data.draw(st.sampled_from(NAMES["all"])))
    value = data.draw(xps.from_dtype(dtype))
    agree("full", x.shape, value, dtype=dtype)
    agree("full_like", x, value, dtype=dtype)
    for name in ("zeros", "ones"):
        agree(name, x.shape, dtype=dtype, device="cpu" if False else None)
        agree(f"{name}_like", x)
    assert tape.empty(x.shape, dtype=dtype, device="cpu").dtype == dtype
    assert tape.empty_like(x).dtype == x.dtype


@given(arrays("real", min_dims=2), st.integers(-5, 5))
def test_triangles(x, k):
    agree("tril", x, k=k)
    agree("triu", x, k=k)


@given(st.data(), st.sampled_from(["xy", "ij"]))
def test_meshgrid(data, indexing):
    dtype = getattr(tape, data.draw(st.sampled_from(NAMES["real"])))
    xs = [data.draw(xps.arrays(dtype, (n,))) for n in data.draw(st.lists(st.integers(0, 4)))[:4]]
    agree("meshgrid", *xs, indexing=indexing)


def test_meshgrid_refuses_what_is_no_row():
    x = tape.ones(2)
    with pytest.raises(tape.ShapeError, match=r"one axis, got \(2, 2\)"):
        tape.meshgrid(tape.ones((2, 2)))
    with pytest.raises(tape.ShapeError, match="70 operands"):
        tape.meshgrid(*[x] * 70)
    with pytest.raises(tape.DTypeError, match="float32 and of int64"):
        tape.meshgrid(x, tape.arange(2))
    with pytest.raises(ValueError, match="'ji' is neither"):
        tape.meshgrid(x, x, indexing="ji")


@given(arrays(), st.data())
def test_asarray_copies_if_asked_and_never_if_forbidden(x, data):
    assert tape.asarray(x) is tape.asarray(x, copy=False) is tape.asarray(x, dtype=x.dtype) is x
    mine = tape.asarray(x, copy=True)
    assert mine is not x
    assert_same(mine, x.numpy())
    if x.size:
        place = data.draw(xps.indices(x.shape, min_dims=0, max_dims=0, allow_ellipsis=False))
        before = mine.numpy().copy()
        x[place] = x[place] == 0
        assert_same(mine, before)


@given(arrays(min_dims=1, min_side=1))
def test_a_sequence_of_tensors_is_read_as_one(x):
    assert_same(tape.asarray(tape.unstack(x)), x.numpy())
    assert_same(tape.asarray([tape.unstack(x)], dtype=x.dtype), x.numpy()[None])
    assert_same(tape.tensor(list(x), dtype=x.dtype), x.numpy())
    if x.dtype.kind in "ui":
        assert_same(tape.asarray(list(x), dtype="float64"), x.numpy().astype("float64"))


def test_asarray_says_what_cannot_be_shared():
    with pytest.raises(ValueError, match="a float32 tensor cannot become float64 uncopied"):
        tape.asarray(tape.ones(2), dtype="float64", copy=False)
    with pytest.raises(ValueError, match="a list cannot become int64 uncopied"):
        tape.asarray([1], copy=False)
    with pytest.raises(ValueError, match="'gpu' is not there"):
        tape.asarray([1], device="gpu")


# -- manipulation, indexing ------------------------------------------------------------------------


@given(arrays(), st.data())
def test_rearranged(x, data):
    ndim = x.ndim
    axis = data.draw(axes(ndim))
    agree("flip", x, axis=axis)
    shift = data.draw(st.integers(-9, 9))
    if axis is None or isinstance(axis, int):
        agree("roll", x, shift, axis=axis)
    else:
        agree("roll", x, (shift,) * len(axis), axis=axis)
    order = tuple(data.draw(st.permutations(range(ndim))))
    agree("permute_dims", x, order)
    agree("moveaxis", x, tuple(range(ndim)), order)
    agree("expand_dims", x, axis=data.draw(st.integers(-ndim - 1, ndim)))
    agree("squeeze", x, axis=tuple(a for a in range(ndim) if x.shape[a] == 1))
    agree("tile", x, tuple(data.draw(st.lists(st.integers(0, 3), max_size=4))))
    if ndim:
        one = data.draw(st.integers(-ndim, ndim - 1))
        agree("unstack", x, axis=one)
        agree("concat", [x, x], axis=one)
        agree("stack", [x, x], axis=one)
        agree("repeat", x, data.draw(st.integers(0, 3)), axis=one)
    agree("concat", [x, x], axis=None)
    agree("reshape", x, (-1,) if x.size else (0,), copy=data.draw(st.sampled_from([None, True])))
    agree("broadcast_to", x, (2, *x.shape))
    agree("broadcast_arrays", x, tape.ones((3, 1, 1, 1), dtype=x.dtype))
    if ndim >= 2:
        agree("matrix_transpose", x)


@given(arrays(min_dims=1, min_side=1), st.data())
def test_as_many_repeats_as_elements(x, data):
    axis = data.draw(st.none() | st.integers(-x.ndim, x.ndim - 1))
    n = x.size if axis is None else x.shape[axis]
    counts = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    name = data.draw(st.sampled_from(NAMES["int"]))
    y = tape.repeat(x, tape.asarray(counts, name), axis=axis)
    assert_same(y, np.repeat(x.numpy(), counts, axis))
    assert_same(tape.repeat(x, counts, axis=axis), np.repeat(x.numpy(), counts, axis))


def test_repeats_and_differences_have_gradients():
    x = tape.tensor([1.0, 4.0, 9.0], requires_grad=True)
    assert tape.grad(tape.repeat(x, [2, 0, 3]).sum(), x).tolist() == [2.0, 0.0, 3.0]
    assert tape.grad((tape.diff(x, n=2) ** 2).sum(), x).tolist() == [4.0, -8.0, 4.0]
    assert tape.grad(tape.diff(x, prepend=x[:1])[0], x).tolist() == [0.0, 0.0, 0.0]
    assert tape.grad(tape.unique_values(tape.concat([x, x])).sum(), x).tolist() == [1.0, 1.0, 1.0]
    assert tape.grad(tape.asarray(x, copy=True).sum(), x).tolist() == [1.0, 1.0, 1.0]
    assert tape.grad(sum(y[0, 1] for y in tape.meshgrid(x, x)), x).tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda x: tape.repeat(x, [1, 2]), tape.ShapeError, r"repeats \(2,\) for 3 elements"),
        (lambda x: tape.repeat(x, [1, -2, 0]), tape.ShapeError, "at least 0, got -2"),
        (lambda x: tape.repeat(x, [0.5, 1.0, 1.0]), tape.DTypeError, "integers, got float64"),
        (lambda x: tape.diff(x, n=-1), tape.ShapeError, "n -1 must be"),
        (lambda x: tape.diff(x, axis=1), tape.AxisError, "diff: axis 1 is out of range"),
        (lambda x: tape.diff(x, prepend=tape.ones((2, 2))), tape.ShapeError, "diff: tensor 1"),
        (lambda x: x.reshape((3,)).T[::-1][tape.ones(2, dtype="bool")], IndexError, "a mask"),
        (lambda x: tape.reshape(tape.ones((2, 3)).T, (6,), copy=False), ValueError, "needs a copy"),
    ],
)
def test_bad_calls_are_refused(call, error, match):
    with pytest.raises(error, match=match):
        call(tape.tensor([1.0, 2.0, 3.0]))


@given(st.data())
def test_read_and_written_at_every_kind_of_key(data):
    x = data.draw(arrays())
    key = data.draw(xps.indices(x.shape, allow_newaxis=True))
    assert_same(x[key], x.numpy()[key])
    key = data.draw(xps.indices(x.shape))
    value = data.draw(xps.arrays(x.dtype, x.numpy()[key].shape))
    y, expected = tape.asarray(x, copy=True), x.numpy().copy()
    y[key], expected[key] = value, value.numpy()
    assert_same(y, expected)


@given(st.data())
def test_read_and_written_where_a_mask_is_true(data):
    x = data.draw(arrays())
    shape = data.draw(st.sampled_from([(), x.shape, x.shape[:1], tuple(0 for _ in x.shape)]))
    mask = data.draw(xps.arrays(tape.bool, shape))
    assert_same(x[mask], x.numpy()[mask.numpy()])
    if shape == x.shape:
        value = data.draw(xps.from_dtype(x.dtype))
        expected = x.numpy().copy()
        x[mask], expected[mask.numpy()] = value, value
        assert_same(x, expected)


@given(arrays(min_dims=1, min_side=1), st.data())
def test_take(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    n = x.shape[axis]
    places = tape.asarray(data.draw(st.lists(st.integers(-n, n - 1), min_size=1)))
    agree("take", x, places, axis=axis)
    order = tape.argsort(x, axis=axis) if x.dtype.kind != "b" else tape.zeros_like(x, dtype="int64")
    agree("take_along_axis", x, order, axis=axis)


# -- reductions, searching, sorting, sets ----------------------------------------------------------


@given(arrays("real", min_side=1, allow_nan=False), st.data())
def test_reductions(x, data):
    arguments = {"axis": data.draw(axes(x.ndim)), "keepdims": data.draw(st.booleans())}
    for name in ("max", "min"):
        agree(name, x, **arguments)
    small = tape.astype(tape.clip(x, 0, 3), x.dtype)
    for name in ("sum", "prod"):
        agree(name, small, exact=False, **arguments)
        agree(name, small, exact=False, dtype=tape.float64, **arguments)
    if x.dtype.kind == "f":
        for name in ("mean", "std", "var"):
            agree(name, small, exact=False, **arguments)


@given(arrays(), st.data())
def test_whether_and_how_many(x, data):
    arguments = {"axis": data.draw(axes(x.ndim)), "keepdims": data.draw(st.booleans())}
    for name in ("all", "any", "count_nonzero"):
        agree(name, x, **arguments)
    if x.ndim:
        agree("nonzero", x)


@given(arrays("real", min_dims=1, min_side=1, allow_nan=False), st.data())
def test_along_one_axis(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    keepdims = data.draw(st.booleans())
    for name in ("argmax", "argmin"):
        agree(name, x, axis=axis, keepdims=keepdims)
        agree(name, x, keepdims=keepdims)
    small = tape.astype(tape.clip(x, 0, 2), x.dtype)
    for name in ("cumulative_sum", "cumulative_prod"):
        initial = data.draw(st.booleans())
        agree(name, small, axis=axis, include_initial=initial, exact=False)
        agree(name, small, axis=axis, include_initial=initial, dtype=tape.float64, exact=False)
    agree("diff", small, axis=axis, n=data.draw(st.integers(0, 3)), exact=False)
    agree("diff", small, axis=axis, prepend=small, append=small, exact=False)


@given(arrays("real", min_dims=1), st.data())
def test_sorted(x, data):
    arguments = {
        "axis": data.draw(st.integers(-x.ndim, x.ndim - 1)),
        "descending": data.draw(st.booleans()),
    }
    agree("argsort", x, **arguments)
    assume(not (x.numpy() == 0).any() or x.dtype.kind != "f")  # -0.0 and 0.0 are equal
    agree("sort", x, **arguments)
    agree("sort", x, stable=False, **arguments)
    order = tape.argsort(x, stable=False, **arguments)
    assert_same(tape.take_along_axis(x, order, axis=arguments["axis"]), tape.sort(x, **arguments))


def test_zeros_of_both_signs_stay_in_their_order():
    x = tape.asarray([0.0, 1.0, -0.0, -1.0, 0.0])
    for descending in (False, True):
        y = tape.sort(x, descending=descending)
        assert np.signbit(y.numpy()).tolist()[1:4] == [False, True, False]


@given(st.data(), st.sampled_from(["left", "right"]))
def test_searched_for(data, side):
    x = data.draw(arrays("real", min_dims=1, allow_nan=False))
    flat = tape.reshape(x, (x.size,))
    order = tape.argsort(flat)
    wanted = data.draw(
        xps.arrays(x.dtype, (2, 3), elements={"allow_nan": False} if x.dtype.kind == "f" else None)
    )
    agree("searchsorted", tape.sort(flat), wanted, side=side)
    agree("searchsorted", flat, wanted, side=side, sorter=order)


@given(arrays())
def test_sets(x):
    assume(x.dtype.kind != "f" or not (x.numpy() == 0).any())
    # array-api-strict numbers many NaN in any order.
    assume(x.dtype.kind != "f" or x.size <= 16 or not np.isnan(x.numpy()).any())
    for name in ("unique_all", "unique_counts", "unique_inverse", "unique_values"):
        agree(name, x)
        found = getattr(tape, name)(x)
        assert getattr(found, "_fields", ()) == getattr(
            getattr(strict, name)(to_strict(x)), "_fields", ()
        )


@given(st.data())
def test_where(data):
    x1, x2 = data.draw(pairs("float") | pairs("int") | pairs("bool"))
    condition = data.draw(xps.arrays(tape.bool, data.draw(st.sampled_from([(), x1.shape]))))
    agree("where", condition, x1, x2)


# -- products --------------------------------------------------------------------------------------


@given(st.data(), st.sampled_from(NAMES["real"]))
def test_products(data, name):
    m, k, n = [data.draw(st.integers(0, 4)) for _ in range(3)]
    facts = {"min_value": 0, "max_value": 9}
    batch = data.draw(xps.mutually_broadcastable_shapes(2, max_dims=2, max_side=3)).input_shapes
    dtype = getattr(tape, name)
    a = data.draw(xps.arrays(dtype, (*batch[0], m, k), elements=facts))
    b = data.draw(xps.arrays(dtype, (*batch[1], k, n), elements=facts))
    agree("matmul", a, b, exact=False)
    if n:
        agree("vecdot", a, tape.matrix_transpose(b)[..., :1, :], exact=False)
    if m and n:
        agree("vecdot", tape.matrix_transpose(a)[..., :1], b[..., :1], axis=-2, exact=False)
    flat = tape.reshape(b, (k, -1)) if b.size else tape.ones((k, 0), dtype=dtype)
    agree("tensordot", a, flat, axes=1, exact=False)
    if a.size:
        agree("matmul", a[(0,) * (a.ndim - 1)], b, exact=False)
        agree("tensordot", a, a, axes=a.ndim, exact=False)
        if a.ndim == 2:
            agree("tensordot", a, a, axes=((-1, -2), (-1, -2)), exact=False)
    assert_same(a @ b, tape.matmul(a, b).numpy())
