"""`Module`: a tree of parameters, buffers and modules, found by their attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tape._core.tensor import Tensor
from tape.nn.call import Called, on_failure
from tape.nn.clone import astype, clone, shallow, twins
from tape.nn.freeze import freeze, unfreeze
from tape.nn.outline import outline, page
from tape.nn.parameter import Parameter, Uninferred, is_parameter, refuse_uninferred
from tape.nn.state import Skipped, load_state_dict, set_mode, state_dict
from tape.nn.tree import held, walk

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
    _thawed_mode: bool | None = None  # of a frozen module: see Note [Frozen parameters]

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; TypeError for what would end a parameter without saying so."""
        if name == "training" and self._thawed_mode is not None:
            name = "_thawed_mode"
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
        for name, part in held(self):
            made = part.value if isinstance(part, Uninferred) else None
            yield name, part if made is None else made

    def walk(self, again: bool = False) -> Iterator[tuple[str, Any, Module, str]]:
        """(path, entry, owner, name in it) of the module and all below it, depth first.

        Args:
            again: whether what is shared comes up at each of its paths or at the first only.

        Raises:
            TapeError: a module contains itself.
        """
        return walk(self, again)

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """(path, module) of the module itself, path "", and all below it, each once."""
        for path, entry, _, _ in self.walk():
            if isinstance(entry, Module):
                yield path, entry

    def modules(self) -> Iterator[Module]:
        """The module itself and all below it, each once."""
        for _, entry, _, _ in walk(self, again=False, paths=()):
            if isinstance(entry, Module):
                yield entry

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
        tree = walk(self, again=False, paths=(Parameter, Uninferred))
        found = [(path, entry) for path, entry, _, _ in tree if is_parameter(entry)]
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
        """Set `training` here and below, which dropout and batch normalisation obey; the module.

        A frozen module takes the mode on when it thaws.
        """
        set_mode(list(self.modules()), bool(mode))
        return self

    def eval(self) -> Module:
        """The same as ``train(False)``."""
        return self.train(False)

    @property
    def is_frozen(self) -> bool:
        """Whether `freeze` holds for this module itself."""
        return self._thawed_mode is not None

    def freeze(self, where: str | Callable[[Module], Any] | None = None) -> Module:
        """Keep the module and all below as they are, whatever `train` says, until `unfreeze`.

        Their parameters need no gradient, batch normalisation uses its running statistics and
        leaves them alone, dropout lets everything through. A parameter that others share is frozen
        for these too, and one without a size will be. The repr says ``frozen``. Setting
        `requires_grad` of such a parameter is refused; one that is assigned later learns, and the
        repr says so.

        Args:
            where: which modules: a path, a pattern of paths such as ``"features.*"``, in which *
                takes dots as well, a class such as ``nn.BatchNorm2d``, or a function that says so
                of a module. All below a chosen one is frozen with it; None is the whole.

        Returns:
            The module.

        Raises:
            TapeError: `where` holds for nothing; the nearest paths are listed.

        >>> from tape import nn
        >>> net = nn.Sequential(nn.Dense(2, 3), nn.Dense(1, 2)).freeze("0")
        >>> net
        Sequential: 11 parameters
          0: Dense(2) frozen: weight (2, 3) frozen, bias (2,) frozen: 8 parameters
          1: Dense(1): weight (1, 2), bias (1,): 3 parameters
        """
        freeze(self, where)
        return self

    def unfreeze(self, where: str | Callable[[Module], Any] | None = None) -> Module:
        """Undo `freeze` here and below: what trained before trains again; the module.

        A parameter that a module which stays frozen holds too stays frozen with it.

        Args:
            where: as in `freeze`.

        Raises:
            TapeError: `where` holds for nothing.
        """
        unfreeze(self, where)
        return self

    def clone(self, parameters: str = "learnable") -> Any:
        """A copy of the module and all below that calls no `__init__`; what was shared is shared.

        What is frozen stays frozen. Generators of random numbers are the same objects, so that
        module and clone draw different noise; functions are too, with what they close over.

        Args:
            parameters: "learnable" gives it own copies of parameters and buffers, without
                gradients and names; "constant" as well, and freezes the clone; "shared" keeps the
                same objects in new modules.

        Raises:
            ValueError: `parameters` is something else.
            TapeError: an attribute cannot be copied.

        >>> from tape import nn
        >>> layer = nn.Dense(2, 3)
        >>> layer.clone("shared").weight is layer.weight
        True
        >>> layer.clone("constant").weight.requires_grad
        False
        """
        return clone(self, parameters)

    def astype(self, dtype: Any) -> Any:
        """A copy of the module and all below whose parameters have another dtype, as by `clone`.

        So have the buffers that hold floating-point numbers. The module stays as it is; what it
        shares, the copy shares, and what is frozen stays frozen. Sizes that are not inferred yet
        will be in that dtype. Let an optimizer know by `Optimizer.follow`.

        Args:
            dtype: float32 or float64.

        Raises:
            DTypeError: `dtype` is no floating-point one.
            TapeError: an attribute cannot be copied.

        >>> from tape import nn
        >>> net = nn.Sequential(nn.Dense(3, 2), nn.BatchNorm1d(3)).astype("float64")
        >>> net[0].weight.dtype, net[1].running_mean.dtype, net[1].num_batches_tracked.dtype
        (dtype('float64'), dtype('float64'), dtype('int64'))
        """
        return astype(self, dtype)

    def __copy__(self) -> Any:
        return shallow(self, {})

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return twins(self, memo, share=False)

    def __rshift__(self, other: Any) -> Any:
        from tape.nn.compose import then  # it needs this file

        return then(self, other)

    def __rrshift__(self, other: Any) -> Any:
        from tape.nn.compose import then

        return then(other, self)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for _, entry, _, _ in walk(self, again=False, paths=()):
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
        enough; if there are several, they must agree. Parameters stay the objects they are, and so
        what shares them; `astype` makes a model that arrays of another dtype load into.

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

    def summary(self, *inputs: Any, **named: Any) -> Any:
        """A table of the module and all below: sizes, parameters, sharing, work and memory.

        A copy of the module runs once on the inputs, as in `eval`: nothing of the module changes,
        no size is inferred, no generator moves. See `tape.nn.summary.Summary` for what it gives.

        Args:
            *inputs, **named: what the module is called with; a tuple of integers is a shape, and
                stands for zeros of float32. Without any it does not run.

        Raises:
            TapeError: an attribute cannot be copied.

        >>> from tape import nn
        >>> print(nn.Sequential(nn.Dense(4), nn.Dense(2)).summary((8, 3)))
        path  type        output shape  parameters  multiply-adds  activation bytes
              Sequential  (8, 2)                 0              0                 0
        0     Dense       (8, 4)                16             96               128
        1     Dense       (8, 2)                10             64                64
        total                                   26            160               192
        """
        from tape.nn.summary import Summary  # it needs this file's neighbours

        return Summary(self, inputs, named)

    def describe(self) -> str:
        """The settings, as they stand in the brackets of the repr."""
        return ""

    def listed(self) -> list[tuple[str, Any]]:
        """What the repr shows below the module, by name; shared modules at all their places."""
        return [(name, entry) for name, entry in self.entries() if isinstance(entry, Module)]

    def __repr__(self) -> str:
        return outline(self)

    def _repr_html_(self) -> str:
        return page(self)
