"""IDX files: what is written is read, and what is damaged is told."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tape.data import load_idx_folder, read_idx, write_idx
from tape.errors import DataError, DTypeError

IDX_DTYPES = ["uint8", "int8", "int16", "int32", "float32", "float64"]

idx_arrays = st.sampled_from(IDX_DTYPES).flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=4, min_side=0))
)


@given(array=idx_arrays, zipped=st.booleans(), swapped=st.booleans())
def test_what_is_written_is_read(tmp_path_factory, array, zipped, swapped):
    path = tmp_path_factory.mktemp("idx") / ("a.gz" if zipped else "a")
    write_idx(path, array.astype(array.dtype.newbyteorder()) if swapped else array)
    read = read_idx(path)
    assert read.dtype == array.dtype
    assert read.dtype.isnative
    assert read.shape == array.shape
    assert read.tobytes() == array.tobytes()  # to the bit, NaN included
    assert read.flags.writeable


def test_values_are_stored_big_endian(tmp_path):
    write_idx(tmp_path / "a", np.array([[1], [-2]], np.int16))
    stored = bytes([0, 0, 0x0B, 2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 1, 0xFF, 0xFE])
    assert (tmp_path / "a").read_bytes() == stored


def test_equal_arrays_give_equal_files(tmp_path):
    for name in ("a.gz", "b.gz"):
        write_idx(tmp_path / name, np.arange(9, dtype=np.int32))
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_gzip_is_told_from_content_not_from_the_name(tmp_path):
    write_idx(tmp_path / "a.gz", np.arange(3, dtype=np.uint8))
    (tmp_path / "a.gz").rename(tmp_path / "a")
    assert read_idx(str(tmp_path / "a")).tolist() == [0, 1, 2]


def test_a_dtype_the_format_lacks_is_refused_before_the_file_is_touched(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"precious")
    with pytest.raises(DTypeError, match=r"no code for bool; convert to one of uint8, int8, int"):
        write_idx(path, np.ones(3, bool))
    assert path.read_bytes() == b"precious"


def valid_file(zipped):
    content = struct.pack(">4B3I", 0, 0, 0x0B, 3, 2, 3, 4) + bytes(range(48))
    return gzip.compress(content, mtime=0) if zipped else content


def error_of(tmp_path, content):
    path = tmp_path / "broken.idx"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_idx(path)
    message = str(caught.value).splitlines()[0]
    assert message.startswith(f"read_idx: {path}: ")
    return message


@pytest.mark.parametrize("zipped", [False, True])
def test_every_truncation_is_refused(tmp_path, zipped):
    content = valid_file(zipped)
    for n in range(len(content)):
        error_of(tmp_path, content[:n])


def test_truncated_idx_file_names_the_missing_bytes(tmp_path):
    expected = "truncated: expected 48 bytes of int16 values of shape (2, 3, 4), found "
    assert error_of(tmp_path, valid_file(False)[:-5]).endswith(expected + "43 at most")
    assert error_of(tmp_path, gzip.compress(valid_file(False)[:-5])).endswith(expected + "43")
    lengths = "truncated: expected 12 bytes for the lengths of 3 axes, found 3"
    assert error_of(tmp_path, valid_file(False)[:7]).endswith(lengths)


def test_truncated_gzip_stream_names_expected_and_found_bytes(tmp_path):
    content = np.random.default_rng(0).bytes(5000)  # incompressible: half the stream is half of it
    stream = gzip.compress(struct.pack(">4BI", 0, 0, 8, 1, 5000) + content)
    message = error_of(tmp_path, stream[:3000])
    assert "damaged gzip stream: expected 5000 bytes of uint8 values of shape (5000,)" in message
    found = int(message.split("found ")[1].split(":")[0])
    assert 2000 < found < 3000


def test_a_damaged_gzip_sum_is_noticed(tmp_path):
    stream = bytearray(valid_file(True))
    stream[-6] ^= 1
    assert "damaged gzip stream: expected 48 bytes" in error_of(tmp_path, bytes(stream))
    assert "found 48: CRC check failed" in error_of(tmp_path, bytes(stream))


@pytest.mark.parametrize("zipped", [False, True])
def test_trailing_bytes_are_refused(tmp_path, zipped):
    content = valid_file(False) + b"!"
    message = error_of(tmp_path, gzip.compress(content) if zipped else content)
    assert "trailing bytes: expected 48 bytes of int16 values of shape (2, 3, 4)" in message


@pytest.mark.parametrize(
    ("magic", "found"),
    [
        (b"", "nothing"),
        (b"\x89PNG", "89 50 4e 47"),
        (b"\0\0\x0a\1", "00 00 0a 01"),
        (b"\0\1\x08\1", "00 01 08 01"),
        (b"\0\0\x08\x41", "00 00 08 41"),
    ],
)
def test_a_wrong_magic_shows_its_bytes(tmp_path, magic, found):
    message = error_of(tmp_path, magic)
    assert "no IDX file: expected 4 bytes 00 00, a dtype code of 08 09 0b 0c 0d 0e" in message
    assert message.endswith(f"found {found}")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "dims",
    [
        (0xFFFFFFFF,),
        (1 << 16, 1 << 16),
        (1 << 31, 1 << 31, 4),  # the product of the sizes is 0 modulo 2**64
        (0xFFFFFFFF,) * 3,
        (0, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF,) * 64,
    ],
)
def test_huge_lengths_are_refused_before_memory_is_asked_for(tmp_path, monkeypatch, dims, zipped):
    asked, empty = [], np.empty
    monkeypatch.setattr(np, "empty", lambda n, dtype: asked.append(n) or empty(n, dtype))
    content = struct.pack(f">4B{len(dims)}I", 0, 0, 0x0E, len(dims), *dims) + bytes(64)
    message = error_of(tmp_path, gzip.compress(content) if zipped else content)
    assert str(dims) in message
    assert sum(asked) <= 4 + 4 * 64


def test_a_gzip_bomb_is_unpacked_only_as_far_as_its_header_says(tmp_path, monkeypatch):
    unpacked = []
    read1 = gzip.GzipFile.read1
    monkeypatch.setattr(gzip.GzipFile, "read1", lambda f, n: unpacked.append(n) or read1(f, n))
    header = struct.pack(">4BI", 0, 0, 8, 1, 1000)
    message = error_of(tmp_path, gzip.compress(header + bytes(10_000_000)))
    assert "trailing bytes: expected 1000 bytes" in message
    assert sum(unpacked) <= 4 + 4 + 1001


def test_a_missing_file_stays_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_idx(tmp_path / "nowhere")


@given(data=st.data(), zipped=st.booleans())
def test_damaged_bytes_give_an_array_or_a_data_error(tmp_path_factory, data, zipped):
    content = bytearray(valid_file(zipped))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("idx") / "a"
    path.write_bytes(content)
    try:
        array = read_idx(path)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017  (either outcome is right)
    else:
        assert array.nbytes == 48


@given(content=st.binary(max_size=64))
@example(b"\x1f\x8b")
@example(b"\0\0\x08\0\x07")
def test_any_bytes_give_an_array_or_a_data_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("idx") / "a"
    path.write_bytes(content)
    try:
        array = read_idx(path)
    except DataError:
        return
    assert array.nbytes + 4 + 4 * array.ndim == len(content)


# Folders of IDX files


def write_folder(folder, spelling="{}-images-idx3-ubyte", n_labels=3):
    rng = np.random.default_rng(0)
    arrays = []
    for part, n in (("train", 3), ("t10k", 2)):
        name = spelling.format(part)
        images = rng.integers(0, 256, (n, 5, 4)).astype(np.uint8)
        labels = rng.integers(0, 10, n_labels if part == "train" else n).astype(np.uint8)
        write_idx(folder / name, images)
        write_idx(folder / name.replace("images", "labels").replace("idx3", "idx1"), labels)
        arrays += [images, labels]
    return arrays


@pytest.mark.parametrize(
    "spelling",
    [
        "{}-images-idx3-ubyte",
        "{}-images.idx3-ubyte",
        "{}-images-idx3-ubyte.gz",
        "{}-images.idx3-ubyte.gz",
    ],
)
def test_a_folder_is_found_in_all_its_spellings(tmp_path, spelling):
    written = write_folder(tmp_path, spelling)
    folder = load_idx_folder(tmp_path)
    assert folder._fields == ("train_x", "train_y", "test_x", "test_y")
    for got, array in zip(folder, written, strict=True):
        np.testing.assert_array_equal(got, array)


def test_a_missing_file_of_a_folder_is_named_in_its_spellings(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"found none of t10k-labels-idx1-ubyte, t10k-labels\.idx1"):
        load_idx_folder(tmp_path)


def test_labels_that_do_not_match_the_images_are_refused(tmp_path):
    write_folder(tmp_path, n_labels=4)
    with pytest.raises(DataError, match=r"train has images \(3, 5, 4\) and labels \(4,\)"):
        load_idx_folder(tmp_path)
