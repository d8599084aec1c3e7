"""`plan`: ranks for all layers of a model from a budget for the whole.

Note [Plans]
Each layer has options: to stay as it is, or a rank. An option costs something and leaves an error:
the share of its results, or of its kernel, that the rank does not reach. The options that are
chosen minimise the sum of the errors plus a price times the cost, each layer for itself; the price
is raised until the budget is met. So a rank is bought where it serves most.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tape.errors import SettingError, TapeError
from tape.netopt.budget import read_budget
from tape.netopt.cost import multiply_adds, n_parameters
from tape.netopt.factorization.convolution import FactorConvolution, row_of
from tape.netopt.factorization.dense import FactorDense, matrix_of
from tape.netopt.factorization.factored import FactoredDense
from tape.netopt.factorization.ranks import tail_shares
from tape.netopt.factorization.svd import spectrum_on
from tape.netopt.factorization.tucker import unfolded
from tape.netopt.finite import finite
from tape.netopt.frame import computes_as
from tape.netopt.measure import fastest
from tape.netopt.record import Call, called, record, run
from tape.netopt.report import duration
from tape.netopt.rewrite import unscoped
from tape.nn.init import zeros
from tape.nn.linear import Dense
from tape.nn.module import Module
from tape.nn.parameter import Parameter

__all__ = ["Plan", "plan"]

N_RANKS = {"latency": 10, "multiply_adds": 64, "parameters": 64}  # looked at per layer
HALVINGS = 60  # of the price

Layers = list[tuple[str, Any]]  # with their paths; they share a weight


class Option(NamedTuple):
    """A rank, None to leave the layer as it is, with its cost and error."""

    rank: Any
    cost: float
    error: float


class Plan(dict[str, Any]):
    """Ranks by path, what `factor_dense` and `factor_convolution` take as `rank`.

    Attributes:
        of: what the budget is of.
        cost: (before, after) of the whole model, as far as it can be foretold.
    """

    def __init__(self, ranks: dict[str, Any], of: str, cost: tuple[float, float]) -> None:
        super().__init__(ranks)
        self.of, self.cost = of, cost

    def __repr__(self) -> str:
        ranks = ", ".join(f"{path}: {rank}" for path, rank in self.items())
        before, after = self.cost
        return f"Plan({ranks or 'nothing'}; {self.of} {before:.4g} > {after:.4g})"


def plan(
    model: Module,
    x: Any,
    budget: float | str,
    of: str = "multiply_adds",
    filter_function: Callable[[Any], Any] | None = None,
    *,
    timed_x: Any = None,
) -> Plan:
    """Ranks for dense layers and convolutions with which the model stays within a budget.

    A rank is a number for a dense layer, a pair for a convolution. Layers that are not in the plan
    stay as they are. Errors of dense layers are those of their results on `x`, so factor them with
    ``data_aware=True``.

    Args:
        model: the tree.
        x: a calibration batch, or a tuple of operands.
        budget: "2x" for half of what the model costs, a share of it in (0, 1), a number above, or
            for latency a time such as "1.5 ms" or "300 us".
        of: "multiply_adds" of the model on `x`, its "parameters", or "latency" on `x`, measured.
        filter_function: says of a layer whether it may be factored; None is all.
        timed_x: what latency is measured on in place of `x`, such as a single sample.

    Raises:
        SettingError: there is no such budget, or it is less than any ranks can meet, and the least
            is named.
        TapeError: there is no layer to factor.
        NumericsError: a weight, or what comes to a dense layer of x, has NaN or infinity.

    >>> import tape
    >>> from tape import netopt, nn
    >>> net = nn.Sequential(nn.Dense(200, 100, activation=tape.relu), nn.Dense(10, 200))
    >>> ranks = netopt.plan(net, tape.random.normal((64, 100)), "4x", of="parameters")
    >>> ranks.cost[1] <= ranks.cost[0] / 4
    True
    >>> new = netopt.factorization.factor_dense(net, rank=ranks)
    >>> sum(p.size for p in new.parameters()) == ranks.cost[1]
    True
    """
    limit = read_budget(budget, of)
    if not isinstance(model, Module):
        raise TypeError(f"plan: takes a module, got a {type(model).__name__}")
    list(model.named_parameters())  # raises for those without a size
    _, calls = record(model, x)
    together = groups(model, calls, filter_function)
    if not together:
        raise TapeError(f"plan: nothing in this {type(model).__name__} can be factored")
    ranks = [ranks_of(layers, calls, N_RANKS[of]) for layers in together]
    with unscoped():
        if of == "latency":
            ranks = [smaller(*pair) for pair in zip(together, ranks, strict=True)]
            before, costs = timed(model, x if timed_x is None else timed_x, together, ranks)
        else:
            before, costs = counted(model, calls, together, ranks, of)
    found = []
    for its, its_costs in zip(ranks, costs, strict=True):
        options = [Option(k, c, e) for (k, e), c in zip(its, its_costs, strict=True)]
        found.append([o for o in options if o.rank is None or o.cost < options[0].cost])
    rest = max(0.0, before - sum(options[0].cost for options in found))
    most = limit.out_of(before) - rest
    least = sum(min(option.cost for option in options) for options in found)
    if least > most * (1 + 1e-9):
        form = duration if of == "latency" else "{:.4g}".format
        raise SettingError(
            f"plan: the budget of {of} is {form(limit.out_of(before))}, the model costs "
            f"{form(before)}, and with the least ranks {form(rest + least)}"
        )
    chosen = within(found, most)
    by_path = {
        path: option.rank
        for layers, option in zip(together, chosen, strict=True)
        for path, _ in layers
        if option.rank is not None
    }
    return Plan(by_path, of, (before, rest + sum(option.cost for option in chosen)))


def groups(model: Module, calls: dict[int, list[Call]], chosen: Any) -> list[Layers]:
    """The layers that were called and can be factored; those that share a weight together."""
    found: dict[int, Layers] = {}
    layer: Any
    for path, layer in model.named_modules():
        if (
            computes_as(layer, (*FactorDense.kinds, *FactorConvolution.kinds))
            and id(layer) in calls
            and getattr(layer, "groups", 1) == 1
            and layer.weight.size
            and (chosen is None or chosen(layer))
        ):
            finite(f"plan: {path or 'the layer'}", layer.weight.numpy())
            found.setdefault(id(layer.weight), []).append((path, layer))
    return list(found.values())


def ranks_of(layers: Layers, calls: dict[int, list[Call]], n: int) -> list[tuple[Any, float]]:
    """(None, 0) and then (rank, error) of some n ranks of a layer, more where they are small."""
    layer = layers[0][1]
    shares = np.linspace(0, 1, n + 1)[1:] ** 1.5
    w = layer.weight.numpy()
    if isinstance(layer, Dense):
        rows = np.concatenate(
            [matrix_of(call.operand) for _, at in layers for call in calls[id(at)]]
        )
        finite(f"plan: {layers[0][0] or 'the layer'}: what comes to it of x", rows)
        tails = [tail_shares(spectrum_on(w.T, rows))]
    elif set(w.shape[2:]) == {1}:
        tails = [tail_shares(np.linalg.svd(unfolded(w, 1), compute_uv=False))]
    else:
        spectra = (np.linalg.svd(unfolded(w, axis), compute_uv=False) for axis in (1, 0))
        tails = [tail_shares(s) for s in spectra]
    found: dict[Any, float] = {None: 0.0}
    for share in shares:
        ranks = tuple([max(1, round(share * (len(tail) - 1))) for tail in tails])
        error = sum(float(tail[k]) for tail, k in zip(tails, ranks, strict=True))
        found[ranks if len(ranks) > 1 else ranks[0]] = error
    return list(found.items())


def smaller(layers: Layers, ranks: list[tuple[Any, float]]) -> list[tuple[Any, float]]:
    """The ranks that leave fewer numbers: what has more only seems to be faster, by noise."""
    n = n_parameters(layers[0][1])
    return [(k, e) for k, e in ranks if k is None or n_parameters(made(layers[:1], k)[0][1]) < n]


def blank(layer: Any, rank: Any) -> Module:
    """What a layer is replaced by, with zeros for numbers."""
    if isinstance(layer, Dense):
        n_out, n_in = layer.weight.shape
        bias = layer.bias is not None
        return FactoredDense(
            n_out, rank, n_in, layer.activation, bias, zeros, dtype=layer.weight.dtype
        )
    n_out, n_in, *window = layer.weight.shape
    ones = (1,) * len(window)
    if tuple(window) == ones:
        shapes = [(rank, n_in, *ones), (n_out, rank, *ones)]
    else:
        a, b = rank
        shapes = [(a, n_in, *ones)] * (a < n_in) + [(b, a, *window)]
        shapes += [(n_out, b, *ones)] * (b < n_out)
    dtype = layer.weight.dtype
    return row_of(layer, [Parameter(np.zeros(shape, dtype)) for shape in shapes])


def made(layers: Layers, rank: Any) -> Layers:
    """The layers with such a rank, with zeros for numbers."""
    return [(path, layer if rank is None else blank(layer, rank)) for path, layer in layers]


def counted(
    model: Module, calls: dict[int, list[Call]], together: list[Layers], ranks: Any, of: str
) -> tuple[float, list[list[float]]]:
    """(cost of the whole, costs of the layers that share a weight with each of their ranks)."""

    def cost(layers: Layers, rank: Any) -> float:
        new = made(layers, rank)
        if of == "parameters":
            return n_parameters(new[0][1])
        return sum(
            multiply_adds(module, record(module, call.operand)[1])
            for (_, layer), (_, module) in zip(layers, new, strict=True)
            for call in calls[id(layer)]
        )

    whole = n_parameters(model) if of == "parameters" else multiply_adds(model, calls)
    pairs = zip(together, ranks, strict=True)
    return whole, [[cost(layers, rank) for rank, _ in its] for layers, its in pairs]


def timed(
    model: Module, x: Any, together: list[Layers], ranks: Any
) -> tuple[float, list[list[float]]]:
    """What `counted` gives, in seconds on x."""
    _, calls = record(model, x)

    def contender(layers: Layers, rank: Any) -> Callable[[], None]:
        new = [module.clone().eval() for _, module in made(layers, rank)]
        its = [calls.get(id(layer), []) for _, layer in layers]

        def call() -> None:
            for module, of_it in zip(new, its, strict=True):
                called(module, of_it)

        return call

    quiet = model.clone().eval()
    pairs = list(zip(together, ranks, strict=True))
    contenders = {
        f"{i} {rank}": contender(layers, rank)
        for i, (layers, its) in enumerate(pairs)
        for rank, _ in its
    }
    times = fastest({"whole": lambda: run(quiet, x), **contenders})
    found = [[times[f"{i} {rank}"] for rank, _ in its] for i, (_, its) in enumerate(pairs)]
    return times["whole"], found


def within(found: list[list[Option]], most: float) -> list[Option]:
    """One option each, whose costs add up to at most `most`; see Note [Plans]."""
    unit = sum(options[0].cost for options in found)

    def at(price: float) -> list[Option]:
        return [min(its, key=lambda o: (o.error + price * o.cost / unit, o.cost)) for its in found]

    def is_dear(options: list[Option]) -> bool:
        return sum(option.cost for option in options) > most

    low, high = 0.0, 1.0
    while is_dear(at(high)) and high < 1e30:
        low, high = high, high * 4
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_dear(at(middle)) else (low, middle)
    return spent(found, at(high), most)


def spent(found: list[list[Option]], chosen: list[Option], most: float) -> list[Option]:
    """The options with what is left of the budget spent where it takes off most error."""
    while True:
        left = most - sum(option.cost for option in chosen)
        steps = [
            ((now.error - o.error) / max(o.cost - now.cost, 1e-300), i, o)
            for i, now in enumerate(chosen)
            for o in found[i]
            if o.error < now.error and o.cost - now.cost <= left
        ]
        if not steps:
            return chosen
        _, i, option = max(steps, key=lambda step: step[0])
        chosen[i] = option
