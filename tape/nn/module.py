"""`Module`: a tree of parameters, buffers and modules, found by their attributes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tape._core.tensor import Tensor
from tape.errors import DTypeError, TapeError
from tape.nn.call import Called, on_failure
from tape.nn.outline import outline
from tape.nn.parameter import Parameter, Uninferred, is_parameter, refuse_uninferred
from tape.nn.state import Skipped, load_state_dict, state_dict

__all__ = ["Module"]


class Module(Called):
    """A part of a network: parameters and modules as attributes, and what it computes as `forward`.

    An attribute that is a `Parameter` or a module belongs to the tree, also in lists, tuples and
    dictionaries; a plain tensor does only if `register_buffer` says so, and is refused in place of
    a parameter. A call runs `forward`; ``f >> g`` is the `Sequential` of both, see `nn.Parallel`.

    A module or parameter at two places of the tree is shared: it counts once, the gradients of all
    its uses add up, and the repr says so. Which object it is decides, not what it is called.

    >>> import tape
    >>> from tape import nn
    >>> class Line(nn.Module):
    ...     def __init__(self):
    ...         self.slope, self.shift = nn.Parameter(2.0), nn.Parameter(1.0)
    ...     def forward(self, x):
    ...         return x * self.slope + self.shift
    >>> Line()(tape.tensor([0.0, 1.0])).tolist()
    [1.0, 3.0]
    >>> [path for path, _ in Line().named_parameters()]
    ['slope', 'shift']
    """

    training: bool = True
    _buffers: tuple[str, ...] = ()

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; TypeError for what would end a parameter without saying so."""
        if is_parameter(vars(self).get(name)) and not (
            value is None or is_parameter(value) or isinstance(value, Module)
        ):
            raise TypeError(
                f"{type(self).__name__}.{name} is a Parameter, got a {type(value).__name__}: "
                "assign nn.Parameter(...) or None, or change it in place under no_grad"
            )
        super().__setattr__(name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What a call computes: every module says it for itself."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(self, ...)")

    def attributes(self) -> Iterable[tuple[str, Any]]:
        """What is searched for parameters and modules; containers rename their parts."""
        return list(vars(self).items())

    def entries(self) -> Iterator[tuple[str, Any]]:
        """(name, parameter, buffer or module) of this module's own, in order of assignment.

        Raises:
            TapeError: something is held where it would be overlooked, in a set or as a buffer.
        """
        for name, value in self.attributes():
            if isinstance(value, (Module, Parameter)):
                yield name, value
            elif isinstance(value, Uninferred):
                yield name, value if value.value is None else value.value
            elif name in self._buffers:
                if value is not None:
                    yield name, _checked_buffer(self, name, value)
            elif isinstance(value, _CONTAINERS):
                yield from _contained(self, name, value)

    def walk(self, again: bool = False) -> Iterator[tuple[str, Any, Module, str]]:
        """(path, entry, owner, name in it) of the module and all below it, depth first.

        Args:
            again: whether what is shared comes up at each of its paths or at the first only.

        Raises:
            TapeError: a module contains itself.
        """
        yield "", self, self, ""
        yield from _walk(self, "", set() if not again else None, (self,))

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """(path, module) of the module itself, path "", and all below it, each once."""
        for path, entry, _, _ in self.walk():
            if isinstance(entry, Module):
                yield path, entry

    def modules(self) -> Iterator[Module]:
        """The module itself and all below it, each once."""
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the modules that are this one's own, each once."""
        seen = set()
        for name, entry in self.entries():
            if isinstance(entry, Module) and id(entry) not in seen:
                seen.add(id(entry))
                yield name, entry

    def children(self) -> Iterator[Module]:
        """The modules that are this one's own, each once."""
        for _, module in self.named_children():
            yield module

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter) of all parameters, a shared one at its first path only.

        Raises:
            ShapeError: the sizes of some are not inferred yet; the message names them all.
        """
        found = [(path, entry) for path, entry, owner, name in self.walk() if is_parameter(entry)]
        refuse_uninferred(found, "parameters")
        yield from found

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, each once.

        Raises:
            ShapeError: the sizes of some are not inferred yet.
        """
        for _, parameter in self.named_parameters():
            yield parameter

    def register_buffer(self, name: str, value: Any) -> None:
        """Make `value` an attribute that is saved with the parameters, but not learned.

        Args:
            name: of the attribute.
            value: a tensor, what `tape.tensor` takes, an `Uninferred`, or None for one that is off.
        """
        if not name.isidentifier():
            raise ValueError(f"register_buffer: {name!r} is no name of an attribute")
        if value is not None and not isinstance(value, (Tensor, Uninferred)):
            value = Tensor(value)
        setattr(self, name, value)
        if name not in self._buffers:
            self._buffers = (*self._buffers, name)

    def infer(self, **shapes: tuple[int, ...]) -> None:
        """Give those attributes that are `Uninferred` their shapes and first values: all, or none.

        If this happens in a call of a module and the outermost call fails, they wait again.

        Raises:
            ShapeError: a shape contradicts what is known.
        """
        held = {name: vars(self)[name] for name in shapes}
        waiting = {name: entry for name, entry in held.items() if isinstance(entry, Uninferred)}
        made = {name: entry.make(shapes[name]) for name, entry in waiting.items()}
        fresh = [entry for entry in waiting.values() if entry.value is None]

        def wait_again() -> None:
            vars(self).update(waiting)
            for entry in fresh:
                entry.value = None

        on_failure(wait_again)
        for name, entry in waiting.items():
            entry.value = made[name]
        vars(self).update(made)

    def train(self, mode: bool = True) -> Module:
        """Set `training` here and below, which dropout and batch normalisation obey; the module."""
        for module in list(self.modules()):
            module.training = bool(mode)
        return self

    def eval(self) -> Module:
        """The same as ``train(False)``."""
        return self.train(False)

    def __rshift__(self, other: Any) -> Any:
        from tape.nn.compose import then  # it needs this file

        return then(self, other)

    def __rrshift__(self, other: Any) -> Any:
        from tape.nn.compose import then

        return then(other, self)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for _, entry, _, _ in self.walk():
            if isinstance(entry, Parameter):
                entry.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Copies of all parameters and buffers as arrays, by path; shared ones at all their paths.

        Raises:
            ShapeError: the sizes of some are not inferred yet.
        """
        return state_dict(self)

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> Skipped:
        """Set all parameters and buffers from arrays by path: all of them, or none after an error.

        Sizes that are not inferred yet are taken from the arrays. Of a shared parameter one path is
        enough; if there are several, they must agree.

        Args:
            state: what `state_dict` gave, or arrays of the same shapes and dtypes.
            strict: whether every path must be there and no other.

        Returns:
            ``(missing_keys, unexpected_keys)``: the paths that were not there, and those not known;
            with `strict` both are empty.

        Raises:
            TapeError: paths are missing or unknown, or shapes or dtypes differ; all are listed.
        """
        return load_state_dict(self, state, strict)

    def describe(self) -> str:
        """The settings, as they stand in the brackets of the repr."""
        return ""

    def listed(self) -> list[tuple[str, Any]]:
        """What the repr shows below the module, by name; shared modules at all their places."""
        return [(name, entry) for name, entry in self.entries() if isinstance(entry, Module)]

    def __repr__(self) -> str:
        return outline(self)


_CONTAINERS = (list, tuple, dict, set, frozenset)


def _contained(owner: Module, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The entries inside a list, tuple or dictionary, as name.0 or name.key."""
    if isinstance(value, (set, frozenset)):
        if any(isinstance(part, (Module, Parameter, Uninferred)) for part in value):
            raise TapeError(
                f"{type(owner).__name__}.{name} is a set, which has no order: use a list"
            )
        return
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in parts:
        if isinstance(part, (Module, Parameter)):
            yield f"{name}.{key}", part
        elif isinstance(part, Uninferred):
            yield f"{name}.{key}", part if part.value is None else part.value
        elif isinstance(part, _CONTAINERS):
            yield from _contained(owner, f"{name}.{key}", part)


def _checked_buffer(owner: Module, name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise DTypeError(
            f"{type(owner).__name__}.{name} is a buffer: it takes tensors, not "
            f"{type(value).__name__}"
        )
    return value


def _walk(
    module: Module, prefix: str, seen: set[int] | None, above: tuple[Module, ...]
) -> Iterator[tuple[str, Any, Module, str]]:
    for name, entry in module.entries():
        if seen is not None:
            if id(entry) in seen:
                continue
            seen.add(id(entry))
        path = prefix + name
        if isinstance(entry, Module) and any(entry is m for m in above):
            raise TapeError(
                f"{path} is the {type(entry).__name__} that contains it: a tree has no cycles; "
                "keep a reference to a module above in a weakref, or pass it to forward"
            )
        yield path, entry, module, name
        if isinstance(entry, Module):
            yield from _walk(entry, f"{path}.", seen, (*above, entry))
