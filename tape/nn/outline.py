"""The repr of a module: a tree with sizes, counts, and what is shared; as text and as HTML."""

from __future__ import annotations

from typing import Any

from tape._core.tensor import Tensor
from tape.nn.parameter import Uninferred, is_parameter, written

__all__ = ["outline", "page"]

MAX_DEPTH = 16  # levels that a repr shows


def outline(module: Any) -> str:
    """One line for each module below `module`, indented by depth."""
    return "\n".join("  " * depth + text for depth, text in drawn(module))


def page(module: Any) -> str:
    """The same lines in HTML, those of modules below others folded away by a click."""
    from html import escape  # needed by notebooks alone

    lines, at = ['<div style="font-family: monospace">'], 0
    entries = drawn(module)
    for i, (depth, text) in enumerate(entries):
        lines += ["</div></details>"] * (at - depth)
        at = depth
        if i + 1 < len(entries) and entries[i + 1][0] > depth:
            lines.append(f'<details open=""><summary>{escape(text)}</summary>')
            lines.append('<div style="margin-left: 2em">')
            at += 1
        else:
            lines.append(f"<div>{escape(text)}</div>")
    return "\n".join([*lines, *["</div></details>"] * at, "</div>"])


def drawn(module: Any) -> list[tuple[int, str]]:
    """(depth, text) of the lines."""
    lines: list[tuple[int, str]] = []
    draw(module, "", 0, "", {}, lines)
    return lines


def draw(
    module: Any,
    name: str,
    depth: int,
    path: str,
    seen: dict[int, str],
    lines: list[tuple[int, str]],
) -> None:
    """Append the lines of a module and all below it; `seen` has the path of each thing drawn."""
    label = f"{name}: " if name else ""
    if not hasattr(module, "entries"):
        lines.append((depth, label + called(module)))
        return
    if id(module) in seen:
        lines.append((depth, f"{label}shared with {seen[id(module)] or 'the whole'}"))
        return
    if depth > MAX_DEPTH:
        lines.append((depth, f"{label}... {len(list(module.modules())):,} modules, not shown"))
        return
    seen[id(module)] = path
    lines.append((depth, label + told(module, path, seen)))
    prefix = f"{path}." if path else ""
    for n, part in module.listed():
        draw(part, n, depth + 1, prefix + n, seen, lines)


def told(module: Any, path: str, seen: dict[int, str]) -> str:
    """What a line says of a module: settings, its own parameters and buffers, and their number."""
    prefix = f"{path}." if path else ""
    own = [(n, e) for n, e in module.entries() if isinstance(e, (Tensor, Uninferred))]
    sizes = []
    for n, entry in own:
        shared = f" shared with {seen[id(entry)]}" if id(entry) in seen else ""
        seen.setdefault(id(entry), prefix + n)
        mode = ""
        if is_parameter(entry) and isinstance(entry, Tensor):
            mode = (" learns" * module.is_frozen) if entry.requires_grad else " frozen"
        sizes.append(f"{n} {written(entry.shape)}{mode}{shared}")
    settings = module.describe()
    facts = [f"{type(module).__name__}({settings})" if settings or own else type(module).__name__]
    if any(isinstance(entry, Uninferred) for _, entry in own):
        facts[0] += " (in inferred)"
    facts[0] += " frozen" * module.is_frozen
    facts += [", ".join(sizes)] * bool(sizes) + [counted(module)]
    return ": ".join(fact for fact in facts if fact)


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
