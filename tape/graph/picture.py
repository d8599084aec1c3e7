"""What a picture of a recorded graph shows: boxes, arrows, and modules around them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tape._core import recorded
from tape._core.memory import lengths
from tape._core.tensor import Tensor
from tape.errors import GradError
from tape.graph.walk import ends, outermost
from tape.nn.call import Called
from tape.nn.parameter import is_parameter
from tape.nn.tree import places

__all__ = ["Arrow", "Box", "Frame", "Picture"]

MAX_TEXT = 60  # characters of a line in a box


class Box(NamedTuple):
    """A value: what its box says, its kind, and the index of the frame it is in, None outside."""

    lines: tuple[str, ...]
    kind: str  # "op", "parameter", "frozen" or "constant"
    frame: int | None


class Arrow(NamedTuple):
    """From an operand to a result, by their indices; the text is the operand's shape."""

    operand: int
    result: int
    text: str


class Frame(NamedTuple):
    """A module: its path and class, and the index of the frame around it, a smaller one."""

    text: str
    outer: int | None


class Picture:
    """Boxes in an order in which they can be computed, arrows and frames; no tensor is held.

    The order depends on the program alone, not on serial numbers or addresses.

    Raises:
        GradError: backward() has freed the graph of an output.
        TypeError: an output is no tensor, or the model no module.
    """

    def __init__(self, outputs: Any, model: Any = None) -> None:
        if model is not None and not isinstance(model, Called):
            raise TypeError(f"plot: model is a module, got a {type(model).__name__}")
        tensors = inside_out(outputs)
        if any(recorded.is_freed(t) for t in ends(outputs)):
            raise GradError(
                "plot: backward() has freed the graph: plot before it, or use tape.grad, which "
                "keeps the graph"
            )
        known = Modules([model] if model is not None else outermost(tensors))
        indices = {t.serial: i for i, t in enumerate(tensors)}
        boxes, self.arrows = [], []
        for i, t in enumerate(tensors):
            parts = recorded.operands(t)
            boxes.append(known.box(t, parts))
            for x in parts or ():
                if isinstance(x, Tensor):
                    self.arrows.append(Arrow(indices[x.serial], i, sized(x)))
        frames = known.frames
        used: set[int] = set()
        for box in boxes:
            at = box.frame
            while at is not None and at not in used:
                used.add(at)
                at = frames[at].outer
        place: dict[int | None, int] = {at: i for i, at in enumerate(sorted(used))}
        self.boxes = [box._replace(frame=place.get(box.frame)) for box in boxes]
        self.frames = [Frame(frames[at].text, place.get(frames[at].outer)) for at in sorted(used)]

    def parts(self) -> Iterator[tuple[str, int, int]]:
        """("frame" or "box" or "end", index, depth): what is in a frame stands before its end."""
        boxes: dict[int | None, list[int]] = {}
        for i, box in enumerate(self.boxes):
            boxes.setdefault(box.frame, []).append(i)
        frames: dict[int | None, list[int]] = {}
        for i, frame in enumerate(self.frames):
            frames.setdefault(frame.outer, []).append(i)
        todo: list[tuple[str, int, int]] = []

        def enter(at: int | None, depth: int) -> None:
            todo.extend(("frame", i, depth) for i in reversed(frames.get(at, [])))
            todo.extend(("box", i, depth) for i in reversed(boxes.get(at, [])))

        enter(None, 0)
        while todo:
            kind, i, depth = todo.pop()
            yield kind, i, depth
            if kind == "frame":
                todo.append(("end", i, depth))
                enter(i, depth + 1)


def inside_out(outputs: Any) -> list[Tensor]:
    """All recorded tensors that the outputs were made of, and these, each after its operands."""
    order: dict[int, Tensor] = {}
    todo: list[tuple[Tensor, Any]] = [(t, None) for t in reversed(ends(outputs))]
    while todo:
        t, parts = todo.pop()
        if t.serial in order:
            continue
        if parts is None:
            parts = [x for x in recorded.operands(t) or () if isinstance(x, Tensor)]
            todo.append((t, parts))
            todo += [(x, None) for x in reversed(parts) if x.serial not in order]
        else:
            order[t.serial] = t
    return list(order.values())


class Modules:
    """The frames for all modules of some trees, and what belongs in them."""

    def __init__(self, roots: list[Any]) -> None:
        self.frames: list[Frame] = []
        self.held: list[Any] = roots  # so that no id is used again
        self.at: dict[int, int] = {}  # the frames of modules, by id
        self.named: dict[Any, tuple[str, int, Any]] = {}  # of parameters and buffers
        for root in roots:
            self.add(root)

    def add(self, root: Any) -> None:
        """Make frames for a tree."""
        shared: dict[int, list[str]] = {}
        for path, entry, owner, first in places(root):
            outer = self.at.get(id(owner))
            if not isinstance(entry, Called):
                if owner is not None and outer is not None:
                    self.name(entry, path, outer)
            elif first is not None:
                shared.setdefault(id(entry), []).append(path)
            elif id(entry) not in self.at:
                self.at[id(entry)] = len(self.frames)
                kind = type(entry).__name__ + " frozen" * entry.is_frozen
                self.frames.append(Frame(f"{path}: {kind}" if path else kind, outer))
        for key, others in shared.items():
            at = self.at[key]
            text = f"{self.frames[at].text}, shared with {', '.join(others)}"
            self.frames[at] = self.frames[at]._replace(text=text)

    def name(self, entry: Any, path: str, frame: int) -> None:
        """Note what a parameter or buffer is called, and where it is."""
        if isinstance(entry, Tensor):
            found = path.rpartition(".")[2], frame, entry
            self.named.setdefault(id(entry), found)
            self.named.setdefault(("serial", entry.serial), found)

    def box(self, t: Tensor, parts: tuple[Any, ...] | None) -> Box:
        """The box of a value that was made of these parts, None for a leaf."""
        names = recorded.names(t)
        if parts is not None:
            made = operation(t, parts)
            return Box((*map(cut, names), made), "op", self.at.get(id(recorded.module(t))))
        owner = recorded.owner(t)
        found = self.named.get(id(owner)) or self.named.get(("serial", t.serial))
        name, frame, entry = found or ("", self.at.get(id(recorded.module(t))), owner)
        if is_parameter(entry) or t.requires_grad:
            kind = "parameter" if t.requires_grad else "frozen"
        else:
            kind = "constant"
        name = name or (owner is not None and owner.name) or (t.op.name if t.op else kind)
        return Box(tuple(map(cut, names)) or (cut(name),), kind, frame)


def operation(t: Tensor, parts: tuple[Any, ...]) -> str:
    """The op of a value, with those operands that are numbers."""
    name = t.op.name if t.op is not None else "detach"
    if all(isinstance(x, Tensor) for x in parts):
        return cut(name)
    words = ["_" if isinstance(x, Tensor) else written(x) for x in parts]
    return cut(f"{name}({', '.join(words)})")


def written(x: Any) -> str:
    """A number as a box says it."""
    return f"{x:.4g}" if isinstance(x, float) else str(x)


def sized(t: Tensor) -> str:
    """A shape, and the dtype if it is not float32."""
    return f"{lengths(t)}" if t.dtype == "float32" else f"{lengths(t)} {t.dtype}"


def cut(text: str) -> str:
    """A text of some length without signs that files could not hold."""
    text = text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."
    if text.isprintable():
        return text
    return "".join(x if x.isprintable() else ascii(x)[1:-1] for x in text)
