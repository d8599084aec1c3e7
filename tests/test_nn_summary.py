"""`Module.summary`, the counting of multiply-adds, and the tree in notebooks."""

import gc
import re
import time
from html import unescape
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import Fails, Holder, Scale, values

import tape
from tape import nn
from tape._core.state import is_reusing
from tape.nn.cost import RULES
from tape.nn.outline import outline
from tape.op import OPS


def zeros(*shape):
    return tape.tensor(np.zeros(shape, "f"))


class Tied(nn.Module):
    """A language model whose output weight is the embedding's, and that has a spare part."""

    def __init__(self):
        self.embed, self.rnn = nn.Embedding(20, 8), nn.LSTM(8)
        self.out = nn.Dense(20, 8, bias=False)
        self.out.weight = self.embed.weight
        self.spare, self.again = nn.Dense(3), self.rnn

    def forward(self, indices):
        states, _ = self.rnn(self.embed(indices))
        return {"y": self.out(states), "n": 3}


def test_rows_say_shapes_parameters_sharing_and_what_was_not_reached():
    model = Tied()
    model.embed.freeze()
    summary = model.summary(np.zeros((5, 2), int))
    assert [row.path for row in summary] == ["", "embed", "rnn", "out", "spare", "again"]
    assert summary[""].output_shape == {"y": (5, 2, 20), "n": None}
    assert summary["rnn"].output_shape == [(5, 2, 8), [(1, 2, 8), (1, 2, 8)]]
    assert summary["out"].shared_with == ("embed.weight",)
    assert summary["again"].shared_with == ("rnn",)
    assert (summary["embed"].parameters, summary["embed"].trainable) == (160, 0)
    assert (summary["out"].parameters, summary["again"].parameters) == (0, 0)
    assert (summary["spare"].calls, summary["spare"].unknown) == (0, 1)
    text = str(summary).splitlines()
    assert text[0].split("  ")[0] == "path"
    assert re.search(r"^spare .* not reached", str(summary), re.M)
    assert re.search(r"^total +739\+ +579\+", str(summary), re.M)
    assert len({line.rstrip() for line in text}) == 8


def test_the_columns_add_up():
    model = Tied()
    model(np.zeros((5, 2), int))
    del model.spare
    summary = model.summary(np.zeros((5, 2), int))
    assert summary.parameters == sum(p.size for p in model.parameters())
    assert summary.trainable == summary.parameters
    assert summary.multiply_adds == sum(row.multiply_adds for row in summary.rows)
    assert len(summary) == len(summary.rows) == 5


def test_an_unknown_path_lists_the_nearest():
    summary = Tied().summary()
    with pytest.raises(KeyError, match=r"'embde' is no module.*embed"):
        summary["embde"]


def test_without_inputs_nothing_runs():
    summary = nn.Sequential(nn.Dense(4), nn.Dense(2, 4)).summary()
    assert not summary.has_run
    assert str(summary).splitlines() == [
        "path   type        parameters",
        "       Sequential           0",
        "0      Dense               4+",
        "1      Dense               10",
        "total                     14+",
    ]


def test_nothing_of_the_model_changes():
    class Noisy(nn.Module):
        def __init__(self):
            self.rng, self.seen = np.random.default_rng(3), []

        def forward(self, x):
            self.seen.append(x)
            noise = tape.random.normal(x.shape) + tape.random.normal(x.shape, rng=self.rng)
            return tape.dropout(x + noise + self.rng.standard_normal(), 0.5, True)

    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dense(3), nn.Dropout(), Noisy(), Scale())
    model[1].freeze()
    tape.random.seed(0)
    x = zeros(2, 4).named("x")
    before = repr(model), repr(tape.random.generator().bit_generator.state)
    attributes = [(dict(vars(m)), m.training) for m in model.modules()]
    state = repr(model[3].rng.bit_generator.state), list(model[3].seen)
    for _ in range(2):
        assert model.summary(x)["1"].parameters == 15
    assert (repr(model), repr(tape.random.generator().bit_generator.state)) == before
    assert [(dict(vars(m)), m.training) for m in model.modules()] == attributes
    assert (repr(model[3].rng.bit_generator.state), model[3].seen) == state
    assert [t.name for t in tape.graph.walk(x)] == ["x"]
    y = model(x)
    y.sum().backward()
    grads = [p.grad.tolist() for p in model.parameters() if p.grad is not None]
    numbers = values(model)
    model.summary(x)
    assert [p.grad.tolist() for p in model.parameters() if p.grad is not None] == grads
    assert values(model) == numbers


def test_a_summary_is_the_same_however_one_trains_and_records():
    model = nn.Sequential(nn.Dense(4, 3), nn.BatchNorm1d(4), nn.Residual(nn.Dense(4, 4)))
    expected = model.summary((2, 3)).rows
    x = zeros(2, 3)
    _ = model(x)
    assert model.eval().summary(x).rows == expected
    with tape.no_grad():
        assert model.summary((2, 3)).rows == expected
    with tape.reuse(False), tape.Tape() as t:
        assert model.summary(np.zeros((2, 3), "f")).rows == expected
    assert t.evaluations == 0
    assert [
        row._replace(trainable=r.trainable)
        for row, r in zip(model.freeze().summary(x).rows, expected, strict=True)
    ] == expected
    assert is_reusing()


def test_an_error_in_forward_leaves_the_model_and_passes_through():
    error = tape.ShapeError("no such thing")
    model = nn.Sequential(nn.Dense(2), Fails(error))
    attributes = [dict(vars(m)) for m in model.modules()]
    with pytest.raises(tape.ShapeError, match="no such thing"):
        model.summary((1, 3))
    assert [dict(vars(m)) for m in model.modules()] == attributes
    with pytest.raises(TypeError, match="forward"):
        nn.Dense(2).summary((1, 3), (1, 3))


def test_inputs_by_name_in_lists_and_as_they_are():
    class Takes(nn.Module):
        def forward(self, x, pair, *, scale, table=None):
            assert (scale, table["a"].tolist()) == (2, [1.0])
            return x * scale + pair[0] * pair[1]

    pair = [tape.tensor([1.0, 2.0]), np.array([3.0, 4.0], "f")]
    summary = Takes().summary((2,), pair, scale=2, table={"a": tape.tensor([1.0])})
    assert summary[""].output_shape == (2,)


def test_a_recorded_section_can_be_copied_and_summed_up():
    net = nn.Sequential(nn.Dense(4, 3), nn.Dense(2, 4))
    x = zeros(5, 3).named("x")
    section = tape.clone_function(x, net(x), "shared")
    summary = section.summary((5, 3))
    assert (summary.parameters, summary.multiply_adds) == (26, 5 * (12 + 8))
    twin = section.clone()
    assert twin(x).tolist() == net(x).tolist()
    assert {id(p) for p in twin.parameters()}.isdisjoint(map(id, net.parameters()))
    assert {id(p) for p in section.parameters()} == set(map(id, net.parameters()))


def test_a_module_that_is_called_more_than_once_says_how_often():
    layer = nn.Dense(3, 3)
    summary = nn.Sequential(layer, tape.tanh, layer, layer).summary((2, 3))
    assert (summary["0"].calls, summary["0"].multiply_adds) == (3, 3 * 18)
    assert "(2, 3), 3 calls" in str(summary)
    assert summary["2"].shared_with == summary["3"].shared_with == ("0",)
    assert summary.parameters == 12


def test_what_the_tape_reuses_counts_once():
    trunk = nn.Dense(50, 7)
    both = nn.combine(nn.Sequential(trunk, nn.Dense(1, 50)), nn.Sequential(trunk, nn.Dense(2, 50)))
    assert both.summary((4, 7)).multiply_adds == 4 * (7 * 50 + 50 + 2 * 50)


# Multiply-adds and activations -----------------------------------------------------------------


def image(*shape):
    return np.zeros(shape, "f")


WORK = {
    "dense": (nn.Dense(5, 3, activation=tape.tanh), [image(2, 4, 3)], 2 * 4 * 3 * 5),
    "conv": (nn.Conv2d(6, 3), [image(2, 4, 8, 8)], 2 * 6 * 36 * 4 * 9),
    "groups": (nn.Conv2d(6, 3, groups=2), [image(2, 4, 8, 8)], 2 * 6 * 36 * 2 * 9),
    "stride": (nn.Conv2d(6, 3, stride=2, padding=1), [image(1, 4, 8, 8)], 6 * 16 * 4 * 9),
    "conv1d": (nn.Conv1d(6, 3), [image(2, 4, 8)], 2 * 6 * 6 * 4 * 3),
    "conv3d": (nn.Conv3d(6, 3), [image(2, 4, 5, 5, 5)], 2 * 6 * 27 * 4 * 27),
    "transposed": (nn.ConvTranspose2d(6, 3), [image(2, 4, 5, 5)], 2 * 4 * 25 * 6 * 9),
    "rnn": (nn.RNN(5), [image(4, 2, 3)], 8 * 5 * (3 + 5)),
    "gru": (nn.GRU(5), [image(4, 2, 3)], 8 * 15 * (3 + 5)),
    "lstm": (nn.LSTM(5), [image(4, 2, 3)], 8 * 20 * (3 + 5)),
    "matmul": (nn.Lambda(lambda x: x @ x.mT), [image(6, 2, 3)], 6 * 2 * 2 * 3),
    "einsum": (nn.Lambda(lambda x: tape.einsum("bij,bkj->bik", x, x)), [image(6, 2, 3)], 72),
    "unrecorded": (nn.Lambda(tape.no_grad()(lambda x: x @ x.T)), [image(4, 3)], 4 * 4 * 3),
    "norm": (nn.LayerNorm(), [image(4, 3)], 0),
    "nothing": (nn.Sequential(), [image(4, 3)], 0),
    "no rows": (nn.Dense(5, 3), [image(0, 3)], 0),
}


@pytest.mark.parametrize("name", WORK)
def test_multiply_adds(name):
    module, inputs, expected = WORK[name]
    assert module.summary(*inputs).multiply_adds == expected


def test_attention_counts_its_products():
    x = np.zeros((2, 6, 8), "f")
    summary = nn.MultiHeadAttention(8, 2).summary(x, x, x)
    assert summary.multiply_adds == 2 * 6 * 4 * 64 + 2 * (6 * 2 * 2 * 8)


def test_counted_ops_are_ops():
    assert set(RULES) <= set(OPS)


def test_activation_bytes_are_those_of_results_without_views():
    net = nn.Sequential(nn.Dense(5, 3), nn.Flatten(), tape.exp, nn.Lambda(lambda x: x.T))
    summary = net.summary((2, 3))
    assert [row.activation_bytes for row in summary] == [2 * 5 * 4, 2 * 5 * 4, 0, 0]
    assert nn.Dropout().summary((2, 3)).activation_bytes == 0


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 3))
def test_dense_layers_take_what_their_sizes_say(sizes, n):
    net = nn.Sequential(*(nn.Dense(size) for size in sizes))
    summary = net.summary(np.zeros((n, 3), "f"))
    ins = [3, *sizes[:-1]]
    assert summary.parameters == sum((i + 1) * o for i, o in zip(ins, sizes, strict=True))
    assert summary.multiply_adds == n * sum(i * o for i, o in zip(ins, sizes, strict=True))
    assert [row.output_shape for row in summary][1:] == [(n, size) for size in sizes]


def test_ten_thousand_modules_take_moments_and_nothing_is_left():
    net = nn.Sequential([nn.Dense(2, 2) for _ in range(10_000)])
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        summary = net.summary((1, 2))
        assert time.perf_counter() - start < 5
        assert len(summary) == 10_001
        del summary
        assert gc.collect() < 100
    finally:
        gc.enable()


# HTML ----------------------------------------------------------------------------------------


def test_the_table_and_the_tree_are_html_with_escaped_names():
    inner = nn.Dense(2, 2)
    model = Holder(**{"<a&b>": inner, "b": Holder(c=inner, d=nn.Dense(1).freeze())})
    for text in (model._repr_html_(), model.summary(np.zeros((1, 2), "f"))._repr_html_()):
        root = ElementTree.fromstring(text)
        assert "<a&b>" in "".join(root.itertext())
    tree = ElementTree.fromstring(model._repr_html_())
    lines = [unescape(t.strip()) for t in tree.itertext() if t.strip()]
    assert lines == [line.strip() for line in outline(model).splitlines()]
    assert len(list(tree.iter("details"))) == 2
    assert any("shared with <a&b>" in line for line in lines)
    assert any("frozen" in line for line in lines)


def test_the_tree_of_one_layer_is_one_line():
    root = ElementTree.fromstring(nn.Dense(2, 3)._repr_html_())
    assert "".join(root.itertext()).strip() == repr(nn.Dense(2, 3))


class Spared(nn.Module):
    def __init__(self):
        self.layer = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16, batch_first=True)
        self.spare = nn.Dense(1, 1)

    def forward(self, x):
        return self.layer(x)


def test_parts_whose_parameters_are_used_without_a_call_are_not_unreached():
    summary = Spared().summary((2, 3, 8))
    lines = {line.split()[0]: line for line in str(summary).splitlines()[2:]}
    for part in ("self_attn", "self_attn.out_proj", "linear1", "linear2"):
        assert "used from above" in lines[f"layer.{part}"]
        assert summary[f"layer.{part}"].is_used
    assert "(2, 3, 8)" in lines["layer.norm1"]
    assert not summary["layer.norm1"].is_used
    assert "not reached" in lines["spare"]
