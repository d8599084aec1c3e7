"""`python -m tape.netopt MODEL --budget 2x`: a trained model within a budget, with a receipt."""

from __future__ import annotations

import argparse
import importlib
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tape._core.memory import asarray
from tape._core.state import no_grad
from tape.errors import TapeError
from tape.netopt.budget import KINDS, read_budget
from tape.netopt.export import export_report
from tape.netopt.variants import Variant, best, is_within, n_variants, variants
from tape.nn.module import Module
from tape.serialize.loading import load

__all__ = ["main"]

CALIBRATION = 256  # rows of the data that ranks and ranges are taken from
CHUNK = 256  # rows that the accuracy is counted on at a time
ABOUT = """MODEL is file.py:name or package.module:name, which is imported: a module, or a
function without arguments that makes one. Of the variants within the budget the most accurate one
is written, and without classes the one whose results moved least."""


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser("python -m tape.netopt", description=ABOUT)
    add = parser.add_argument
    add("model", metavar="MODEL", help="file.py:name or package.module:name")
    add("--budget", default="2x", help="of what there is, such as 2x, 0.4 or '300 us' (2x)")
    add("--of", choices=KINDS, default="latency", help="what the budget is of (%(default)s)")
    add("--checkpoint", type=Path, metavar="FILE", help="trained numbers, in safetensors")
    add("--data", type=Path, metavar="FILE", help="an .npz file with x and, for the accuracy, y")
    add("--shape", help="of one sample, such as 1,28,28, to draw normal numbers without data")
    add("--batch", type=int, default=1, help="rows that latency is measured on (%(default)s)")
    add("--drop", type=float, default=1.0, help="points of accuracy it may cost (%(default)s)")
    add("--train", metavar="NAME", help="file.py:name of a function that trains a model further")
    add("--out", type=Path, default=Path("netopt"), metavar="DIR", help="(%(default)s)")
    args = parser.parse_args(given)
    if (args.data is None) == (args.shape is None):
        parser.error("give --data FILE, or --shape to do with drawn numbers, and not both")
    if args.batch < 1:
        parser.error("--batch must be at least 1")
    if not args.drop >= 0:
        parser.error("--drop must be at least 0")
    return args


def main(given: Sequence[str] | None = None) -> int:
    """Try what there is, print the receipts, write model, report and picture.

    Returns:
        0, or 1 if no variant will do, or 2 if nothing could be tried.
    """
    args = arguments(given)
    try:
        limit = read_budget(args.budget, args.of)
        x, y = data(args)
        model = named(args.model, Module)
        with no_grad():
            model.eval()(asarray(x[:1]))  # tells the layers their sizes
        if args.checkpoint is not None:
            load(args.checkpoint, model)
        train = None if args.train is None else named(args.train)
        found = tried(args, model, x, y, train)
        reports = {v.name: v.report for v in found if v.report is not None}
        for variant in found:
            print(variant.report or f"{variant.name}: left out, {variant.reason}", end="\n\n")
        if not reports:
            print("nothing makes this model smaller or faster", file=sys.stderr)
            return 1
        args.out.mkdir(parents=True, exist_ok=True)
        wrote = "wrote {} and {}".format(*export_report(args.out / "report", reports))
        chosen = best(found, limit, args.of, args.drop / 100)
        if chosen is None or chosen.recipe is None:
            print(wrote)
            n = sum(is_within(report, limit, args.of) for report in reports.values())
            lost = f" and loses at most {args.drop:g} points" if n else ""
            said = f"no variant is within {args.budget} of {args.of}{lost}"
            print(said, file=sys.stderr)
            return 1
        path = args.out / "optimized.safetensors"
        chosen.recipe.save(path)
    except (TapeError, OSError, ImportError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(f"chosen: {chosen.name}, {reports[chosen.name].speedup:.2f}x the speed")
    print(f"{wrote}, and {path}, which netopt.load(path, model) reads")
    return 0


def tried(
    args: argparse.Namespace, model: Module, x: np.ndarray, y: np.ndarray | None, train: Any
) -> list[Variant]:
    """All variants, while a progress bar counts them."""
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    except ImportError as error:
        raise ImportError("the progress bar needs rich: pip install rich") from error

    def accuracy(net: Module) -> float:
        rows = range(0, len(x), CHUNK)
        with no_grad():
            guesses = [net(asarray(x[i : i + CHUNK])).numpy().argmax(axis=-1) for i in rows]
        return float(np.mean(np.concatenate(guesses) == y))

    found = []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns) as bar:
        task = bar.add_task("optimizing", total=n_variants(train))
        for variant in variants(
            model,
            asarray(x[:CALIBRATION]),
            args.budget,
            args.of,
            timed_x=asarray(x[: args.batch]),
            train=train,
            metric=None if y is None else accuracy,
        ):
            found.append(variant)
            bar.update(task, advance=1, description=variant.name)
        bar.update(task, total=len(found))
    return found


def data(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray | None]:
    """(inputs, classes or None): those of a file, or normal numbers of the shape that is given.

    Raises:
        ValueError: the file or the shape is none.
    """
    if args.data is None:
        sizes = args.shape.split(",")
        if not all(size.strip().isdecimal() and int(size) > 0 for size in sizes):
            raise ValueError(f"--shape is sizes such as 1,28,28, got {args.shape!r}")
        shape = max(CALIBRATION, args.batch), *map(int, sizes)
        return np.random.default_rng(0).standard_normal(shape, np.float32), None
    try:
        with np.load(args.data) as file:  # without pickle, as by default
            found = {name: file[name] for name in ("x", "y") if name in file}
    except (zipfile.BadZipFile, ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{args.data} is no .npz file of arrays: {error}") from error
    x, y = found.get("x"), found.get("y")
    if x is None or not x.ndim or not x.size:
        raise ValueError(f"{args.data} has no inputs under the name x")
    if args.batch > len(x):
        raise ValueError(f"--batch {args.batch}: {args.data} has {len(x)} rows")
    if y is not None and (y.shape != x.shape[:1] or y.dtype.kind not in "iu"):
        raise ValueError(
            f"{args.data}: y is one class for each of the {len(x)} rows of x, as whole numbers; "
            f"got {y.dtype} {y.shape}"
        )
    return (x.astype(np.float32) if x.dtype == np.float64 else x), y


def named(text: str, kind: type | None = None) -> Any:
    """What file.py:name or package.module:name stands for; of this kind, if need be by a call.

    Raises:
        ValueError: there is no such thing.
        ImportError: the module cannot be imported.
    """
    where, colon, name = text.rpartition(":")
    if not colon or not where or not name.isidentifier():
        raise ValueError(f"{text!r} is not of the form file.py:name or package.module:name")
    if where.endswith(".py"):
        path = Path(where).resolve()
        if not path.is_file():
            raise ValueError(f"there is no file {where}")
        sys.path.insert(0, str(path.parent))  # what it imports from beside itself
        where = path.stem
    else:
        sys.path.insert(0, "")
    module = importlib.import_module(where)
    if not hasattr(module, name):
        raise ValueError(f"{text}: there is no {name} in {module.__name__}")
    found = getattr(module, name)
    if kind is not None and callable(found) and not isinstance(found, kind):
        found = found()
    if not (callable(found) if kind is None else isinstance(found, kind)):
        what = "function" if kind is None else kind.__name__.lower()
        raise ValueError(f"{text} is no {what}, but {found!r:.80}")
    return found


if __name__ == "__main__":
    sys.exit(main())
