"""`export_report`: reports as a JSON file, and a picture of quality against latency."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from tape.errors import SettingError
from tape.netopt.machine import machine
from tape.netopt.report import Report, duration
from tape.serialize.atomic import replace

__all__ = ["Point", "export_report", "points"]

FORMAT = "tape netopt report 1"
PICTURES = (".png", ".svg", ".pdf")
STAGES = ("original", "transformed", "trained", "lowered")  # as the metrics of a report are named
SCALES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))


class Point(NamedTuple):
    """One variant of a model: seconds, and what the metric says, None where not known."""

    variant: str
    latency: float | None
    metric: float | None
    drift: float | None
    parameters: int | None
    multiply_adds: int | None
    bytes: int | None


def export_report(
    path: str | os.PathLike[str],
    reports: Report | Mapping[str, Report],
    *,
    metric: str = "accuracy",
    picture: str = ".png",
) -> tuple[Path, Path]:
    """Write reports as JSON and, beside it, a picture: one point for each variant of the model.

    The file has the machine, a point for the original and for what each report ends with, and the
    reports with all their rows. The picture shows the metric over the measured latency; the output
    drift, downwards, where the reports have no metric. Both files are replaced as a whole.

    Args:
        path: of the JSON file; ``.json`` is added if it is not there. The folder must exist.
        reports: by the names of the variants, all of the same original; or a single one.
        metric: what the metric is, for the axis and the file.
        picture: the suffix of the picture, ".png", ".svg" or ".pdf"; needs the package matplotlib.

    Returns:
        (path of the JSON file, path of the picture).

    Raises:
        SettingError: there is no report, or one without a latency: it was made without `x`; or the
            picture's suffix is another one.
        ImportError: matplotlib is not installed.
        OSError: a file cannot be written.

    >>> import json, tempfile, tape
    >>> from tape import netopt, nn
    >>> net = nn.Sequential(nn.Dense(64, 64, activation=tape.relu), nn.Dense(64, 64))
    >>> x = tape.random.normal((8, 64))
    >>> _, report = netopt.factorization.factor_dense(net, rank=4, x=x, return_report=True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file, picture = netopt.export_report(folder + "/receipt", {"rank 4": report})
    ...     [point["variant"] for point in json.loads(file.read_text())["points"]]
    ['original', 'rank 4']
    """
    if not isinstance(reports, (Report, Mapping)):
        raise TypeError(f"export_report: takes reports by name, got {reports!r:.80}")
    named = {"optimized": reports} if isinstance(reports, Report) else dict(reports)
    found = points(named)
    if picture not in PICTURES:
        raise SettingError(f"export_report: a picture is one of {PICTURES}, got {picture!r}")
    target = Path(path)
    if target.suffix != ".json":
        target = target.with_name(target.name + ".json")
    drawn = scatter(found, metric, picture)
    about = {
        "format": FORMAT,
        "machine": machine(),
        "metric": metric,
        "points": [point._asdict() for point in found],
        "reports": {name: asdict(report) for name, report in named.items()},
    }
    text = json.dumps(nulled(about), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    beside = target.with_suffix(picture)
    replace(str(target), lambda file: file.write(text.encode()))
    replace(str(beside), lambda file: file.write(drawn))
    return target, beside


def points(reports: Mapping[str, Report]) -> list[Point]:
    """The original and the last model of each report.

    Raises:
        SettingError: there is no report, or one without a latency.
        TypeError: something is no report.
    """
    found: list[Point] = []
    for name, report in reports.items():
        if not isinstance(report, Report):
            raise TypeError(f"export_report: {name} is a {type(report).__name__}, not a Report")
        if report.total.latency is None:
            raise SettingError(
                f"export_report: the report of {name} has no latency: give x, a batch to measure "
                "it on, to what makes the report"
            )
        ends = [report.metric.get(stage) for stage in STAGES]
        last = next((value for value in reversed(ends) if value is not None), None)
        drifts = (report.retrained_drift, report.drift, report.lowered_error)
        apart = next((value for value in drifts if value is not None), None)
        if not found:
            found.append(point("original", report, 0, ends[0], 0.0))
        found.append(point(name, report, 1, last, apart))
    if not found:
        raise SettingError("export_report: there is no report to write")
    return found


def point(name: str, report: Report, end: int, metric: Any, drift: Any) -> Point:
    """A point of a report, before (0) or after (1) what it reports."""
    total = report.total
    pairs = total.latency, total.parameters, total.multiply_adds, total.bytes
    latency, *sizes = [None if pair is None else pair[end] for pair in pairs]
    return Point(name, latency, metric, drift, *sizes)


def nulled(value: Any) -> Any:
    """The same as JSON can hold it: NaN and infinity become null."""
    if isinstance(value, Mapping):
        return {key: nulled(held) for key, held in value.items()}
    if isinstance(value, (list, tuple)):
        return [nulled(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def scatter(found: list[Point], metric: str, suffix: str) -> bytes:
    """A picture of the points."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "export_report: the picture needs matplotlib: pip install matplotlib"
        ) from error
    has_metric = any(p.metric is not None for p in found)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    least = min(p.latency for p in found if p.latency is not None)
    scale, unit = next((s for s in SCALES if least >= s[0]), SCALES[-1])
    for i, p in enumerate(found):
        height = p.metric if has_metric else p.drift
        if p.latency is None or height is None or not math.isfinite(height):
            continue
        at = p.latency / scale, height
        axes.plot(*at, "o", color=f"C{i % 10}", markersize=9 if i else 11)
        label = f"{p.variant}, {duration(p.latency)}"
        axes.annotate(label, at, (6, 6), textcoords="offset points", fontsize=8, parse_math=False)
    axes.set_xlabel(f"measured latency, {unit}")
    axes.set_ylabel(metric if has_metric else "output drift", parse_math=False)
    axes.margins(0.25)
    axes.set_xlim(0, axes.get_xlim()[1] * 1.2)  # there is room for the words
    if not has_metric:
        axes.invert_yaxis()  # what is better is above, as with a metric
    axes.grid(alpha=0.3)
    memory = io.BytesIO()
    figure.savefig(memory, format=suffix[1:], dpi=120)
    return memory.getvalue()
