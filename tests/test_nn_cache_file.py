"""Files of cached rows: found again, emptied where damaged, never trusted, others' left alone."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from test_nn_cache import ROW, SAMPLES, asked, frozen

import tape
from tape import nn
from tape.errors import DataError, SettingError, ShapeError, TapeError
from tape.nn.row_file import HEADER, RowFile

SLOT = ROW  # bytes of a slot


def filled(path, ids=range(10), trunk=None):
    """A file with the rows of these samples, closed again."""
    cached = nn.cache(trunk or frozen(), path=path)
    asked(cached, list(ids))
    assert cached.report().misses == len(set(ids))
    return path.read_bytes()


def misses(path, ids=range(10), trunk=None, **how):
    """How many of the samples are computed, and why rows had to go."""
    cached = nn.cache(trunk or frozen(), path=path, **how)
    asked(cached, list(ids))
    return cached.report().misses, cached.report().emptied


def test_another_process_finds_the_rows_of_equal_parameters(tmp_path):
    filled(tmp_path / "rows")
    program = """
        import sys
        sys.path.insert(0, {tests!r})
        from test_nn_cache_file import misses, pathlib_path
        print(misses(pathlib_path({path!r}), range(12)))
    """
    text = textwrap.dedent(program).format(
        tests=os.path.dirname(__file__), path=str(tmp_path / "rows")
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(2, '')"
    assert misses(tmp_path / "rows", range(12)) == (0, "")


def pathlib_path(text):
    """The path itself, for the program above."""
    from pathlib import Path

    return Path(text)


def test_rows_of_other_parameters_or_settings_are_not_served(tmp_path):
    path, why = tmp_path / "rows", "the file's parameters were others"
    filled(path)
    assert misses(path, trunk=frozen(1)) == (10, why)
    assert misses(path) == (10, why)
    other = frozen()
    other[2].eps *= 2
    assert misses(path, trunk=other) == (10, why)
    other = frozen()
    other.layers[1] = tape.relu
    assert misses(path, trunk=other) == (10, why)


def test_parameters_that_come_back_in_the_same_process(tmp_path):
    trunk = frozen()
    cached, values = nn.cache(trunk, path=tmp_path / "rows"), trunk.state_dict()
    asked(cached, [1, 2])
    trunk.load_state_dict(values)
    asked(cached, [1, 2])
    assert cached.report().misses == 2  # new serial numbers, the same values
    trunk.load_state_dict({name: value + 1 for name, value in values.items()})
    asked(cached, [1, 2])
    assert cached.report()[3:] == (4, 0, str(tmp_path / "rows"), "the module has changed")


def test_any_damaged_byte_costs_a_row_at_most_and_never_gives_a_wrong_one(tmp_path):
    path, rng = tmp_path / "rows", np.random.default_rng(0)
    whole = filled(path)
    used = HEADER + 10 * SLOT
    places = [*range(12), *rng.integers(12, 300, 30), *rng.integers(HEADER, used, 120)]
    for at in places:
        damaged = bytearray(whole)
        damaged[at] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        if at < 12:
            with pytest.raises(DataError, match="is not a file of cached rows, and is left as it"):
                misses(path)
            assert path.read_bytes() == damaged
            continue
        n, why = misses(path)
        if at >= HEADER:
            assert n == 1
        else:
            assert (n, why) in [(10, "the file was damaged"), (0, "")]


def test_a_file_cut_off_anywhere_is_emptied_or_loses_what_is_gone(tmp_path):
    path = tmp_path / "rows"
    whole = filled(path)
    for size in [0, 1, 11, 12, 40, HEADER - 1, *range(HEADER, HEADER + 10 * SLOT + 1, 17)]:
        path.write_bytes(whole[:size])
        n, why = misses(path)
        left = max(0, size - HEADER) // SLOT
        assert (n, why) == (10 - left, "the file was damaged" * (0 < size < HEADER))


def test_a_file_that_is_cut_off_in_use_is_noticed(tmp_path):
    cached = nn.cache(frozen(), path=tmp_path / "rows")
    asked(cached, [1, 2, 3])
    os.truncate(tmp_path / "rows", HEADER)
    asked(cached, [1, 2, 3])
    assert cached.report().misses == 6
    assert cached.report().emptied == "the file was cut off while it was in use"


@pytest.mark.parametrize("text", [b"#!/bin/sh\n", b"x", b"tape rows 2\n" + bytes(9999)])
def test_files_of_others_are_left_alone(text, tmp_path):
    (tmp_path / "rows").write_bytes(text)
    cached = nn.cache(frozen(), path=tmp_path / "rows")
    for act in (lambda: asked(cached, [1]), cached.clear):
        with pytest.raises(DataError, match="give another path, or delete it"):
            act()
    assert (tmp_path / "rows").read_bytes() == text


def test_places_that_are_no_file(tmp_path):
    with pytest.raises(IsADirectoryError):
        misses(tmp_path)
    with pytest.raises(FileNotFoundError):
        misses(tmp_path / "none" / "rows")
    with pytest.raises(DataError, match="is no regular file"):
        misses("/dev/null")


def test_one_cache_at_a_time_has_a_file(tmp_path):
    first = nn.cache(frozen(), path=tmp_path / "rows")
    asked(first, [1])
    with pytest.raises(DataError, match="in use by another cache"):
        misses(tmp_path / "rows")
    del first
    assert misses(tmp_path / "rows", [1]) == (0, "")


def test_a_fork_does_not_write_to_the_file_of_its_parent(tmp_path):
    cached = nn.cache(frozen(), path=tmp_path / "rows")
    asked(cached, [1])
    cached._rows.file.process -= 1  # as if another process had opened it
    with pytest.raises(DataError, match=r"opened by process \d+, this is its fork"):
        asked(cached, [1])
    with pytest.raises(DataError, match="is its fork"):
        cached.clear()


def test_rows_of_other_inputs_in_a_file_are_refused_until_cleared(tmp_path):
    def cached():
        return nn.cache(nn.Flatten().freeze(), path=tmp_path / "rows")

    cached()(tape.ones((2, 3, 2)), key=[1, 2])
    other = cached()
    with pytest.raises(ShapeError, match=r"the rows in .*/rows were made from argument 0, float32"):
        other(tape.ones((2, 2, 3)), key=[1, 2])
    other.clear()
    other(tape.ones((2, 2, 3)), key=[1, 2])
    assert other.report().rows == 2
    assert (tmp_path / "rows").stat().st_size > HEADER


def test_the_budget_holds_for_the_file_too(tmp_path):
    path = tmp_path / "rows"
    filled(path, range(40))
    cached = nn.cache(frozen(), path=path, bytes=7 * SLOT + 3)
    asked(cached, list(range(40)))
    assert cached.report().rows == 7
    assert path.stat().st_size <= HEADER + 7 * SLOT
    del cached
    with pytest.raises(SettingError, match="a row takes"):
        misses(path, bytes=SLOT - 1)


def test_a_full_disk_is_an_error_and_leaves_the_rows_there_were(tmp_path, monkeypatch):
    cached = nn.cache(frozen(), path=tmp_path / "rows")
    asked(cached, range(3))

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tape.nn.row_file.reserve", full)
    before = cached.report().rows
    cached(tape.tensor(np.tile(SAMPLES, (2, 1))[:61]), key=range(61))  # 64 slots are there
    with pytest.raises(OSError, match="No space left"):
        cached(tape.tensor(SAMPLES[:10]), key=range(100, 110))
    assert before == 3
    monkeypatch.undo()
    asked(cached, [0, 1, 2])
    assert cached.report().rows == 61


def test_a_row_whose_writer_was_killed_is_never_served(tmp_path):
    program = """
        import sys
        sys.path.insert(0, {tests!r})
        import numpy as np, tape
        from tape import nn
        from test_nn_cache import SAMPLES, frozen
        cached = nn.cache(frozen(), path={path!r}, bytes=12 * {slot})
        rng = np.random.default_rng()
        print("ready", flush=True)
        while True:
            ids = rng.integers(0, 40, 5)
            cached(tape.tensor(SAMPLES[ids]), key=ids)
    """
    path = tmp_path / "rows"
    text = textwrap.dedent(program).format(
        tests=os.path.dirname(__file__), path=str(path), slot=SLOT
    )
    rng = np.random.default_rng(0)
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
        with process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
        n, why = misses(path, range(40), bytes=12 * SLOT)
        assert n >= 28
        assert why in ("", "a row of the file was damaged")


def test_a_layout_too_long_for_the_header_is_refused(tmp_path):
    many = nn.Lambda(lambda x: tuple([x] * 300)).freeze()
    cached = nn.cache(many, path=tmp_path / "rows")
    with pytest.raises(DataError, match=f"takes more than {HEADER} bytes"):
        cached(tape.ones((1, 2)), key=[1])
    file = RowFile(str(tmp_path / "other"))
    assert file.read_header() is None


def test_a_module_changed_by_another_thread_while_it_is_read(tmp_path, monkeypatch):
    trunk = frozen()
    cached = nn.cache(trunk, path=tmp_path / "rows")
    plain = np.ascontiguousarray

    def meddle(array):
        trunk[0].bias.assign(trunk[0].bias.numpy() + 1)
        return plain(array)

    monkeypatch.setattr(np, "ascontiguousarray", meddle)
    with pytest.raises(TapeError, match="was changed by another thread"):
        cached(tape.tensor(SAMPLES[:2]), key=[0, 1])
    monkeypatch.undo()
    asked(cached, [0, 1])
