"""`export_report`: a JSON file that says it all, and a picture with a point for each variant."""

import json
import sys

import numpy as np
import pytest

import tape
from tape import netopt, nn
from tape.errors import SettingError
from tape.netopt import Report, Row
from tape.netopt.export import points


def measured(name="it", after=0.5, **more):
    total = Row("total", "", "", parameters=(100, 50), bytes=(400, 200), latency=(1e-3, after))
    return Report(name, [Row("0", "Dense", "done", True)], total, **more)


def test_json_has_the_machine_the_points_and_all_rows(tmp_path):
    net = nn.Sequential(nn.Dense(64, 64, activation=tape.relu), nn.Dense(64, 64))
    x = tape.random.normal((8, 64))
    _, report = netopt.factorization.factor_dense(
        net, rank=4, x=x, metric=lambda model: 0.75, return_report=True
    )
    file, picture = netopt.export_report(tmp_path / "receipt.json", {"rank 4": report})
    assert (file, picture) == (tmp_path / "receipt.json", tmp_path / "receipt.png")
    found = json.loads(file.read_text())
    assert set(found["machine"]) >= {"processor", "kernels", "threads", "python", "numpy"}
    original, small = found["points"]
    assert [original["variant"], small["variant"]] == ["original", "rank 4"]
    assert [original["latency"], small["latency"]] == list(report.total.latency)
    assert original["parameters"] == sum(p.size for p in net.parameters())
    assert original["drift"] == 0
    assert small["drift"] == report.drift
    assert small["metric"] == 0.75
    rows = found["reports"]["rank 4"]["rows"]
    assert [row["path"] for row in rows] == ["0", "1"]
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("suffix", "start"), [(".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_the_picture_has_other_forms(tmp_path, suffix, start):
    _, picture = netopt.export_report(tmp_path / "a.b", measured(), picture=suffix)
    assert picture == tmp_path / f"a.b{suffix}"
    assert picture.read_bytes().startswith(start)


def test_a_picture_has_a_mark_for_each_variant(tmp_path):
    reports = {f"variant {i}": measured(after=1e-3 / (i + 1), drift=0.1 * i) for i in range(4)}
    _, picture = netopt.export_report(tmp_path / "r", reports, picture=".svg")
    text = picture.read_text()
    for name in ["original", *reports]:
        assert f"<!-- {name}, " in text


def test_names_are_shown_as_they_are(tmp_path):
    reports = {"costs $a_{$": measured(metric={"original": 0.5})}
    file, picture = netopt.export_report(tmp_path / "a", reports, metric=r"$\frac$")
    assert json.loads(file.read_text())["points"][1]["variant"] == "costs $a_{$"
    assert picture.exists()
    with pytest.raises(TypeError, match="takes reports by name, got None"):
        netopt.export_report(tmp_path / "b", None)


def test_points_take_the_last_of_a_metric():
    metric = {"original": 0.9, "transformed": 0.2, "trained": 0.8}
    first, last = points({"a": measured(metric=metric, drift=0.5, retrained_drift=0.25)})
    assert (first.metric, last.metric, last.drift) == (0.9, 0.8, 0.25)


def test_what_json_cannot_hold_becomes_null(tmp_path):
    report = measured(drift=np.inf, metric={"original": np.nan, "transformed": 1.0})
    file, _ = netopt.export_report(tmp_path / "r", report)
    original, made = json.loads(file.read_text())["points"]
    assert original["metric"] is None
    assert made["drift"] is None


def test_bad_reports_are_refused_and_nothing_is_written(tmp_path, monkeypatch):
    def refused(error, match, *given, **more):
        with pytest.raises(error, match=match):
            netopt.export_report(tmp_path / "r", *given, **more)
        assert not list(tmp_path.iterdir())

    refused(SettingError, "no report to write", {})
    refused(SettingError, "report of a has no latency: give x", {"a": Report("a")})
    refused(TypeError, "a is a int, not a Report", {"a": 3})
    refused(SettingError, r"a picture is one of .*'\.gif'", measured(), picture=".gif")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    refused(ImportError, "needs matplotlib: pip install", measured())
