"""`Optimizer`: groups of parameters, their settings, and the step they all take together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tape.optim.follow import Followed, follow
from tape.optim.groups import Group, plain, read_groups, read_settings
from tape.optim.state import load_state_dict, plan, state_dict
from tape.optim.steps import take_step

__all__ = ["Optimizer"]


class Optimizer:
    """Base of all optimizers: a subclass says what a step does by `kernel_call`.

    Args:
        params: tensors, or groups: dictionaries with "params" and settings of their own.
        settings: what groups do not say themselves, by name.

    Raises:
        TypeError: `params` holds something that is no tensor, or a setting is no number.
        ValueError: there are no parameters, one is there twice, or a setting is out of its range.
        GradError: a tensor was computed, or needs no gradient; a frozen `Parameter` is passed over
            by steps until it has one.
        ShapeError: a parameter has no size yet.
    """

    state_names: tuple[str, ...] = ()  # of all arrays that may belong to a parameter

    def __init__(self, params: Iterable[Any], **settings: Any) -> None:
        self.defaults = settings
        self.param_groups: list[Group] = []
        for group in read_groups(type(self).__name__, params):
            self.add_param_group(group)

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raise TypeError or ValueError if a group's settings are not what they should be."""

    def needs(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """Names of the arrays that a step needs for each parameter; they are zeros at first."""
        return self.state_names

    def kernel_call(
        self,
        settings: Mapping[str, Any],
        state: Mapping[str, list[np.ndarray]],
        step: int,
        is_new: bool,
    ) -> tuple[Callable[..., None], tuple[Any, ...]]:
        """(kernel, args): a step then is ``kernel(values, gradients, *args)``, lists of arrays.

        Args:
            settings: of the group.
            state: the arrays that `needs` names, each a list in the order of the parameters.
            step: its number, from 1.
            is_new: whether the arrays of state were made for this step.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what a step does")

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Take in more parameters: under "params", and settings of their own beside them.

        Raises:
            TypeError, ValueError, GradError, ShapeError: as when an optimizer is made.
        """
        name = type(self).__name__
        settings = read_settings(name, group, self.defaults)
        self.check(settings)
        taken = [tensor for other in self.param_groups for tensor in other.track.tensors]
        self.param_groups.append(Group(name, group["params"], settings, taken))

    @property
    def lr(self) -> float:
        """The learning rate; setting it sets that of all groups.

        Raises:
            ValueError: groups have different ones when it is read, or it is set below 0.
            TypeError: it is set to something that is no number.
        """
        rates = {group["lr"] for group in self.param_groups}
        if len(rates) > 1:
            raise ValueError(
                f"{type(self).__name__}: the groups have the learning rates {sorted(rates)}: read "
                "param_groups[i]['lr']"
            )
        return rates.pop()

    @lr.setter
    def lr(self, value: float) -> None:
        self.set_rates([value] * len(self.param_groups))

    def set_rates(self, rates: list[float]) -> None:
        """Set the learning rate of each group: all of them, or none after an error.

        Raises:
            TypeError, ValueError: one is no number, negative or not finite.
        """
        rates = [plain(rate) for rate in rates]
        for group, rate in zip(self.param_groups, rates, strict=True):
            self.check({**group, "lr": rate})
        for group, rate in zip(self.param_groups, rates, strict=True):
            group["lr"] = rate

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for group in self.param_groups:
            for tensor in group.track.tensors:
                tensor.zero_grad()

    def step(self) -> None:
        """Change every parameter that has a gradient: all of them, or none after an error."""
        take_step(self)

    def state_dict(self) -> dict[str, Any]:
        """Copies of all settings and of all state, for `load_state_dict`.

        Returns:
            ``{"param_groups": [{**settings, "params": [0, 1, ...]}], "state": {0: {"step": n,
            name: array}}}``: parameters are numbered through all groups; those that have not taken
            a step have no state.
        """
        return state_dict(self.param_groups)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another optimizer with the same groups was, to the bit.

        Args:
            state: what its `state_dict` gave.

        Raises:
            TapeError: the groups, settings or arrays differ; all differences are listed, and
                nothing is changed.
        """
        self.param_groups = load_state_dict(self, state)

    def follow(self, old: Any, new: Any) -> Followed:
        """Go on with the parameters of another model: all of this, or nothing after an error.

        A parameter that both models have keeps its group and state. If they have none in common,
        as after `clone` or `astype`, those at the same paths of the same shapes take over groups
        and state, in their own dtype. Other new ones start afresh, in the group of the old
        parameter at their path, or at the nearest path if there is none; where that one was left
        out of the optimizer, they are too. What only `old` has is dropped. Groups stay, even
        without parameters.

        Args:
            old: the model whose parameters the optimizer has.
            new: the model that takes its place, as from `nn.replace`, `clone` or `astype`.

        Returns:
            ``(carried, fresh, dropped)``: paths in `new` of those with their state and of new ones,
            and paths in `old` of those that are gone.

        Raises:
            TypeError: one is no module.
            ValueError: no parameter of `old` is in the optimizer.
            ShapeError: the sizes of some parameters of `new` are not inferred yet.

        >>> from tape import nn, optim
        >>> net = nn.Sequential(nn.Dense(4, 3), nn.Dense(2, 4))
        >>> optimizer = optim.Adam(net.parameters())
        >>> other = nn.replace(net, "1", nn.Dense(5, 4, bias=False))
        >>> optimizer.follow(net, other)
        Followed(carried=['0.weight', '0.bias'], fresh=['1.weight'], dropped=['1.weight', '1.bias'])
        """
        self.param_groups, followed = follow(self, old, new)
        return followed

    def plan_load(
        self, state: Mapping[str, Any], paths: list[str | None]
    ) -> tuple[list[Group], list[str]]:
        """What `load_state_dict` would set `param_groups` to, and all that is wrong with the state.

        Nothing is changed. The arrays of the state may be kept as they are, without a copy.

        Args:
            state: as for `load_state_dict`.
            paths: names of the parameters for what is wrong with them; None where one has none.

        Raises:
            TapeError: the state is not built as one, or belongs to other groups.
        """
        return plan(self, state, paths)

    def __repr__(self) -> str:
        lines = []
        for group in self.param_groups:
            n = sum(tensor.size for tensor in group.track.tensors)
            facts = [f"{key}={value!r}" for key, value in group.items() if key != "params"]
            lines.append(
                f"  {n:,} numbers in {len(group.track.tensors)} tensors: {', '.join(facts)}"
            )
        return "\n".join([type(self).__name__, *lines])
