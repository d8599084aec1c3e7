"""`Recipe`: optimisations after each other, one report, and files that load into a fresh model."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tape
from tape import netopt, nn
from tape.errors import CheckpointError
from tape.netopt import frame
from tape.netopt.recipe import Step


@pytest.fixture(autouse=True)
def _whatever_it_takes(monkeypatch):
    """What is tested here is what becomes of layers, whether or not that pays."""
    monkeypatch.setattr(frame, "objection", lambda old, new, *rest: new)


def network(n=12, dtype="float32"):
    return nn.Sequential(
        nn.Conv2d(n, 3, n_in=2, padding=1, dtype=dtype),
        nn.BatchNorm2d(n, dtype=dtype),
        tape.relu,
        nn.Residual(nn.Conv2d(n, 3, n_in=n, padding=1, activation=tape.tanh, dtype=dtype)),
        nn.Flatten(),
        nn.Dense(n, n * 25, activation=tape.relu, dtype=dtype),
        nn.Dense(4, n, dtype=dtype),
    )


def images(n=16, seed=0, dtype="float32"):
    return tape.tensor(np.random.default_rng(seed).standard_normal((n, 2, 5, 5)).astype(dtype))


X = images()
RANKS = {"3.0": (5, 6), "5": 7, "6": 2}


@settings(max_examples=15)
@given(
    st.lists(st.sampled_from(["fold", "prune", "factor", "quantize_int8"]), min_size=1, unique=True)
)
def test_what_a_recipe_saves_loads_into_a_fresh_model(tmp_path_factory, order):
    recipe = netopt.Recipe(network(), X)
    for step in order:
        if step in ("factor", "prune") and "quantize_int8" in recipe_steps(recipe):
            continue  # there are no float layers left
        if step == "fold" and recipe.steps:
            continue
        given = {"factor": [RANKS], "prune": [0.3]}.get(step, [])
        recipe = getattr(recipe, step)(*given)
    path = tmp_path_factory.mktemp("recipe") / "net"
    recipe.save(path)
    fresh = network()
    before = fresh.state_dict()
    again = netopt.load(path, fresh)
    np.testing.assert_array_equal(again(X).numpy(), recipe.model(X).numpy())
    assert repr(again) == repr(recipe.model)
    for name, value in fresh.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def recipe_steps(recipe):
    return [step.does for step in recipe.steps]


def test_the_report_holds_the_last_model_against_the_first():
    net = network().eval()
    recipe = netopt.Recipe(net, X, timed_x=X[:1]).fold().factor(RANKS).quantize_int8()
    report = recipe.report("all", metric=lambda model: float(len(list(model.modules()))))
    assert report.total.bytes[0] == sum(a.nbytes for a in net.state_dict().values())
    assert report.total.latency is not None
    assert report.speedup > 0
    y, small = net(X).numpy(), recipe.model(X).numpy()
    assert report.drift == pytest.approx(np.linalg.norm(y - small) / np.linalg.norm(y), rel=1e-5)
    assert report.metric["original"] == len(list(net.modules()))
    assert report["1"].action == "folded"
    assert report["5"].action == "SVD of results, rank 7"
    assert report["3.0.1"].action.startswith("int8")


def test_a_copy_goes_on_alone():
    first = netopt.Recipe(network(), X).factor(RANKS)
    second = first.copy().quantize_int8()
    assert recipe_steps(first) == ["factor", "factor"]
    assert recipe_steps(second)[-1] == "quantize_int8"
    assert "int8" not in first.report("first")["0"].action


def test_training_is_part_of_factoring():
    def train(model):
        assert model.training
        with tape.no_grad():
            model[6].second[:] = 0.0
            model[6].bias[:] = 1.0

    recipe = netopt.Recipe(network(), X).factor(RANKS, train)
    assert (recipe.model(X).numpy() == 1).all()
    assert not recipe.model.training


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "{}",
        "[" * 100_000,
        '[["os.system", {}]]',
        '[["factor", []]]',
        "[[]]",
        "[null]",
        '[["factor", {"5": 7}, 1]]',
        '[[["factor"], {}]]',
    ],
)
def test_a_damaged_recipe_is_refused(tmp_path, text):
    tape.save(tmp_path / "net", network(), metadata={"netopt": text})
    with pytest.raises(CheckpointError, match=r"recipe in .* is damaged"):
        netopt.load(tmp_path / "net", network())


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (["factor", {"9": 3}], "has no Conv1d or Conv2d or Conv3d or Dense at '9'"),
        (["prune", {"9": [3]}], "'9' has the sizes None"),
        (["prune", {"0.weight": [3]}], "has the sizes .* in the recipe"),
        (
            ["prune", {"0.weight": [13, 2, 3, 3]}],
            "in the recipe .*: each is from 1 on, and no larger",
        ),
        (
            ["prune", {"0.weight": [0, 2, 3, 3]}],
            "in the recipe .*: each is from 1 on, and no larger",
        ),
        (["factor", {"5": 1000}], "is not of this Sequential: .*1000"),
        (["factor", {"5": "x"}], "is not of this Sequential"),
        (["factor", {"5": None}], "is not of this Sequential"),
        (["factor", {"5": [1, 2]}], r"the rank of 5 is \[1, 2\]"),
        (["factor", {"0": []}], r"the rank of 0 is \[\]"),
        (["factor", {"0": [1, 2, 3]}], r"the rank of 0 is \[1, 2, 3\]"),
        (["quantize_int8", {"4": None}], "has no Conv2d or Dense at '4'"),
    ],
)
def test_a_recipe_of_another_model_is_refused(tmp_path, step, message):
    tape.save(tmp_path / "net", network(), metadata={"netopt": json.dumps([step])})
    with pytest.raises(CheckpointError, match=message):
        netopt.load(tmp_path / "net", network())


def test_a_file_without_recipe_says_what_reads_it(tmp_path):
    tape.save(tmp_path / "net", network())
    with pytest.raises(CheckpointError, match=r"no recipe.* tape.load"):
        netopt.load(tmp_path / "net", network())


def test_other_sizes_are_refused_and_the_model_stays(tmp_path):
    netopt.Recipe(network(), X).factor(RANKS).save(tmp_path / "net")
    other = network(n=16)
    before = other.state_dict()
    with pytest.raises(CheckpointError):
        netopt.load(tmp_path / "net", other)
    assert repr(other) == repr(network(n=16))
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_recipes_are_of_modules():
    with pytest.raises(TypeError, match="Recipe: takes a module, got a dict"):
        netopt.Recipe({}, X)
    with pytest.raises(TypeError, match=r"netopt.load: takes a module"):
        netopt.load("net", {})
    assert netopt.Recipe(network(), X).quantize_int8().steps == [
        Step("quantize_int8", dict.fromkeys(["0", "3.0", "5", "6"]))
    ]
