"""`Recipe`: optimisations one after the other, written down, so that a file can be loaded again.

Note [Recipes]
What an optimisation makes of a layer depends on numbers, but which layers it changes, and into
what forms, is a short list. A recipe is that list: applied to a model fresh from its constructor it
gives the same tree with other numbers, which are then those of a checkpoint.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tape._core.tensor import Tensor
from tape.errors import CheckpointError, TapeError
from tape.netopt.cost import multiply_adds
from tape.netopt.factorization.convolution import FactorConvolution
from tape.netopt.factorization.dense import FactorDense
from tape.netopt.frame import Optimization, transform
from tape.netopt.outcome import drift, said, totals
from tape.netopt.quantization.fold import fold_batch_norm
from tape.netopt.quantization.int8 import QuantizeInt8, blank
from tape.netopt.record import record
from tape.netopt.report import Report, Row
from tape.netopt.rewrite import rewrite
from tape.netopt.sparsification.resize import resized
from tape.netopt.sparsification.structured import prune_structured
from tape.nn.conv import Convolution
from tape.nn.group_norm import GroupNorm
from tape.nn.module import Module
from tape.nn.tree import below
from tape.serialize.loading import load as load_checkpoint
from tape.serialize.saving import save as save_checkpoint

__all__ = ["Recipe", "load"]

KEY = "netopt"  # of the metadata of a checkpoint


class Step(NamedTuple):
    """What was done, one of `AGAIN`, to what: by path, with a rank or sizes where it has these."""

    does: str
    to: dict[str, Any]


class Recipe:
    """A model that is optimised step by step, each on what the last one gave.

    Args:
        model: the original; it stays as it is.
        x: a calibration batch, or a tuple of operands.
        timed_x: what latency is measured on in its place, such as a single sample.

    Attributes:
        model: after the steps so far.
        steps: what was done, as `save` writes it.

    >>> import tape
    >>> from tape import netopt, nn
    >>> net = nn.Sequential(nn.Dense(256, 784, activation=tape.relu), nn.Dense(10, 256)).eval()
    >>> recipe = netopt.Recipe(net, tape.random.normal((64, 784))).factor({"0": 20})
    >>> recipe.steps
    [Step(does='factor', to={'0': 20})]
    >>> recipe.report("rank 20").total.parameters
    (203530, 23626)
    """

    def __init__(self, model: Module, x: Any, *, timed_x: Any = None) -> None:
        if not isinstance(model, Module):
            raise TypeError(f"Recipe: takes a module, got a {type(model).__name__}")
        self.original = self.model = model.clone().eval()
        self.x, self.timed_x = x, x if timed_x is None else timed_x
        self.steps: list[Step] = []
        self.rows: dict[str, Row] = {}

    def copy(self) -> Recipe:
        """A recipe that goes on from here on its own."""
        new = copy.copy(self)
        new.steps, new.rows = list(self.steps), {p: copy.copy(row) for p, row in self.rows.items()}
        return new

    def fold(self) -> Recipe:
        """Fold batch norms, see `quantization.fold_batch_norm`."""
        new, report = fold_batch_norm(self.model, x=self.timed_x, return_report=True)
        return self._took("fold", new, report, dict.fromkeys(row.path for row in report.changed))

    def factor(self, ranks: Mapping[str, Any], train: Callable[[Any], Any] | None = None) -> Recipe:
        """Factor dense layers and convolutions, see `plan`; then train, if there is a function.

        What would be larger or slower stays as it is.
        """
        parts = [FactorDense(dict(ranks), data_aware=True), FactorConvolution(dict(ranks))]
        for part in parts:
            if any(isinstance(module, part.kinds) for module in below(self.model)):
                self._run("factor", part, ranks)
        return self._trained(train)

    def prune(self, amount: Any, train: Callable[[Any], Any] | None = None) -> Recipe:
        """Remove filters and neurons, see `sparsification.prune_structured`; then train.

        Layers that would be slower stay as they are.
        """
        before = sizes(self.model)
        new, report = prune_structured(self.model, amount, self.x, return_report=True)
        after = sizes(new)
        to = {at: after[at] for at, size in before.items() if after[at] != size}
        return self._took("prune", new, report, to)._trained(train)

    def quantize_int8(self) -> Recipe:
        """Compute on 8 bits, see `quantize_int8`; what would be larger or slower stays."""
        return self._run("quantize_int8", QuantizeInt8(), {})

    def _run(self, does: str, optimization: Optimization, ranks: Mapping[str, Any]) -> Recipe:
        new, report = transform(self.model, optimization, x=self.x, timed_x=self.timed_x)
        to = {row.path: ranks.get(row.path) for row in report.changed}
        return self._took(does, new, report, to)

    def _took(self, does: str, new: Any, report: Report, to: dict[str, Any]) -> Recipe:
        """Go on with a model, to which so much was done."""
        if to:
            self.model = new.eval()
            self.steps.append(Step(does, to))
        for row in report.rows:
            known = self.rows.setdefault(row.path, row)
            vague = known.action.endswith("is not supported")
            if row.is_changed or ((vague or row.is_refused) and not known.is_changed):
                self.rows[row.path] = row
        return self

    def _trained(self, train: Callable[[Any], Any] | None) -> Recipe:
        """Go on with what a function makes of the model, if anything was done to it."""
        if train is not None and self.steps:
            model = self.model.clone().train()
            given = train(model)
            self.model = (given if isinstance(given, Module) else model).clone().eval()
        return self

    def report(self, title: str, metric: Callable[[Any], float] | None = None) -> Report:
        """What all steps came to: rows of the last that changed a layer, totals of the whole."""
        report = Report(title, list(self.rows.values()))
        totals(report, self.original, self.model, self.timed_x)
        pairs = [(m, record(m, self.x)) for m in (self.original, self.model)]
        report.drift = drift(*(y for _, (y, _) in pairs))
        before, after = (multiply_adds(m, calls) for m, (_, calls) in pairs)
        report.total.multiply_adds = before, after
        if metric is not None:
            ends = {"original": self.original, "transformed": self.model}
            report.metric = {name: said(metric, model) for name, model in ends.items()}
        return report

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model with its recipe: `netopt.load` reads it; see `tape.save`."""
        save_checkpoint(path, self.model, metadata={KEY: json.dumps(self.steps)})


def load(path: str | os.PathLike[str], model: Module) -> Any:
    """A copy of a model, optimised as a file of `Recipe.save` says, with the file's numbers.

    Args:
        path: of the file.
        model: of the same kind and sizes as the one that was optimised; its numbers do not matter,
            and it stays as it is.

    Raises:
        CheckpointError: the file is damaged, has no recipe, or is of another model.
        OSError: it cannot be read.

    >>> import tempfile, tape
    >>> from tape import netopt, nn
    >>> def network():
    ...     return nn.Sequential(nn.Dense(256, 784, activation=tape.relu), nn.Dense(10, 256))
    >>> x = tape.random.normal((64, 784))
    >>> recipe = netopt.Recipe(network(), x).factor({"0": 20})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     recipe.save(folder + "/small.safetensors")
    ...     small = netopt.load(folder + "/small.safetensors", network())
    >>> (small(x) == recipe.model(x)).all().item()
    True
    """
    name = os.fsdecode(path)
    if not isinstance(model, Module):
        raise TypeError(f"netopt.load: takes a module, got a {type(model).__name__}")
    new = model.clone().eval()
    texts = load_checkpoint(path, rng={}).metadata  # nothing is set
    for step in steps_of(name, texts.get(KEY)):
        new = again(new, step, name)
    load_checkpoint(path, new)
    return new.eval()


def again(model: Any, step: Step, name: str) -> Any:
    """A model after a step of the recipe in a file of this name."""
    try:
        return AGAIN[step.does](model, step.to)
    except TapeError as error:
        raise CheckpointError(
            f"netopt.load: {name} is not of this {type(model).__name__}: {error}"
        ) from error


def steps_of(name: str, text: str | None) -> list[Step]:
    """The steps that a file names.

    Raises:
        CheckpointError: there are none, or they are damaged.
    """
    if text is None:
        raise CheckpointError(
            f"netopt.load: {name} has no recipe: it was not written by Recipe.save; tape.load "
            "reads it into a model of the same form"
        )
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    for step in found if isinstance(found, list) else [None]:
        is_pair = isinstance(step, list) and [type(part) for part in step] == [str, dict]
        if not is_pair or step[0] not in AGAIN:
            raise CheckpointError(f"netopt.load: the recipe in {name} is damaged: {step!r:.80}")
    return [Step(does, to) for does, to in found]


def sizes(model: Module) -> dict[str, list[int]]:
    """The shapes of parameters and buffers, and how many groups a group norm has, by path."""
    groups = {at: [m.num_groups] for at, m in model.named_modules() if isinstance(m, GroupNorm)}
    return {at: list(held.shape) for at, held in tensors(model).items()} | groups


def tensors(model: Module) -> dict[str, Tensor]:
    """The parameters and buffers, by path."""
    return {
        f"{at}.{name}".lstrip("."): held
        for at, module in model.named_modules()
        for name, held in module.entries()
        if isinstance(held, Tensor)
    }


def factored(model: Any, ranks: dict[str, Any]) -> Any:
    """A model with factored layers of these ranks."""
    kinds = tuple({*FactorDense.kinds, *FactorConvolution.kinds})
    for layer, (at, rank) in zip(modules_at(model, ranks, kinds), ranks.items(), strict=True):
        is_pair = isinstance(rank, list) and len(rank) == 2 and isinstance(layer, Convolution)
        if not all(type(k) is int for k in (rank if is_pair else [rank])):
            raise TapeError(f"the rank of {at} is {rank!r:.80}")
    for part in (FactorDense(ranks), FactorConvolution(ranks)):
        if any(isinstance(module, part.kinds) for module in below(model)):
            model = transform(model, part, only_cheaper=False).model
    return model


def quantized(model: Any, layers: dict[str, Any]) -> Any:
    """A model with quantised layers at these paths."""
    chosen = set(map(id, modules_at(model, layers, QuantizeInt8.kinds)))
    return rewrite(model, lambda module: id(module) in chosen, blank) if layers else model


def modules_at(model: Any, paths: Iterable[str], kinds: tuple[type, ...]) -> list[Module]:
    """The modules at these paths, TapeError if there is none of such a kind."""
    modules = dict(model.named_modules())
    for at in paths:
        if not isinstance(modules.get(at), kinds):
            names = " or ".join(sorted(kind.__name__ for kind in kinds))
            raise TapeError(f"it has no {names} at {at!r:.80}")
    return [modules[at] for at in paths]


def pruned(model: Any, to: dict[str, Any]) -> Any:
    """A model whose parameters, buffers and group norms have these sizes, none larger."""
    before = sizes(model)
    for at, new in to.items():
        old = before.get(at)
        is_list = isinstance(new, list) and all(type(n) is int for n in new)
        if old is None or not is_list or len(new) != len(old):
            raise TapeError(f"{at!r:.80} has the sizes {old}, in the recipe {new!r:.80}")
        if not all(0 < n <= m for n, m in zip(new, old, strict=True)):
            raise TapeError(
                f"{at} has the sizes {old}, in the recipe {new}: each is from 1 on, and no larger"
            )
    kept, groups = {}, {}
    for at, entry in tensors(model).items():
        if at in to:
            axes = zip(entry.shape, to[at], strict=True)
            kept[id(entry)] = tuple([np.arange(m) < n for m, n in axes])
    for at, module in model.named_modules():
        if isinstance(module, GroupNorm) and at in to:
            groups[id(module)] = to[at][0]
    return resized(model, kept, {}, groups)


def folded(model: Any, to: dict[str, Any]) -> Any:
    """A model with its batch norms folded."""
    return fold_batch_norm(model)


# How each step is done again; `Recipe` has a method for each.
AGAIN: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "fold": folded,
    "factor": factored,
    "prune": pruned,
    "quantize_int8": quantized,
}
