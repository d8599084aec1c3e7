"""Files are replaced as a whole, whoever is killed, whatever is full."""

import errno
import gc
import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tape
from tape.errors import CheckpointError
from tape.serialize import atomic

# -- paths --------------------------------------------------------------------------------------


def test_paths_of_all_kinds_are_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ["a", b"b", tmp_path / "c", "./ü d"]:
        tape.save(path, {"x": np.ones(2)})
        assert tape.load(path)["x"].tolist() == [1.0, 1.0]
    long = "n" * 255
    tape.save(long, {"x": np.ones(2)})
    assert sorted(os.listdir(tmp_path)) == sorted(["a", "b", "c", "ü d", long])


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path):
    real, link = tmp_path / "folder" / "real", tmp_path / "link"
    real.parent.mkdir()
    link.symlink_to(real)
    for x in (1.0, 2.0):  # first it points to nothing
        tape.save(link, {"x": np.array(x)})
        assert link.is_symlink()
        assert tape.load(real)["x"] == x
    assert os.listdir(tmp_path / "folder") == ["real"]


def test_an_old_files_permissions_stay_and_a_new_one_has_the_usual(tmp_path):
    path, other = tmp_path / "a", tmp_path / "b"
    other.write_bytes(b"")
    tape.save(path, {})
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)
    path.chmod(0o640)
    tape.save(path, {"x": np.ones(1)})
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_what_is_no_file_is_neither_replaced_nor_read(tmp_path):
    with pytest.raises(
        IsADirectoryError, match="was not written, and is as it was: it is a folder"
    ):
        tape.save(tmp_path, {})
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is no regular file"):
        tape.save(tmp_path / "pipe", {})
    with pytest.raises(CheckpointError, match="pipe is no regular file"):
        tape.load(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        tape.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        tape.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="nothing/x was not written"):
        tape.save(tmp_path / "nothing" / "x", {})
    with pytest.raises(NotADirectoryError, match="pipe/x was not written"):
        tape.save(tmp_path / "pipe" / "x", {})
    assert os.listdir(tmp_path) == ["pipe"]


# -- failures --------------------------------------------------------------------------------------


@pytest.fixture(params=["without a name", "with a name"])
def temporary(request, monkeypatch):
    """Both kinds of new files: systems differ in whether they know files without a name."""
    if request.param == "with a name":
        monkeypatch.setattr(atomic, "OWN_FILES", "/nowhere")


@pytest.mark.parametrize("stage", ["write", "chmod", "fsync", "link", "replace"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), MemoryError()]
)
def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(
    stage, error, temporary, tmp_path, monkeypatch
):
    path = tmp_path / "f"
    tape.save(path, {"x": np.ones(1000)})

    def fails(*args, **kwargs):
        raise error

    def write(file):
        file.write(b"half")
        if stage == "write":
            fails()

    if stage == "link" and atomic.OWN_FILES == "/nowhere":
        pytest.skip("a file with a name needs no link")
    if stage != "write":
        monkeypatch.setattr(atomic.os, stage, fails)
    with pytest.raises(type(error)) as caught:
        atomic.replace(str(path), write)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["f"]
    assert tape.load(path)["x"].tolist() == [1.0] * 1000
    if isinstance(error, OSError):
        words = f"save: {path} was not written, and is as it was: No space left on device"
        assert words in str(caught.value)
        assert caught.value.errno == errno.ENOSPC


def test_a_folder_that_cannot_be_synced_is_no_error_but_a_broken_disk_is(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(number):
        if stat.S_ISDIR(os.fstat(number).st_mode):
            raise OSError(code, os.strerror(code))
        real(number)

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    code = errno.EINVAL
    tape.save(tmp_path / "f", {})
    code = errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        tape.save(tmp_path / "f", {})


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_one_may_not_write_to_is_told(temporary, tmp_path):
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(PermissionError, match="was not written, and is as it was: Permission"):
            tape.save(tmp_path / "f", {})
    finally:
        tmp_path.chmod(0o755)
    assert os.listdir(tmp_path) == []


def test_threads_that_save_to_one_file_leave_one_of_theirs(temporary, tmp_path):
    path = tmp_path / "f"

    def work(i):
        for _ in range(20):
            tape.save(path, {"x": np.full(5000, i)})
            assert len(set(tape.load(path)["x"].tolist())) == 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signal.setitimer")
@pytest.mark.usefixtures("alarms_are_ctrl_c")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a file was opened, but not yet entered
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_at_any_moment_leaves_one_whole_file(temporary, tmp_path):
    path, chance, n_interrupted = tmp_path / "f", np.random.default_rng(0), 0
    tape.save(path, {"x": np.full(5000, 0)})
    for i in range(300):
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-5, 2e-3))
                tape.save(path, {"x": np.full(5000, i)})
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            n_interrupted += 1
        assert len(set(tape.load(path)["x"].tolist())) == 1
        assert os.listdir(tmp_path) == ["f"]
    assert n_interrupted > 20
    gc.collect()


FULL = """
import errno, os, resource, sys
import numpy as np, tape
path = sys.argv[1]
tape.save(path, {"x": np.ones(10)})
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    tape.save(path, {"x": np.zeros(1 << 20)})
except OSError as error:
    assert error.errno == errno.EFBIG, error
    assert "was not written, and is as it was: File too large" in str(error), error
else:
    raise AssertionError("it was written")
assert tape.load(path)["x"].tolist() == [1.0] * 10
assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
"""


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    pytest.importorskip("resource")
    command = [sys.executable, "-c", FULL, str(tmp_path / "f")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# -- kills -----------------------------------------------------------------------------------------

# One process that forks savers and kills them: to start Python anew each time would take minutes.
KILLS = """
import os, signal, sys, time
import numpy as np, tape
from tape import nn, optim
from tape.serialize import atomic

path, kind, n_kills = sys.argv[1], sys.argv[2], int(sys.argv[3])
if kind == "named":
    atomic.OWN_FILES = "/nowhere"
chance = np.random.default_rng(len(kind))
model = nn.Sequential(nn.Dense(200, 100), nn.Dense(10, 200))
sgd = optim.SGD(model.parameters(), lr=0.5, momentum=0.5)
for p in model.parameters():
    p.grad = tape.ones(p.shape)
sgd.step()

def save(version):
    with tape.no_grad():
        for p in model.parameters():
            p.assign(np.full(p.shape, version, "f"))
    sgd.lr = float(version)
    tape.save(path, model, optimizer=sgd, step=version)

def saved():
    step = tape.load(path, model, optimizer=sgd).step
    assert {float(x) for p in model.parameters() for x in np.unique(p)} == {float(step)}
    assert sgd.lr == step
    return step

save(0)
versions = [0]
for _ in range(n_kills):
    first = versions[-1] + 1
    child = os.fork()
    if child == 0:
        try:
            for version in range(first, first + 10**6):
                save(version)
        finally:
            os._exit(1)
    time.sleep(chance.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    versions.append(saved())
    assert versions[-1] >= versions[-2]
print(len(set(versions)), len(os.listdir(os.path.dirname(path))) - 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("kind", ["named", "nameless"])
def test_a_hundred_kills_while_saving_lose_nothing(kind, tmp_path):
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        KILLS,
        str(tmp_path / "f"),
        kind,
        "100",
    ]  # of 200
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    n_versions, n_left = map(int, done.stdout.split())
    assert n_versions > 10
    if kind == "nameless" and hasattr(os, "O_TMPFILE"):
        assert n_left < 20, "only those killed between two system calls leave a file"
