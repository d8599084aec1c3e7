"""Sections of recorded graphs as modules: `clone_function`, `extract`, `splice`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tape._core import recorded
from tape._core.memory import asarray, lengths
from tape._core.tensor import Tensor
from tape.errors import DTypeError, GraphError, ShapeError
from tape.graph.guard import Guard, asked_sizes, guards
from tape.graph.section import Leaf, Ref, Section, told
from tape.graph.sizes import (
    changed_sizes,
    check_counted,
    fit,
    refuse_sizes,
    resized,
    shape_of,
)
from tape.graph.walk import find, nearest, walk
from tape.nn.clone import check_mode
from tape.nn.module import Module
from tape.nn.parameter import Parameter

__all__ = ["FunctionClone", "clone_function", "extract", "splice"]


class Program:
    """What a section computes, and in which order: steps, leaves and guards, never changed."""

    def __init__(self, inputs: list[Tensor], outputs: list[Tensor], what: str) -> None:
        section = self.section = Section(inputs, outputs, what)
        self.guards: dict[int, list[Guard]] = {}
        self.asked = asked_sizes(section)
        for guard in guards(section):
            self.guards.setdefault(guard.serial, []).append(guard)
        leaves = in_order_of_use(section)
        self.learned = [leaf for leaf in leaves if is_learned(leaf)]
        self.fixed = [leaf for leaf in leaves if not is_learned(leaf)]

    def __deepcopy__(self, memo: dict[int, Any]) -> Program:
        return self

    def run(self, args: list[Tensor], values: dict[int, Tensor]) -> list[Tensor]:
        """The outputs for other inputs and leaves."""
        section, known = self.section, dict(values)
        changed: dict[int, int] = {}
        for i, x in enumerate(args):
            changed.update(changed_sizes(section, i, x))
        if changed:
            refuse_sizes(section, changed, self.asked)
        for serial, i in section.start.items():
            check_counted(section, serial, args[i])
            known[serial] = args[i]
        for step in section.steps:
            operands = [known[x.serial] if isinstance(x, Ref) else x for x in step.operands]
            if step.op is None:
                y = operands[0].detach()
            else:
                if changed:
                    fit(step, operands)
                y = step.op(*operands, **resized(step, shape_of(operands[0])))
            known[step.serial] = y
            check_counted(section, step.serial, y)
            for guard in self.guards.get(step.serial, ()):
                guard.check(y)
        return [known[serial] for serial in section.outputs]


def in_order_of_use(section: Section) -> list[Leaf]:
    """The leaves as the steps come to them: weights before biases, first layers first."""
    refs = [x.serial for step in section.steps for x in step.operands if isinstance(x, Ref)]
    used = dict.fromkeys([*refs, *section.outputs])
    return [section.leaves[serial] for serial in used if serial in section.leaves]


def is_learned(leaf: Leaf) -> bool:
    """Whether a leaf is a parameter: a `Parameter`, or a tensor that requires a gradient."""
    return isinstance(leaf.owner, Parameter) or leaf.value.requires_grad


class FunctionClone(Module):
    """A recorded section as a module; see `clone_function`, which makes them.

    Its parameters and constants are taken over when they are first needed: by a call, or because
    somebody asks for them.
    """

    def __init__(
        self, program: Program, mode: str, names: tuple[str, ...] | None, single: bool
    ) -> None:
        self.mode = mode
        self._program, self._names, self._single = program, names, single
        self._values: dict[int, Tensor] | None = None
        self._paths: dict[str, Tensor] = {}

    def forward(self, *args: Any) -> Any:
        """The outputs for other inputs; in the form in which the outputs were named.

        Raises:
            TypeError: the number of arguments is not that of the inputs.
            GuardError: the program would have taken another path, or used another number or dtype.
        """
        inputs = self._program.section.inputs
        if len(args) != len(inputs):
            raise TypeError(f"this section takes {len(inputs)} arguments, got {len(args)}")
        results = self._program.run([asarray(x) for x in args], self._own())
        if self._names is not None:
            return dict(zip(self._names, results, strict=True))
        return results[0] if self._single else tuple(results)

    def attributes(self) -> Iterable[tuple[str, Any]]:
        """Parameters and constants by their paths; shared ones as they are shared."""
        self._own()
        held = {id(value) for value in self._paths.values()}
        others = [(k, v) for k, v in vars(self).items() if not k.startswith("_")]
        return [*self._paths.items(), *((k, v) for k, v in others if id(v) not in held)]

    def _own(self) -> dict[int, Tensor]:
        """The values of the leaves by serial number, made at the first call."""
        if self._values is not None:
            return self._values
        program, values, paths = self._program, {}, {}
        owned: dict[int, Tensor] = {}
        namer = Namer(program.section)
        for leaf in program.learned:
            now = leaf.value if leaf.owner is None else leaf.owner
            if self.mode == "shared" and leaf.owner is not None:
                value = leaf.owner
            elif id(now) in owned:  # one tensor whose values at two times were recorded
                value = owned[id(now)]
            else:
                value = Parameter(np.array(now), requires_grad=self.mode != "constant")
            owned[id(now)] = value
            values[leaf.serial] = value
            if not any(value is other for other in paths.values()):
                paths[namer.path(leaf, paths)] = value
        for leaf in program.fixed:
            now = leaf.value if leaf.owner is None else leaf.owner
            shared = self.mode == "shared" and leaf.owner is not None
            values[leaf.serial] = value = now if shared else now.detach()
            paths[namer.path(leaf, paths)] = value
        self._buffers = tuple(k for k, v in paths.items() if not isinstance(v, Parameter))
        self._values, self._paths = values, paths
        return values

    def describe(self) -> str:
        """The mode, and how many inputs, steps and guards there are."""
        program = self._program
        n = len(program.section.steps), sum(map(len, program.guards.values()))
        return f"{self.mode}, {len(program.section.inputs)} inputs, {n[0]} steps, {n[1]} guards"


class Namer:
    """Paths for the leaves of a section: of the module they belong to, or one of their own."""

    def __init__(self, section: Section) -> None:
        self.paths: dict[int, str] = {}  # of modules, and of what they hold, by id
        for serial in section.outputs:
            t = section.recorded.get(serial)
            for root in reversed(recorded.results_of(t) if t is not None else ()):
                for path, entry, _, _ in root.walk():
                    self.paths.setdefault(id(entry), path)

    def path(self, leaf: Leaf, taken: Mapping[str, Any]) -> str:
        """A path that is not taken."""
        name = leaf.name or ("weight" if is_learned(leaf) else "constant")
        if leaf.owner is not None and id(leaf.owner) in self.paths:
            name = self.paths[id(leaf.owner)]
        elif leaf.holder is not None:
            holder = self.paths.get(id(leaf.holder), type(leaf.holder).__name__.lower())
            name = f"{holder}.{name}" if holder else name
        stem, n = name, 0
        while name in taken:
            n += 1
            name = f"{stem}_{n}"
        return name


def clone_function(inputs: Any, outputs: Any, parameters: str = "learnable") -> FunctionClone:
    """A module that computes, for other inputs, what was recorded between two sets of tensors.

    The path that the program took is replayed: through skip connections, loops and branches, of
    modules or of plain functions. Sizes may differ where the ops allow it. What would make the
    program take another path, or compute with another number, raises; what an input without a name
    (`Tensor.named`, before it is used) hides is refused. A number or array that is read when the
    outputs are there, not on a line with a branch, is taken for a look. Random draws, such as what
    dropout drops, and statistics that a training module moves, are as recorded and move no more:
    take sections in `eval`.

    The copies belong to the module that is returned: a second `clone_function` makes others. They
    are made at its first call, or when its parameters are first asked for, of the values at that
    time. Of a section that is independent of all inputs the recorded value comes back.

    Args:
        inputs: the tensors that the arguments of the module stand for, or one of them: data,
            computed tensors, or parameters, in whose place others may be put, of other sizes too;
            or their names.
        outputs: one tensor, or several in a dictionary, a list or a tuple.
        parameters: "learnable" gives the module parameters of its own, "constant" frozen ones,
            "shared" those of the original, which are learned in both places.

    Returns:
        A module of as many arguments as there are inputs, which gives one tensor, or several in
        the form of `outputs`.

    Raises:
        GraphError: no output depends on an input, or it is not recorded how.
        GradError: backward() has freed the graph.
        ValueError: `parameters` is none of the three; or no inputs, no outputs, one input twice.

    Source: CloneFunction of CNTK's BrainScript.

    >>> import tape
    >>> from tape import nn
    >>> layer = nn.Dense(2, 3, activation=tape.tanh)
    >>> x = tape.ones((4, 3)).named("x")
    >>> clone = tape.clone_function(x, layer(x))
    >>> clone
    FunctionClone(learnable, 1 inputs, 1 steps, 0 guards): weight (2, 3), bias (2,): 8 parameters
    >>> clone(tape.ones((7, 3))).shape
    (7, 2)
    """
    return cloned("clone_function", inputs, outputs, parameters)


def extract(inputs: Any, outputs: Any, share: bool = True) -> FunctionClone:
    """The recorded section between two sets of tensors as a module, with the same parameters.

    Args:
        inputs, outputs: as of `clone_function`.
        share: False for parameters of its own.

    Returns, Raises: as `clone_function`

    >>> import tape
    >>> w = tape.tensor([2.0], requires_grad=True)
    >>> x = tape.tensor([1.0]).named("x")
    >>> h = x * w
    >>> y = h + 1
    >>> tape.extract(h, y)(tape.tensor([5.0])).tolist()
    [6.0]
    """
    return cloned("extract", inputs, outputs, "shared" if share else "learnable")


def cloned(what: str, inputs: Any, outputs: Any, parameters: str) -> FunctionClone:
    """The module that `clone_function` and `extract` give."""
    check_mode(what, parameters)
    names = None
    if isinstance(outputs, Mapping):
        names, outputs = tuple(outputs), list(outputs.values())
    single = isinstance(outputs, Tensor)
    ys = checked(what, "output", outputs, [])
    xs = checked(what, "input", inputs, ys)
    for i, x in enumerate(xs):
        if any(x is other or x.serial == other.serial for other in xs[:i]):
            raise ValueError(f"{what}: input {i}, {told(x)}, is given twice")
    return FunctionClone(Program(xs, ys, what), parameters, names, single)


def checked(what: str, role: str, given: Any, outputs: list[Tensor]) -> list[Tensor]:
    """A list of tensors; strings are names of inputs."""
    parts = [given] if isinstance(given, (Tensor, str)) else given
    if not isinstance(parts, (list, tuple)) or not parts:
        raise ValueError(f"{what}: give one {role} or more, got {given!r}")
    found = []
    for i, part in enumerate(parts):
        if isinstance(part, str) and outputs:
            part = named_in(what, outputs, part)
        if not isinstance(part, Tensor):
            raise TypeError(f"{what}: {role} {i} is a {type(part).__name__}, not a tensor")
        found.append(part)
    return found


def named_in(what: str, outputs: list[Tensor], name: str) -> Tensor:
    """The one tensor of that name.

    Raises:
        GraphError: there is none.
    """
    t = find(outputs, name)
    if t is None:
        raise GraphError(f"{what}: nothing recorded is named {name!r}{nearest(outputs, name)}")
    return t


def splice(output: Any, replacements: Any) -> Any:
    """What the output would be, had other values stood in some places: only these are recomputed.

    Args:
        output: a recorded tensor, or several in a list or tuple.
        replacements: tensors, arrays or numbers by the tensor, or its name, that they replace; or
            one alone, for the only named tensor that nothing recorded made.

    Returns:
        The output, recorded as if it had been computed so; a list of them for several.

    Raises:
        GraphError: no output depends on a tensor that is to be replaced, or none has that name; a
            single replacement, and there is not just one named tensor to replace.
        ShapeError, DTypeError: a replacement has another shape or dtype.
        GuardError: the program would have taken another path.

    >>> import tape
    >>> p = tape.tensor(0.0).named("p")
    >>> tape.splice(p + 3, {p: 3.0}).item()
    6.0
    """
    outputs = [output] if isinstance(output, Tensor) else list(output)
    ys = checked("splice", "output", outputs, [])
    if isinstance(replacements, (list, tuple, set)):
        raise TypeError("splice: replacements is a dictionary, or one tensor, array or number")
    if not isinstance(replacements, Mapping):
        replacements = {only_placeholder(ys): replacements}
    old, new = [], []
    for place, value in replacements.items():
        t = named_in("splice", ys, place) if isinstance(place, str) else place
        (t,) = checked("splice", "node", [t], [])
        value = value if isinstance(value, Tensor) else Tensor(value, dtype=t.dtype)
        if lengths(value) != lengths(t):
            raise ShapeError(f"splice: {lengths(value)} cannot take the place of {told(t)}")
        if value.dtype != t.dtype:
            raise DTypeError(f"splice: {value.dtype} cannot take the place of {told(t)}")
        old.append(t)
        new.append(value)
    program = Program(old, ys, "splice")
    values = {
        leaf.serial: leaf.value if leaf.owner is None else leaf.owner
        for leaf in program.section.leaves.values()
    }
    results = program.run(new, values)
    return results[0] if isinstance(output, Tensor) else results


def only_placeholder(outputs: list[Tensor]) -> Tensor:
    """The one named tensor that nothing recorded made."""
    found = [t for t in walk(outputs) if recorded.names(t) and t.op is None]
    found = [t for t in found if not isinstance(recorded.owner(t), Parameter)]
    if len(found) != 1:
        names = ", ".join(repr(recorded.names(t)[0]) for t in found) or "none"
        raise GraphError(
            f"splice: one replacement needs one named tensor that nothing made, there are {names}: "
            "give a dictionary"
        )
    return found[0]
