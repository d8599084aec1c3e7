"""The repr of a module: an indented tree with sizes, counts, and what is shared with what."""

from __future__ import annotations

from typing import Any

from tape._core.tensor import Tensor
from tape.nn.parameter import Uninferred, is_parameter, written

__all__ = ["outline"]

MAX_DEPTH = 16  # levels that a repr shows


def outline(module: Any) -> str:
    """One line for each module below `module`, indented by depth."""
    lines: list[str] = []
    draw(module, "", 0, "", {}, lines)
    return "\n".join(lines)


def draw(module: Any, name: str, depth: int, path: str, seen: dict[int, str], lines: list[str]):
    """Append the lines of a module and all below it; `seen` has the path of each thing drawn."""
    label = "  " * depth + (f"{name}: " if name else "")
    if not hasattr(module, "entries"):
        lines.append(label + called(module))
        return
    if id(module) in seen:
        lines.append(f"{label}shared with {seen[id(module)] or 'the whole'}")
        return
    if depth > MAX_DEPTH:
        lines.append(f"{label}... {len(list(module.modules())):,} modules, not shown")
        return
    seen[id(module)] = path
    prefix = f"{path}." if path else ""
    own = [(n, e) for n, e in module.entries() if isinstance(e, (Tensor, Uninferred))]
    sizes = []
    for n, entry in own:
        shared = f" shared with {seen[id(entry)]}" if id(entry) in seen else ""
        seen.setdefault(id(entry), prefix + n)
        fixed = is_parameter(entry) and isinstance(entry, Tensor) and not entry.requires_grad
        sizes.append(f"{n} {written(entry.shape)}{' frozen' * fixed}{shared}")
    settings = module.describe()
    facts = [f"{type(module).__name__}({settings})" if settings or own else type(module).__name__]
    if any(isinstance(entry, Uninferred) for _, entry in own):
        facts[0] += " (in inferred)"
    facts[0] += " frozen" * module.is_frozen
    facts += [", ".join(sizes)] * bool(sizes) + [counted(module)]
    lines.append(label + ": ".join(fact for fact in facts if fact))
    for n, part in module.listed():
        draw(part, n, depth + 1, prefix + n, seen, lines)


def counted(module: Any) -> str:
    """How many numbers are learned in a module and below, each parameter once."""
    found: dict[int, Any] = {}
    todo, visited = [module], set()
    while todo:
        at = todo.pop()
        visited.add(id(at))
        for _, entry in at.entries():
            if is_parameter(entry):
                found[id(entry)] = entry
            elif not isinstance(entry, (Tensor, Uninferred)) and id(entry) not in visited:
                todo.append(entry)
    n = sum(entry.size for entry in found.values() if isinstance(entry, Tensor))
    open_end = any(isinstance(entry, Uninferred) for entry in found.values())
    return f"{n:,}{'+' * open_end} parameters" if found else ""


def called(function: Any) -> str:
    """A function's name, as one writes it in code."""
    return getattr(function, "__name__", None) or repr(function)
