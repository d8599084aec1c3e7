"""Layers in scopes: what they share, and which initialisers are the same."""

import copy
import functools
import threading

import numpy as np
import pytest
from scopes import dense

import tape
from tape import nn
from tape.errors import ScopeError, ShapeError
from tape.nn import init
from tape.nn.alike import alike

pytestmark = pytest.mark.usefixtures("names")
X = np.ones((2, 3), "f")


# Layers.

LAYERS = {
    "Dense": lambda: nn.Dense(3),
    "Dense, sized": lambda: nn.Dense(3, 2, bias=False),
    "Conv2d": lambda: nn.Conv2d(4, 3, groups=2),
    "ConvTranspose1d": lambda: nn.ConvTranspose1d(4, 3),
    "BatchNorm1d": lambda: nn.BatchNorm1d(),
    "BatchNorm2d": lambda: nn.BatchNorm2d(4, affine=False),
    "LayerNorm": lambda: nn.LayerNorm((2, 3)),
    "GroupNorm": lambda: nn.GroupNorm(2),
    "InstanceNorm2d": lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
    "RMSNorm": lambda: nn.RMSNorm(),
    "Embedding": lambda: nn.Embedding(5, 2, padding_idx=1),
    "EmbeddingBag": lambda: nn.EmbeddingBag(5, 2),
    "PReLU": lambda: nn.PReLU(3),
    "LSTM": lambda: nn.LSTM(3, num_layers=2, bidirectional=True),
    "GRUCell": lambda: nn.GRUCell(3),
    "MultiHeadAttention": lambda: nn.MultiHeadAttention(4, 2),
    "BatchNorm3d": lambda: nn.BatchNorm3d(bias=False),
    "InstanceNorm3d": lambda: nn.InstanceNorm3d(4, affine=True),
    "Embedding, bounded": lambda: nn.Embedding(5, 2, max_norm=1.0),
    "MultiHeadAttention, bias_k": lambda: nn.MultiHeadAttention(4, 2, add_bias_kv=True),
    "MultiHeadAttention, kdim": lambda: nn.MultiHeadAttention(4, 2, kdim=3),
    "TransformerEncoder": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(4, 2, dim_feedforward=8), 2
    ),
}


def held(module):
    """Every parameter and buffer, waiting ones included."""
    return [e for _, e, _, _ in module.walk() if not isinstance(e, nn.Module)]


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_every_layer_shares_all_it_has_by_name(make, names):
    with nn.scope("net"):
        first, other = make(), make()
    with nn.scope("net", reuse=True):
        again = make(), make()
    known = {id(entry): path for path, entry in names.items()}
    for layer, shared in zip((first, other), again, strict=True):
        assert held(layer)
        assert [id(e) for e in held(layer)] == [id(e) for e in held(shared)]
        assert all(e.name == known[id(e)] for e in held(layer))
    assert not {id(e) for e in held(first)} & {id(e) for e in held(other)}
    unnamed = make()  # at the outermost level of a root: a name, but not kept
    assert not {id(e) for e in held(unnamed)} & set(known)


def test_sizes_that_wait_are_inferred_once_for_all(names):
    layers = [dense(reuse=r, n_in=None) for r in (False, True)]
    assert layers[0].weight is layers[1].weight is names["fc/dense/weight"]
    layers[1](X)
    assert names["fc/dense/weight"] is layers[1].weight
    third = dense(reuse=True, n_in=None)
    assert third.weight is layers[1].weight
    layers[0](X)
    assert layers[0].weight is third.weight
    assert third.weight.name == "fc/dense/weight"
    with pytest.raises(ShapeError):
        dense(reuse=True, n_in=None)(np.ones((1, 4), "f"))


def test_a_size_that_one_layer_knows_is_known_to_all(names):
    waiting = dense(n_in=None)
    sized = dense(reuse=True, n_in=3)
    assert sized.weight.shape == (3, 3)
    assert [p.shape for p in waiting.parameters()] == [(3, 3), (3,)]
    waiting(X)
    assert waiting.weight is sized.weight


def test_what_several_know_of_a_shape_adds_up(names):
    with nn.scope("a", reuse="auto"):
        w = nn.parameter("w", (None, 2, None))
        assert "name='a/w'" in repr(w)
        for wrong in ((3, 3, None), (3, 2), (None, None, None, 1)):
            with pytest.raises(ScopeError, match=r"^a/w exists already with another shape"):
                nn.parameter("w", wrong)
        assert nn.parameter("w", (3, None, None)) is w
        with pytest.raises(ScopeError, match=r"float32 \(3, 2, \?\), made at"):
            nn.parameter("w", (4, None, None))
        made = nn.parameter("w", (None, 2, 5))
        assert made.shape == (3, 2, 5)
        assert nn.parameter("w") is made is w.value is names["a/w"]


def test_statistics_of_batches_are_shared(names):
    def norm(x):
        with nn.scope("norm", reuse="auto"):
            return nn.BatchNorm1d(momentum=0.5)(x)

    for i in range(3):
        norm(np.array([[i], [i + 2]], "f"))
    assert names["norm/batchnorm1d/num_batches_tracked"].item() == 3
    assert names["norm/batchnorm1d/running_mean"].tolist() == [0.5**3 * 1 + 0.5**2 * 2 + 0.5 * 3]


def test_a_function_of_named_layers_learns(names):
    x, y = np.random.rand(32, 3).astype("f"), np.random.rand(32, 2).astype("f")

    def loss():
        with nn.scope("net", reuse="auto"):
            return tape.mse_loss(nn.Dense(2)(nn.Dense(8, activation=tape.tanh)(x)), y)

    first = loss().item()
    optimizer = tape.optim.SGD(list(names.values()), lr=0.5)
    for _ in range(50):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < 0.5 * first
    assert len(names) == 4


def test_layers_outside_of_scopes_have_no_names(names):
    def outside():
        found.extend([nn.Dense(1, 1).weight.name, nn.Dense(1).weight.name, nn.root() is names])

    found = []
    thread = threading.Thread(target=outside)  # begins outside of the test's root
    thread.start()
    thread.join()
    assert found == [None, None, False]
    assert list(names) == []


@pytest.mark.parametrize("n_in", [None, 3])
def test_a_copy_of_a_module_leaves_the_names_to_the_original(names, n_in):
    layer = dense(n_in=n_in)
    copies = [layer.clone(), layer.clone("constant"), copy.deepcopy(layer)]
    for twin in (layer, *copies):
        twin(X)
    assert [p.name for p in layer.parameters()] == list(names)
    assert [p.name for twin in copies for p in twin.parameters()] == [None] * 6
    assert layer.clone("shared").weight is names["fc/dense/weight"]
    assert dense(reuse=True, n_in=n_in).weight is layer.weight
    with nn.scope("other"):
        assert layer.clone().weight.name is None


class Tied(nn.Module):
    def __init__(self, n_in):
        self.once = nn.Dense(3, n_in, rng=np.random.default_rng(1))
        self.again, self.alone = self.once, nn.Parameter([1.0], requires_grad=False)

    def forward(self, x, *_):
        return self.again(self.once(x)) * self.alone


@pytest.mark.parametrize("n_in", [None, 3])
def test_copies_in_an_encoder_keep_ties_and_stay_frozen(names, n_in):
    layer = Tied(n_in)
    layer.once.freeze()
    with nn.scope("net"):
        encoder = nn.TransformerEncoder(layer, 2)
    first, second = encoder.layers
    encoder(X)
    assert all(at.once is at.again for at in encoder.layers)
    assert not any(p.requires_grad for p in encoder.parameters())
    encoder.unfreeze()
    assert first.once.weight is names["net/transformerencoder/layers.0.once.weight"]
    assert [p.requires_grad for p in second.parameters()] == [True, True, False]
    assert bool(tape.all(first.once.weight == second.once.weight)) == (n_in is not None)


def test_initialisers_are_told_apart():
    def at(value):
        return lambda shape, rng, dtype: np.full(shape, value, dtype)

    def calls(inner):
        return lambda *args: inner(*args)

    def itself(n):
        def own(shape, rng, dtype):
            return own if n else None

        return own

    same = [
        *[(init.zeros, init.zeros), (init.normal(0.1), init.normal(0.1)), (at(1), at(1.0))],
        *[(at(np.ones(2)), at(np.ones(2))), (calls(at(1)), calls(at(1))), (at("a"), at("a"))],
        *[(functools.partial(at(1), dtype="f"), functools.partial(at(1), dtype="f"))],
        *[(at(float("nan")), at(float("nan"))), (at({"a": [1]}), at({"a": [1]}))],
    ]
    other = [
        *[(init.zeros, init.ones), (init.normal(0.1), init.normal(0.2)), (at(1), at(2))],
        *[(at(np.ones(2)), at(np.zeros(2))), (at(np.ones(2)), at(np.ones(2, "f")))],
        *[(at(1), at("1")), (at([1]), at([1, 2])), (calls(at(1)), calls(at(2)))],
        *[(functools.partial(at(1), dtype="f"), functools.partial(at(2), dtype="f"))],
        *[(init.glorot_uniform(), init.glorot_normal()), (itself(1), itself(1))],
    ]
    assert all(alike(a, b) for a, b in same)
    assert not any(alike(a, b) for a, b in other)
