"""The safetensors format: what is written can be read, and nothing else can."""

import io
import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tape
from tape.errors import CheckpointError
from tape.serialize.format import DTYPES, header_of, read_arrays, read_header, write

NATIVE = [dtype.newbyteorder("=") for dtype in DTYPES.values()]
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(
    lambda name: name != "__metadata__"
)


def packed(arrays, metadata=None):
    """The bytes of a file with these arrays."""
    file = io.BytesIO()
    write(file, header_of(arrays, metadata or {}), arrays)
    return file.getvalue()


def unpacked(content, widen=False):
    """(arrays, metadata) of a file's bytes."""
    file = io.BytesIO(content)
    header = read_header(file, len(content), "f")
    return read_arrays(file, header, header.entries, "f", widen), header.metadata


def file_of(header, values=b""):
    """A file with this header, JSON or anything else."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + values


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@st.composite
def arrays(draw):
    """An array of any dtype and shape, and of any strides."""
    dtype = draw(st.sampled_from(NATIVE)).newbyteorder(draw(st.sampled_from("<>")))
    array = draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0)))
    array = array.transpose(draw(st.permutations(range(array.ndim))))
    steps = draw(st.tuples(*[st.sampled_from([1, 2, -1, -2])] * array.ndim))
    array = array[tuple(slice(None, None, step) for step in steps)]
    return np.asfortranarray(array) if array.ndim and draw(st.booleans()) else array


files = st.dictionaries(names, arrays(), max_size=4)


@given(files, st.dictionaries(names, names, max_size=2))
def test_any_arrays_come_back_as_they_were(given_arrays, metadata):
    content = packed(given_arrays, metadata)
    found, texts = unpacked(content)
    assert texts == metadata
    assert list(found) == list(given_arrays)
    for name, array in given_arrays.items():
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.astype(found[name].dtype).tobytes()
        assert found[name].flags.c_contiguous
        assert found[name].flags.writeable
        assert found[name].base is None or found[name].base.base is None


@given(files)
def test_values_are_aligned_and_equal_arrays_make_equal_files(given_arrays):
    content = packed(given_arrays)
    header = read_header(io.BytesIO(content), len(content), "f")
    for name, found in header.entries.items():
        assert (header.start - 8) % 64 == 56
        assert found.begin % given_arrays[name].dtype.itemsize == 0
    copies = {name: np.array(array) for name, array in given_arrays.items()}
    assert packed(copies) == content


@given(files, st.dictionaries(names, names, max_size=2))
def test_the_safetensors_package_reads_what_tape_writes_and_the_reverse(given_arrays, metadata):
    safetensors = pytest.importorskip("safetensors.numpy")
    content = packed(given_arrays, metadata)
    found = safetensors.load(content)
    assert found.keys() == given_arrays.keys()
    native = {}
    for name, array in given_arrays.items():
        native[name] = np.array(array, array.dtype.newbyteorder("="), order="C")
        assert found[name].dtype == native[name].dtype
        assert found[name].shape == native[name].shape
        assert found[name].tobytes() == native[name].tobytes()
    again, texts = unpacked(safetensors.save(native, metadata or None))
    assert texts == metadata
    assert {name: a.tobytes() for name, a in again.items()} == {
        name: a.tobytes() for name, a in native.items()
    }


def test_an_empty_file_of_arrays_is_one():
    assert unpacked(packed({})) == ({}, {})
    assert unpacked(packed({"none": np.zeros((0, 3), "i2")}))[0]["none"].shape == (0, 3)


# -- files that are none ---------------------------------------------------------------------------

ONE = entry()
BROKEN = {
    "no bytes at all": b"",
    "half a length": b"\x08\0\0",
    "a header longer than the file": (1 << 62).to_bytes(8, "little") + b"{}",
    "a header longer than allowed": file_of(b"{}" + b" " * 100_000_000),
    "no JSON": file_of(b"hello"),
    "a list": file_of([]),
    "bytes that are no text": file_of(b'{"\xff":1}'),
    "text of 16 bits": file_of('{"a":1}'.encode("utf-16")),
    "a blank before the brace": file_of(b" {}"),
    "a newline after the brace": file_of(b"{}\n"),
    "two objects": file_of(b"{}{}"),
    "half a surrogate pair": file_of(b'{"\\ud800":{}}'),
    "a name twice": file_of(b'{"a":1,"a":1}'),
    "a key twice": file_of(
        b'{"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}}', b"1234"
    ),
    "nesting without end": file_of(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "an integer of ten thousand digits": file_of(
        b'{"a":{"dtype":"F32","shape":[' + b"9" * 10_000 + b'],"data_offsets":[0,4]}}'
    ),
    "NaN": file_of(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', b"1234"),
    "metadata that are no texts": file_of({"__metadata__": {"a": 1}}),
    "metadata that are no object": file_of({"__metadata__": ["a"]}),
    "an array that is a number": file_of({"a": 3}),
    "an array without a shape": file_of({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, b"1234"),
    "an array with more than that": file_of({"a": {**ONE, "more": 1}}, b"1234"),
    "an unknown dtype": file_of({"a": entry("F31")}, b"1234"),
    "a dtype of 8-bit floating point": file_of({"a": entry("F8_E4M3", (4,))}, b"1234"),
    "a dtype that is a list": file_of({"a": entry(["F32"])}, b"1234"),
    "a shape that is a number": file_of({"a": {**ONE, "shape": 1}}, b"1234"),
    "a negative size": file_of({"a": entry(shape=(-1,))}, b"1234"),
    "a size that is a fraction": file_of({"a": entry(shape=(1.0,))}, b"1234"),
    "a size that is a truth": file_of({"a": entry(shape=(True,))}, b"1234"),
    "a shape that wraps to 4 bytes": file_of({"a": entry(shape=(1 << 32, 1 << 32, 1))}, b"1234"),
    "a shape that wraps to 1": file_of({"a": entry(shape=(2**31 + 1, 2**33 - 3))}, b"1234"),
    "sizes without end": file_of({"a": entry(shape=(sys.maxsize,) * 64)}, b"1234"),
    "an empty shape beyond memory": file_of({"a": entry(shape=(0, 1 << 62, 9), offsets=(0, 0))}),
    "more axes than NumPy has": file_of({"a": entry(shape=(1,) * 65)}, b"1234"),
    "three offsets": file_of({"a": entry(offsets=(0, 4, 4))}, b"1234"),
    "offsets the wrong way round": file_of({"a": entry(offsets=(4, 0))}, b"1234"),
    "offsets of another size": file_of({"a": entry(offsets=(0, 8))}, b"12345678"),
    "an offset beyond the file": file_of({"a": entry(offsets=(1 << 40, (1 << 40) + 4))}, b"1234"),
    "an overlap": file_of({"a": entry(), "b": entry(offsets=(2, 6))}, b"123456"),
    "two arrays at one place": file_of({"a": entry(), "b": entry()}, b"1234"),
    "a hole at the start": file_of({"a": entry(offsets=(4, 8))}, b"12345678"),
    "a hole": file_of({"a": entry(), "b": entry(offsets=(8, 12))}, b"123456789012"),
    "too few bytes": file_of({"a": entry()}, b"123"),
    "too many bytes": file_of({"a": entry()}, b"12345"),
    "a bool that is 2": file_of({"a": entry("BOOL", offsets=(0, 1))}, b"\x02"),
}  # fmt: skip


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_what_is_no_safetensors_file_is_refused(content):
    with pytest.raises(CheckpointError, match=r"^load: f: "):
        unpacked(content)


SAMPLE = packed(
    {"w": np.arange(6, dtype="f4").reshape(2, 3), "n": np.array(7), "on": np.array([True, False])},
    {"tape.version": "1", "tape.step": "3", "note": "text"},
)


def test_a_file_cut_at_any_byte_is_refused():
    for n in range(len(SAMPLE)):
        with pytest.raises(CheckpointError):
            unpacked(SAMPLE[:n])


def is_read_or_refused(content):
    try:
        found, _ = unpacked(content)
    except CheckpointError:
        return
    assert sum(array.nbytes for array in found.values()) <= len(content)


def test_any_flipped_bit_of_a_header_is_refused_or_gives_arrays_of_the_file():
    for i in range(8 * (len(SAMPLE) - 34)):
        content = bytearray(SAMPLE)
        content[i // 8] ^= 1 << i % 8
        is_read_or_refused(bytes(content))


sizes = st.one_of(
    st.integers(-2, 9), st.sampled_from([1 << 31, 1 << 32, 1 << 62, 1 << 63, 1 << 64, 10**30])
)
any_json = st.recursive(
    st.one_of(st.none(), st.booleans(), sizes, st.floats(), st.text(max_size=3)),
    lambda parts: st.one_of(
        st.lists(parts, max_size=3), st.dictionaries(st.text(max_size=3), parts, max_size=3)
    ),
    max_leaves=6,
)
entries = st.one_of(
    any_json,
    st.fixed_dictionaries(
        {
            "dtype": st.one_of(st.sampled_from([*DTYPES, "F16", "BF16", "F8_E5M2"]), any_json),
            "shape": st.one_of(st.lists(sizes, max_size=4), any_json),
            "data_offsets": st.one_of(st.lists(sizes, min_size=2, max_size=2), any_json),
        }
    ),
)
headers = st.dictionaries(
    st.one_of(st.sampled_from(["a", "b", "__metadata__", ""]), st.text(max_size=2)),
    entries,
    max_size=3,
)


@given(headers, st.binary(max_size=40))
def test_any_header_is_read_or_refused(header, values):
    is_read_or_refused(file_of(header, values))


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_read_or_refused(content, with_length):
    is_read_or_refused(file_of(content) if with_length else content)


TOKENS = [
    *(b"0", b"-1", b"1e3", b"4", b"18446744073709551616", b"NaN", b"null", b"true", b'"', b"{"),
    *(b"}", b"[", b"]", b",", b":", b"\\", b"\\ud800", b"\xff", b" ", b'"F32"', b'"w"', b"[0,4]"),
]


def test_thousands_of_mangled_headers_are_read_or_refused():
    rng = np.random.default_rng(0)
    length = int.from_bytes(SAMPLE[:8], "little")
    text, values = SAMPLE[8 : 8 + length].rstrip(), SAMPLE[8 + length :]
    for _ in range(4000):
        mangled = bytearray(text)
        for _ in range(rng.integers(1, 4)):
            at = rng.integers(len(mangled))
            mangled[at : at + rng.integers(6)] = TOKENS[rng.integers(len(TOKENS))]
        is_read_or_refused(file_of(bytes(mangled), values[: rng.integers(len(values) + 1)]))
        is_read_or_refused(file_of(bytes(mangled), values))


def test_errors_say_what_is_wrong_in_numbers():
    for content, words in [
        (BROKEN["a hole"], "b: its bytes 8 to 12 leave a gap after 4"),
        (BROKEN["an overlap"], "b: its bytes 2 to 6 overlap with what is before"),
        (BROKEN["too few bytes"], "truncated: its arrays have 4 bytes, the file has 3 for them"),
        (BROKEN["an unknown dtype"], "a: dtype 'F31' is none that tape reads: F64, F32, I64"),
        (BROKEN["half a length"], "of 3 bytes, it has no header"),
        (b"PK\3\4" + bytes(99), "it is a zip archive, as torch.save and np.savez write it"),
        (b"\x80\2}q\0." + bytes(99), "it is a pickle"),
    ]:
        with pytest.raises(CheckpointError) as caught:
            unpacked(content)
        assert words in str(caught.value)


# -- 16-bit floating point -------------------------------------------------------------------------


@given(hnp.arrays("<u2", st.integers(0, 9)))
def test_16_bit_floating_point_is_read_as_float32_if_asked_for(bits):
    content = file_of(
        {
            "a": entry("F16", bits.shape, (0, bits.nbytes)),
            "b": entry("BF16", bits.shape, (bits.nbytes, 2 * bits.nbytes)),
        },
        bits.tobytes() * 2,
    )
    found, _ = unpacked(content, widen=True)
    wide = (bits.astype("u4") << 16).view("f4")
    np.testing.assert_array_equal(found["a"], bits.view("f2").astype("f4"))
    np.testing.assert_array_equal(found["b"], wide)
    assert found["a"].dtype == found["b"].dtype == np.float32
    with pytest.raises(CheckpointError, match="F16, which tape does not have: widen=True reads"):
        unpacked(content)


# -- what cannot be written ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f2", "c8", "U3", "O", "M8[s]", [("a", "f4")]])
def test_other_dtypes_are_refused_by_name(dtype, tmp_path):
    with pytest.raises(tape.DTypeError, match=r"save: w is .*: take one of float64, float32"):
        tape.save(tmp_path / "f", {"w": np.zeros(2, dtype)})
    assert list(tmp_path.iterdir()) == []


def test_names_that_no_file_can_have_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="not valid Unicode"):
        tape.save(tmp_path / "f", {"\ud800": np.zeros(2)})
    with pytest.raises(CheckpointError, match="__metadata__ cannot be the name of an array"):
        tape.save(tmp_path / "f", {"__metadata__": np.zeros(2)})
    assert list(tmp_path.iterdir()) == []
