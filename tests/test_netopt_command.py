"""`python -m tape.netopt`: what it tries, chooses, writes and refuses."""

import json
import sys

import numpy as np
import pytest

import tape
from tape import netopt, nn
from tape.netopt.__main__ import main
from tape.netopt.budget import Budget
from tape.netopt.recipe import Recipe
from tape.netopt.report import Report, Row
from tape.netopt.variants import Variant, best

pytest.importorskip("rich", reason="the progress bar needs rich")
pytest.importorskip("matplotlib", reason="the picture needs matplotlib")

SOURCE = """
import tape
from tape import nn

def network():
    return nn.Sequential(
        nn.Dense(600, activation=tape.relu), nn.Dense(600, activation=tape.relu), nn.Dense(5)
    )

def train(model):
    calls.append(model)

calls = []
small = nn.Dense(2, 3)
number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a program, the data, and a checkpoint of a network of low rank."""
    name = f"{tmp_path.name.replace('-', '_')}_net"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 400)).astype(np.float32)
    net = nn.Sequential(
        nn.Dense(600, 400, activation=tape.relu),
        nn.Dense(600, 600, activation=tape.relu),
        nn.Dense(5, 600),
    )
    with tape.no_grad():
        for layer in net[:2]:
            n_out, n_in = layer.weight.shape
            thin = rng.standard_normal((n_out, 4)) @ rng.standard_normal((4, n_in))
            layer.weight[:] = thin.astype(np.float32) / n_in**0.5
    y = net(tape.tensor(x)).numpy().argmax(axis=1)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    tape.save(tmp_path / "trained", net)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)


def test_a_budget_is_met_and_the_model_written(folder, tmp_path, capsys):
    flags = ["--checkpoint", "trained", "--data", "data.npz", "--budget", "10x"]
    more = ["--of", "parameters", "--train", f"{folder}:train", "--out", "out"]
    assert main([f"{folder}.py:network", *flags, *more]) == 0
    said = capsys.readouterr()
    assert "\nfactored\n" in said.out
    assert "chosen: factored" in said.out
    assert len(sys.modules[folder].calls) == 4  # pruned by three shares, and factored
    found = json.loads((tmp_path / "out/report.json").read_text())
    names = [point["variant"] for point in found["points"]]
    assert names[:2] in (["original", "int8"], ["original", "factored"])
    assert {"pruned, 25%", "pruned, 75%"} <= set(names)
    assert {point["variant"]: point["metric"] for point in found["points"]}["factored"] > 0.99
    assert (tmp_path / "out/report.png").is_file()
    model = sys.modules[folder].network()
    x = np.load("data.npz")["x"]
    model(tape.asarray(x[:1]))
    small = netopt.load("out/optimized.safetensors", model)
    assert sum(p.size for p in small.parameters()) < 600 * 1005 / 9
    y = small(tape.asarray(x)).numpy().argmax(axis=1)
    assert np.mean(y == np.load("data.npz")["y"]) > 0.99


def test_what_no_variant_meets_is_said(folder, capsys, tmp_path):
    flags = ["--shape", "400", "--budget", "100000x", "--of", "multiply_adds", "--out", "out"]
    assert main([f"{folder}:network", *flags]) == 1
    said = capsys.readouterr()
    assert "the budget of multiply_adds is" in said.out
    assert (
        "no variant is within 100000x of multiply_adds" in said.err or "nothing makes" in said.err
    )
    assert not (tmp_path / "out/optimized.safetensors").exists()


def test_variants_within_the_budget_that_lose_too_much_are_said(folder, capsys, monkeypatch):
    monkeypatch.setattr("tape.netopt.__main__.best", lambda *args: None)
    flags = ["--checkpoint", "trained", "--data", "data.npz", "--budget", "1x", "--drop", "0.5"]
    assert main([f"{folder}:network", *flags, "--of", "parameters"]) == 1
    said = "no variant is within 1x of parameters and loses at most 0.5 points"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "flags", "message"),
    [
        ("{}.py", ["--shape", "3"], "not of the form file.py:name"),
        ("missing.py:network", ["--shape", "3"], "there is no file missing.py"),
        ("no_such_package:network", ["--shape", "3"], "No module named 'no_such_package'"),
        ("{}.py:nothing", ["--shape", "3"], "there is no nothing in"),
        ("{}.py:number", ["--shape", "3"], "is no module, but 3"),
        ("{}.py:small", ["--shape", "3", "--train", "{}:number"], "is no function, but 3"),
        ("{}.py:small", ["--shape", "3", "--budget", "huge"], "a budget of latency is"),
        ("{}.py:small", ["--shape", "3,x"], "--shape is sizes such as"),
        ("{}.py:small", ["--shape", "4"], "Dense"),
        ("{}.py:small", ["--shape", "3", "--checkpoint", "trained"], "nothing was loaded"),
        ("{}.py:small", ["--data", "trained"], "trained is no .npz file"),
        ("{}.py:small", ["--data", "absent.npz"], "absent.npz"),
        ("{}.py:network", ["--data", "data.npz", "--batch", "301"], "has 300 rows"),
    ],
)
def test_what_cannot_be_tried_is_refused(folder, capsys, model, flags, message):
    given = [text.replace("{}", folder) for text in [model, *flags]]
    assert main(given) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": np.zeros(3)}, "no inputs under the name x"),
        ({"x": np.zeros((3, 3)), "y": np.zeros(3)}, "y is one class for each of the 3 rows"),
        ({"x": np.zeros((3, 3)), "y": np.zeros(2, int)}, "y is one class for each"),
        ({"x": np.array([None, {}])}, "no .npz file of arrays"),
    ],
)
def test_data_that_is_none_is_refused(folder, capsys, arrays, message):
    np.savez("bad.npz", **arrays)
    assert main([f"{folder}:small", "--data", "bad.npz"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--shape", "3", "--data", "x.npz"],
        ["--shape", "3", "--batch", "0"],
        ["--shape", "3", "--drop", "nan"],
        ["--shape", "3", "--of", "joy"],
    ],
)
def test_flags_that_mean_nothing_are_refused(flags):
    with pytest.raises(SystemExit):
        main(["net:network", *flags])


def variant(name, after, accuracy=None, drift=0.0):
    metric = {} if accuracy is None else {"original": 0.95, "transformed": accuracy}
    total = Row("total", "", "", latency=(1.0, after))
    recipe = Recipe(nn.Dense(1, 1), tape.zeros((1, 1)))
    return Variant(name, recipe, Report(name, [], total, drift, metric=metric))


def test_the_best_within_the_budget_is_chosen():
    half = Budget(0.5, True)
    found = [variant("slow", 0.6, 0.95), variant("good", 0.4, 0.945), variant("fast", 0.1, 0.944)]
    assert best(found, half, "latency", 0.01).name == "good"
    assert best(found, half, "latency", 0.001) is None
    assert best([], half, "latency", 1) is None
    assert best([variant("a whole point", 0.4, 0.94)], half, "latency", 0.95 - 0.94 - 1e-12)
    drifting = [variant("a", 0.4, drift=0.2), variant("b", 0.45, drift=0.1)]
    assert best(drifting, half, "latency", 0).name == "b"
    assert best([Variant("left out", None, None, "why")], half, "latency", 0) is None
