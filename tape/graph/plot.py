"""Pictures of recorded graphs: `plot`, in the languages DOT and Mermaid, and as files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tape.errors import GraphError
from tape.graph.drawing import draw
from tape.graph.picture import Picture

__all__ = ["Plot", "plot"]

FILL = {"op": "#ffffff", "parameter": "#fde9b8", "frozen": "#d6e6f7", "constant": "#ececec"}
DOT_STYLE = {"op": "filled", "constant": "filled,rounded", "frozen": "filled,dashed,rounded"}
MERMAID_BRACKETS = {"op": ("[", "]"), "constant": ("(", ")")}
SUFFIXES = (".dot", ".mmd", ".pdf", ".png", ".svg")
MAX_INDENT = 8


class Plot:
    """A picture of a recorded graph, which `plot` makes; it holds no tensors.

    The text of it, ``str(...)``, is DOT; notebooks show it as SVG.
    """

    def __init__(self, picture: Picture) -> None:
        self.picture = picture

    def dot(self) -> str:
        """The picture in the DOT language of Graphviz."""
        return dot(self.picture)

    def mermaid(self) -> str:
        """The picture as a flowchart in the Mermaid language, which pages in Markdown show."""
        return mermaid(self.picture)

    def svg(self) -> str:
        """The picture as SVG: plainly laid out, by tape itself, so it needs no other program."""
        return draw(self.picture, FILL)

    def save(self, filename: str | os.PathLike[str]) -> None:
        """Write the picture to a file; its suffix says in which form.

        Args:
            filename: ends in .dot, .mmd (Mermaid) or .svg, or in .png or .pdf, for which the
                package `graphviz` and the program `dot` of Graphviz are needed. They lay out an
                .svg too, where they are.

        Raises:
            ValueError: another suffix.
            ImportError: the package is not installed.
            GraphError: the program is not installed, or fails.
            OSError: the file cannot be written.
        """
        path = Path(filename)
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise ValueError(
                f"plot: {path.name!r} ends in none of {', '.join(SUFFIXES)}, which say the form"
            )
        path.write_bytes(self.rendered(suffix))

    def rendered(self, suffix: str) -> bytes:
        """What a file with this suffix has in it."""
        if suffix in (".dot", ".mmd"):
            return (self.dot() if suffix == ".dot" else self.mermaid()).encode()
        try:
            return by_graphviz(self.dot(), suffix)
        except (ImportError, GraphError):
            if suffix != ".svg":
                raise
            return self.svg().encode()

    def _repr_svg_(self) -> str:
        return self.svg()

    def __str__(self) -> str:
        return self.dot()

    def __repr__(self) -> str:
        n, m = len(self.picture.boxes), len(self.picture.arrows)
        return f"Plot of {n} values and {m} arrows: str(plot), plot.svg(), plot.save('net.svg')"


def plot(outputs: Any, filename: str | os.PathLike[str] | None = None, model: Any = None) -> Plot:
    """A picture of all that the outputs were made of, in a file if there is a name for one.

    Every value is drawn once, however many use it, in a frame for the module in whose forward it
    was made; modules are in those they are part of. Parameters are yellow, frozen ones blue and
    dashed, data and constants grey; the arrows say the shapes, and dtypes other than float32. The
    same program gives the same text.

    Args:
        outputs: a tensor, or several in a list, a tuple or a dictionary; the live results of a
            tape are ``t.nodes``.
        filename: ends in .svg, .png, .pdf, .dot or .mmd, see `Plot.save`; None writes nothing.
        model: module whose frames are drawn; None means the outermost ones that took part, as far
            as they gave a tensor or computed something themselves.

    Raises:
        ValueError: the filename has another suffix.
        ImportError, GraphError: what draws .png and .pdf is not installed.
        GradError: backward() has freed the graph.
        TypeError: an output is no tensor, or the model no module.

    >>> import tape
    >>> x = tape.tensor([1.0, 2.0], requires_grad=True).named("x")
    >>> print(tape.graph.plot(x * 2).mermaid())
    flowchart TB
      n0(["x"]):::parameter
      n1["multiply(_, 2)"]:::op
      n0 -->|"(2,)"| n1
      classDef op fill:#ffffff
      classDef parameter fill:#fde9b8
      classDef frozen fill:#d6e6f7
      classDef constant fill:#ececec
    """
    made = Plot(Picture(outputs, model))
    if filename is not None:
        made.save(filename)
    return made


def dot(picture: Picture) -> str:
    """The DOT text of a picture."""
    lines = [
        "digraph tape {",
        '  node [shape=box, fontname="sans-serif", fontsize=11];',
        '  edge [fontname="sans-serif", fontsize=9];',
        '  graph [fontname="sans-serif", fontsize=10];',
    ]
    for kind, i, depth in picture.parts():
        indent = "  " * (min(depth, MAX_INDENT) + 1)
        if kind == "end":
            lines.append(f"{indent}}}")
        elif kind == "frame":
            text = quoted([picture.frames[i].text])
            lines.append(f'{indent}subgraph cluster_{i} {{ label={text}; color="#888888";')
        else:
            box = picture.boxes[i]
            style = DOT_STYLE.get(box.kind, "filled,rounded")
            lines.append(
                f'{indent}n{i} [label={quoted(box.lines)}, style="{style}", '
                f'fillcolor="{FILL[box.kind]}"];'
            )
    lines += [f"  n{a} -> n{b} [label={quoted([text])}];" for a, b, text in picture.arrows]
    return "\n".join([*lines, "}", ""])


def quoted(lines: Any) -> str:
    """Lines as a string of DOT, in which & would begin a sign by its name."""
    escaped = [x.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;") for x in lines]
    return '"' + "\\n".join(escaped) + '"'


def mermaid(picture: Picture) -> str:
    """The Mermaid text of a picture."""
    lines = ["flowchart TB"]
    for kind, i, depth in picture.parts():
        indent = "  " * (min(depth, MAX_INDENT) + 1)
        if kind == "end":
            lines.append(f"{indent}end")
        elif kind == "frame":
            lines.append(f"{indent}subgraph m{i}[{coded([picture.frames[i].text])}]")
        else:
            box = picture.boxes[i]
            left, right = MERMAID_BRACKETS.get(box.kind, ("([", "])"))
            lines.append(f"{indent}n{i}{left}{coded(box.lines)}{right}:::{box.kind}")
    lines += [f"  n{a} -->|{coded([text])}| n{b}" for a, b, text in picture.arrows]
    lines += [f"  classDef {kind} fill:{color}" for kind, color in FILL.items()]
    return "\n".join(lines)


def coded(lines: Any) -> str:
    """Lines as a string of Mermaid: signs that mean something in it, or in HTML, by number."""
    escaped = ["".join(f"#{ord(x)};" if x in '"#&;<>`\\' else x for x in line) for line in lines]
    return '"' + "<br/>".join(escaped) + '"'


def by_graphviz(text: str, suffix: str) -> bytes:
    """What Graphviz draws of a DOT text."""
    try:
        import graphviz
    except ImportError as error:
        raise ImportError(
            f"plot: for {suffix} install the Python package graphviz (pip install graphviz) and "
            "the program dot of Graphviz; .svg, .dot and .mmd need neither"
        ) from error
    try:
        return graphviz.Source(text).pipe(format=suffix[1:])
    except graphviz.ExecutableNotFound as error:
        raise GraphError(
            f"plot: for {suffix} the program dot is needed, which is not on the PATH: install "
            "Graphviz (apt-get install graphviz, brew install graphviz); .svg, .dot and .mmd need "
            "no program"
        ) from error
    except graphviz.CalledProcessError as error:
        raise GraphError(f"plot: the program dot failed on {suffix}: {error}") from error
