"""Every example runs as a person runs it, and leaves behind what it says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tape

EXAMPLES = Path(__file__).parent.parent / "examples"
NEEDS = {  # what each one imports beside tape; CI has all of it
    "kl_adaptation": ["mlxtend"],
    "frozen_trunk": ["mlxtend"],
    "mnist_cnn": ["mlxtend"],
    "netopt_convolution": ["mlxtend"],
    "netopt_dense": ["mlxtend"],
    "netopt_binary": ["mlxtend"],
    "shared_names": [],
    "shared_trunk": [],
    "xor": [],
    "char_lm": [],
    "regression": ["sklearn"],
}
RECEIPTS = ["netopt_binary", "netopt_convolution"]


def run(name, *flags, cwd):
    """Run an example with warnings as errors and give what it printed."""
    for package in ("matplotlib", "rich", *NEEDS[name]):
        pytest.importorskip(package, reason=f"examples/{name}.py needs {package}")
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), "--tiny", *flags]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def metrics(folder):
    """The lines of a run's metrics file, without the time taken."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} - {"training"} == set(NEEDS)


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_example_leaves_metrics_curve_and_checkpoint(name, tmp_path):
    run(name, "--out", "made/here", "--epochs", "2", cwd=tmp_path)
    folder = tmp_path / "made/here"
    names = sorted(path.name for path in folder.iterdir())
    receipt = ["receipt.json", "receipt.png"]
    more = {"shared_trunk": ["dual.svg"], **dict.fromkeys(RECEIPTS, receipt)}
    expected = ["checkpoint.safetensors", "curve.png", "metrics.jsonl", *more.get(name, [])]
    assert names == sorted(expected)
    assert [line["epoch"] for line in metrics(folder)] == [1, 2]
    assert all(np.isfinite(value) for line in metrics(folder) for value in line.values())
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG\r\n")
    arrays = tape.load(folder / "checkpoint.safetensors")
    assert len(arrays) >= 4
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert any(name.endswith("weight") and array.ndim >= 2 for name, array in arrays.items())


def test_xor_is_learned(tmp_path):
    assert "4 of 4 right" in run("xor", "--out", "run", cwd=tmp_path)


def test_same_seed_gives_the_same_run_and_another_seed_another(tmp_path):
    for out, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        run("xor", "--epochs", "3", "--seed", seed, "--out", out, cwd=tmp_path)
    a, b, c = (metrics(tmp_path / out) for out in "abc")
    assert a == b
    assert a != c


def test_shared_trunk_is_evaluated_once(tmp_path):
    printed = run("shared_trunk", "--epochs", "1", "--out", "run", cwd=tmp_path)
    found = re.search(r"(\d+) evaluations and (\d+) reused; (\d+) without reuse", printed)
    shared, reused, apart = map(int, found.groups())
    assert reused >= 2  # the trunk's layers, each at least one op
    assert shared + reused == apart
    picture = (tmp_path / "run/dual.svg").read_text()
    assert picture.startswith("<svg")
    assert picture.count("trunk.0: Dense") == picture.count("trunk.1: Dense") == 1
    assert re.search(r"^trunk\.0 +Dense +\(64, 50\), 2 calls +3,550", printed, re.M)


def test_shared_names_share_four_tensors_of_eight(tmp_path):
    printed = run("shared_names", "--epochs", "1", "--out", "run", cwd=tmp_path)
    assert "4 tensors shared, 8 in all" in printed
    assert re.search(r"fc0/dense/weight +networks \[0, 1, 2\]", printed)
    assert re.search(r"fc/dense/weight +networks \[3\]", printed)
    named, unnamed = map(
        float, re.search(r"by (\S+) with a name, by (\S+) without", printed).groups()
    )
    assert named == 0 < unnamed


def test_frozen_trunk_cached_gives_the_same_losses(tmp_path):
    printed = run("frozen_trunk", "--epochs", "25", "--out", "run", cwd=tmp_path)
    assert "losses equal to the bit" in printed
    assert re.search(r"[\d.]+ times the speed", printed)
    assert "256 rows" in printed


def test_netopt_dense_says_what_pays_and_what_does_not(tmp_path):
    printed = run("netopt_dense", "--epochs", "3", "--out", "run", cwd=tmp_path)
    assert "kept: SVD rank 30 has 12,200 bytes, the layer 10,200" in printed
    label, predicted = re.findall(r"(?:Label|Predicted) *: (.*)", printed)
    assert len(label.split(",")) == len(predicted.split(",")) == 10
    arrays = tape.load(tmp_path / "run/checkpoint.safetensors")
    assert sum(array.size for array in arrays.values()) < (784 + 256 + 10) * 256 / 4


def test_netopt_binary_proves_what_it_lowers(tmp_path):
    printed = run("netopt_binary", "--out", "run", cwd=tmp_path)
    assert re.search(r"^2 +Conv2d +signs, scale filter, 1 bit, gives bits", printed, re.MULTILINE)
    error = float(re.search(r"lowered equals trained to (\S+)", printed)[1])
    assert error <= 1e-5
    arrays = tape.load(tmp_path / "run" / "checkpoint.safetensors")
    assert arrays["2.words"].dtype == np.uint64


def test_mnist_cnn_ends_with_a_receipt_on_request(tmp_path):
    printed = run("mnist_cnn", "--receipt", "--out", "run", cwd=tmp_path)
    last = printed.partition("Convolutions of signs, one bit each.")[2]
    assert re.search(r"^measured speed [\d.]+x$", last, re.MULTILINE)
    assert "lowered equals trained to 0.00e+00" in last
    written = {path.name for path in (tmp_path / "run/binary").iterdir()}
    assert written >= {"checkpoint.safetensors", "receipt.json", "receipt.png"}


def test_char_lm_reads_a_given_text_and_beats_a_uniform_guess(tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat\n" * 500)
    flags = ("--text", "text.txt", "--epochs", "3", "--out", "run")
    printed = run("char_lm", *flags, cwd=tmp_path)
    measured, uniform = map(float, re.search(r"character ([\d.]+), .* ([\d.]+)$", printed).groups())
    assert measured < 0.8 * uniform
    assert measured == pytest.approx(metrics(tmp_path / "run")[-1]["held_out_bits"], abs=1e-3)


def test_mnist_cnn_reads_a_folder_of_idx_files(tmp_path):
    from tape.data import write_idx

    rng = np.random.default_rng(0)
    for part, count in (("train", 300), ("t10k", 50)):
        images = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8) % 10)
    printed = run("mnist_cnn", "--data", ".", "--out", "run", cwd=tmp_path)
    assert re.search(r"held-out accuracy [\d.]+% on 5 images", printed)


def test_interrupted_checkpoint_leaves_the_old_one(tmp_path, monkeypatch):
    for package in ("matplotlib", "rich"):
        pytest.importorskip(package, reason=f"examples/training.py needs {package}")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from training import Run

    class Interrupting:
        def __array__(self, dtype=None, copy=None):
            raise KeyboardInterrupt

    training = Run(tmp_path)
    path = training.save({"weight": np.ones(3)})
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        training.save({"weight": np.zeros(3), "bias": Interrupting()})
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.safetensors", "metrics.jsonl"]
