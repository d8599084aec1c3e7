"""What the examples share: command line, progress bar, metrics file, curve and checkpoint."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import tape


def arguments(
    about: str,
    name: str,
    *,
    epochs: int,
    tiny_epochs: int = 1,
    batch_size: int,
    more: Mapping[str, dict] | None = None,
) -> argparse.Namespace:
    """Read the flags every example has, and `more`: flag -> arguments of `add_argument`."""
    parser = argparse.ArgumentParser(description=about.strip().splitlines()[0])
    parser.add_argument("--epochs", type=int, help=f"passes over the data (default {epochs})")
    parser.add_argument("--batch-size", type=int, default=batch_size, help="(default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all randomness (default 0)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs") / name, metavar="DIR", help="(default %(default)s)"
    )
    parser.add_argument("--tiny", action="store_true", help="a second or two, to try it")
    for flag, options in (more or {}).items():
        parser.add_argument(flag, **options)
    args = parser.parse_args()
    if args.epochs is None:
        args.epochs = tiny_epochs if args.tiny else epochs
    if args.epochs < 1 or args.batch_size < 1:
        parser.error("--epochs and --batch-size must be at least 1")
    return args


class Run:
    """One training run and its folder: `metrics.jsonl`, `curve.png`, `checkpoint.safetensors`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.history: list[dict[str, float]] = []
        self.start = time.perf_counter()
        self.metrics = folder / "metrics.jsonl"
        self.metrics.write_text("", encoding="utf-8")

    def epochs(self, count: int, batches: Sequence | Iterable) -> Iterator[tuple[int, Iterator]]:
        """Give (number, its batches) for each epoch while a progress bar counts the batches."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns) as bar:
            task = bar.add_task(f"epoch 0/{count}", total=count * len(batches))
            for number in range(1, count + 1):
                yield number, counted(batches, bar, task)
                last = "  ".join(f"{k} {v:.4g}" for k, v in self.last.items() if k != "epoch")
                bar.update(task, description=f"epoch {number}/{count}  {last}")

    @property
    def last(self) -> dict[str, float]:
        """The metrics logged last."""
        return self.history[-1] if self.history else {}

    def log(self, **metrics: float) -> None:
        """Append one line to the metrics file."""
        metrics = {name: float(value) for name, value in metrics.items()}
        self.history.append(metrics)
        line = metrics | {"seconds": round(time.perf_counter() - self.start, 3)}
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def curve(self, *panels: Sequence[str]) -> None:
        """Draw `curve.png`: one panel per group of metrics, over epochs."""
        figure = Figure(figsize=(4.5 * len(panels), 3.5), layout="constrained")
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, names in zip(row, panels, strict=True):
            for name in names:
                axes.plot(
                    [m["epoch"] for m in self.history],
                    [m[name] for m in self.history],
                    label=name.replace("_", " "),
                )
            axes.set_xlabel("epoch")
            axes.grid(alpha=0.3)
            axes.legend()
        figure.savefig(self.folder / "curve.png", dpi=120)

    def save(self, model: object, **more: object) -> Path:
        """Write `checkpoint.safetensors`; see `tape.save`."""
        path = self.folder / "checkpoint.safetensors"
        tape.save(path, model, **more)
        return path


def counted(batches: Iterable, bar: Progress, task) -> Iterator:
    """The batches, each of which moves the bar once it has been worked on."""
    for batch in batches:
        yield batch
        bar.advance(task)
