"""Pictures of recorded graphs, as DOT, Mermaid, SVG and files."""

import gc
import html
import re
import stat
import sys
import weakref
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tape
from tape import nn
from tape.graph.drawing import Layout
from tape.testing import programs

SVG = "{http://www.w3.org/2000/svg}"


def ones(*shape):
    return tape.tensor(np.ones(shape, "f"))


class TwoHeads(nn.Module):
    def __init__(self):
        self.trunk = nn.Sequential(nn.Dense(5, 7, activation=tape.tanh), nn.Dense(4, 5))
        self.mean, self.spread = nn.Dense(1, 4), nn.Dense(1, 4)

    def forward(self, x):
        return self.mean(self.trunk(x)), self.spread(self.trunk(x))


def boxes(text):
    return re.findall(r"^ *n\d+ \[label=(.*), style", text, re.M)


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_a_shared_trunk_is_drawn_once_with_frames_for_modules():
    model = TwoHeads()
    plot = tape.graph.plot(model(ones(3, 7).named("x")), model=model)
    text = plot.dot()
    assert len(boxes(text)) == 1 + 4 * 3
    assert boxes(text).count('"weight"') == 4
    frames = re.findall(r'subgraph cluster_(\d+) { label="(.*?)"', text)
    assert [label for _, label in frames] == [
        *["TwoHeads", "trunk: Sequential", "trunk.0: Dense", "trunk.1: Dense"],
        *["mean: Dense", "spread: Dense"],
    ]
    depths = [len(line) - len(line.lstrip()) for line in text.splitlines() if "subgraph" in line]
    assert depths == [2, 4, 6, 6, 4, 4]
    assert text.count("{") == text.count("}")
    (trunk,) = re.findall(r"^ *(n\d+) -> n\d+ \[label=\"\(3, 4\)\"\];", text, re.M)[:1]
    assert len(re.findall(rf"{trunk} -> ", text)) == 2
    assert '[label="(5, 7)"]' in text


def test_kinds_of_values_are_told_apart():
    net = nn.Sequential(nn.Dense(2, 3), nn.Dense(2, 2).freeze())
    y = net(ones(1, 3).named("x")) * tape.tensor([1.0, 2.0]) - 0.5
    kinds = {}
    for box in tape.graph.plot(y).picture.boxes:
        kinds.setdefault(box.kind, []).append(box.lines)
    assert kinds == {
        "op": [("linear",), ("linear",), ("multiply",), ("subtract(_, 0.5)",)],
        "parameter": [("weight",), ("bias",)],
        "frozen": [("weight",), ("bias",)],
        "constant": [("x",), ("constant",)],
    }
    assert "1: Dense frozen" in tape.graph.plot(y).dot()


def test_dtypes_other_than_float32_stand_beside_the_shape():
    y = nn.Embedding(5, 2)(tape.tensor([[1, 2, 3]]))
    assert '"(1, 3) int64"' in tape.graph.plot(y).dot()


def test_a_shared_module_says_where_else_it_is():
    layer = nn.Dense(3, 3)
    net = nn.Sequential(layer, tape.tanh, layer)
    text = tape.graph.plot(net(ones(2, 3))).dot()
    assert '"0: Dense, shared with 2"' in text
    assert boxes(text).count('"weight"') == 1


@pytest.mark.parametrize("name", ['a"b', "a\\", "<b>&amp;", "a\nb\x00", "\ud800", "`x`; end#", "é"])
def test_any_name_can_be_drawn(name):
    plot = tape.graph.plot((ones(2).named(name) * 2).named(name))
    shown = name if name.isprintable() else ascii(name)[1:-1]
    written = shown.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
    assert boxes(plot.dot()) == [f'"{written}"', f'"{written}\\nmultiply(_, 2)"']
    assert texts(plot.svg())[:2] == [shown, shown]
    coded = re.search(r'n0\("(.*)"\)', plot.mermaid()).group(1)
    assert not set(coded) & set('"<>`&\\')
    assert html.unescape(re.sub(r"#(\d+);", r"&#\1;", coded)) == shown
    plot.dot().encode()


def test_a_long_name_is_cut():
    (first, _) = boxes(tape.graph.plot(ones(2).named("x" * 10_000) * 2).dot())
    assert len(first) < 80


def test_the_text_does_not_depend_on_what_was_computed_before():
    def text():
        model = TwoHeads()
        for _ in range(2):  # its parameters move on
            with tape.no_grad():
                model.mean.bias += 1.0
        return str(tape.graph.plot(model(ones(3, 7)), model=model))

    first = text()
    ones(3) * 2
    assert text() == first


@given(programs())
def test_boxes_and_arrows_are_those_of_the_graph(program):
    leaves = [tape.tensor(x, requires_grad=True) for x in program.leaves]
    loss, _ = program.run(leaves)
    plot = tape.graph.plot(loss)
    nodes = list(tape.graph.walk(loss))
    assert len(boxes(plot.dot())) == len(nodes) == plot.mermaid().count(":::")
    assert plot.dot().count("->") == plot.mermaid().count("-->") == len(plot.picture.arrows)
    assert all(a < b for a, b, _ in plot.picture.arrows)
    assert str(tape.graph.plot(loss)) == str(plot)
    root = ElementTree.fromstring(plot.svg())
    assert len(list(root.iter(f"{SVG}polyline"))) == len(plot.picture.arrows)
    check_layout(plot.picture)


TREES = st.recursive(
    st.sampled_from(["dense", "tanh"]), lambda inner: st.lists(inner, min_size=1, max_size=3)
)


@given(st.lists(TREES, min_size=1, max_size=4), st.booleans())
def test_frames_hold_their_boxes_and_nothing_lies_on_anything(tree, residual):
    def built(part):
        if isinstance(part, list):
            inner = map(built, part)
            return nn.Residual(*inner) if residual else nn.Sequential(nn.Sequential(*inner))
        return nn.Dense(2, 2) if part == "dense" else tape.tanh

    net = built(tree)
    y = net(ones(1, 2).requires_grad_())
    loss = y.sum() + sum((p * p).sum() for p in net.parameters())
    check_layout(tape.graph.plot(loss).picture)


def check_layout(picture):
    """Every item lies in what is around it, and on no other item there."""
    at = Layout(picture)
    for i in range(at.whole):
        left, top = at.x[i], at.y[i]
        right, bottom = left + at.width[i], top + at.height[i]
        outer = at.outer[i]
        assert at.x[outer] <= left
        assert right <= at.x[outer] + at.width[outer]
        assert at.y[outer] <= top
        assert bottom <= at.y[outer] + at.height[outer]
        for j in at.members[outer]:
            apart = at.x[j] >= right or at.x[j] + at.width[j] <= left
            apart = apart or at.y[j] >= bottom or at.y[j] + at.height[j] <= top
            assert i == j or apart
    for a, b, _ in picture.arrows:
        if at.outer[a] == at.outer[b]:
            assert at.y[a] + at.height[a] <= at.y[b]


def test_a_module_that_goes_on_after_others_is_drawn():
    class Outer(nn.Module):
        def __init__(self):
            self.gain = nn.Parameter(2.0)

        def forward(self, x, then=None):
            y = x * self.gain
            return y if then is None else self.forward(then(y))

    outer, inner = Outer(), nn.Dense(2, 2)
    plot = tape.graph.plot(outer(ones(1, 2), inner), model=nn.Sequential(outer, inner))
    assert len(plot.picture.frames) == 3
    assert plot.svg().count("<polyline") == len(plot.picture.arrows)


def test_a_plot_holds_no_tensor_and_no_module():
    model = TwoHeads()
    x = ones(3, 7).named("x")
    kept = weakref.ref(model)
    plot = tape.graph.plot(model(x), model=model)
    gc.disable()
    try:
        before = len(plot.picture.boxes)
        del model
        assert kept() is None
    finally:
        gc.enable()
    assert len(boxes(plot.dot())) == before


def test_live_results_of_a_tape_are_drawn():
    x = ones(2).requires_grad_()
    with tape.Tape() as t:
        y, z = tape.exp(x), tape.exp(x) * 2
    text = str(tape.graph.plot(t.nodes))
    assert len(boxes(text)) == 3
    assert text.count("->") == 2
    del y, z


def test_an_unrecorded_value_is_one_box_and_nothing_is_none():
    with tape.no_grad():
        y = ones(2) * 3
    assert [box.lines for box in tape.graph.plot(y).picture.boxes] == [("multiply",)]
    empty = tape.graph.plot([])
    assert boxes(empty.dot()) == texts(empty.svg()) == []


def test_a_freed_graph_is_refused():
    loss = (ones(2).requires_grad_() * 2).sum()
    loss.backward()
    with pytest.raises(tape.GradError, match=r"backward\(\) has freed the graph"):
        tape.graph.plot(loss)


def test_bad_arguments_are_refused():
    y = ones(2) * 2
    with pytest.raises(TypeError, match="outputs are tensors, got a float"):
        tape.graph.plot([3.0])
    with pytest.raises(TypeError, match="model is a module, got a str"):
        tape.graph.plot(y, model="net")


# Files ---------------------------------------------------------------------------------------


def test_text_and_svg_need_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "graphviz", None)
    y = ones(2).named("x") * 2
    for name in ("g.dot", "g.mmd", "g.svg", "G.SVG"):
        plot = tape.graph.plot(y, tmp_path / name)
    assert (tmp_path / "g.dot").read_text() == plot.dot() == str(plot)
    assert (tmp_path / "g.mmd").read_text() == plot.mermaid()
    assert (tmp_path / "g.svg").read_text() == plot.svg() == plot._repr_svg_()
    assert "save" in repr(plot)


@pytest.mark.parametrize("name", ["g.jpg", "g", ".png", "g.dot.gz"])
def test_another_suffix_is_refused_with_those_there_are(name, tmp_path):
    with pytest.raises(ValueError, match=r"none of \.dot, \.mmd, \.pdf, \.png, \.svg"):
        tape.graph.plot(ones(2), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(ImportError, match=r"for \.png install the Python package graphviz"):
        tape.graph.plot(ones(2), tmp_path / "g.png")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_program_is_named(tmp_path, monkeypatch):
    pytest.importorskip("graphviz")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(tape.GraphError, match=r"for \.pdf the program dot is needed"):
        tape.graph.plot(ones(2), tmp_path / "g.pdf")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Puts a program `dot` on the PATH that writes its arguments and its input, or fails."""
    pytest.importorskip("graphviz")

    def put(status):
        folder = tmp_path / "bin"
        folder.mkdir()
        path = folder / "dot"
        path.write_text(
            f"#!{sys.executable}\nimport sys\n"
            "sys.stdout.write(' '.join(sys.argv[1:]) + sys.stdin.read())\n"
            f"sys.exit({status})\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(folder))

    return put


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_the_program_gets_the_text(suffix, program, tmp_path):
    program(0)
    plot = tape.graph.plot(ones(2).named("x") * 2, tmp_path / f"g.{suffix}")
    written = Path(tmp_path / f"g.{suffix}").read_text()
    assert f"-T{suffix}" in written
    assert written.endswith(plot.dot())


def test_a_program_that_fails_leaves_no_file(program, tmp_path):
    program(3)
    with pytest.raises(tape.GraphError, match=r"dot failed on \.png"):
        tape.graph.plot(ones(2), tmp_path / "g.png")
    assert not (tmp_path / "g.png").exists()
