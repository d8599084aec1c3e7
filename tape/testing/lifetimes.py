"""Properties of what an op leaves behind: reuse, saved values, nothing under no_grad."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from tape._core.node import live_nodes
from tape._core.state import enable_grad, no_grad, reuse
from tape._core.tape import Tape
from tape._core.tensor import Tensor
from tape.grad import grad
from tape.testing.derivatives import gradients
from tape.testing.operands import Call
from tape.testing.properties import always, differentiable, property_of


@property_of(always)
def live_result_is_shared(call: Call) -> None:
    """While a result lives, the same call hands it out again; a dead one is computed anew."""
    operands = call.tensors()
    with Tape() as t:
        y = call(*operands)
        z = call(*operands)
        if not call.op.reuse or any(_is_generator(v) for v in call.settings().values()):
            assert y.serial != z.serial, f"{call.op.name} says reuse=False and is reused"
            return
        assert y.serial == z.serial, f"{call.op.name} was computed twice"
        assert (t.evaluations, t.hits) == (1, 1)
        assert len(t.nodes) == 1, f"{call.op.name}: listed more than once"
        serial = y.serial
        del y, z
        assert not t.nodes, f"{call.op.name}: a dead result is still listed"
        assert call(*operands).serial != serial
        assert (t.evaluations, t.hits) == (2, 1)


def _is_generator(value: Any) -> bool:
    return isinstance(value, np.random.Generator)


@property_of(lambda call: any(isinstance(x, np.ndarray) for x in call.operands))
def assigned_operand_is_not_reused(call: Call) -> None:
    """After an operand was written to, the result on its old value does not come back."""
    for i, value in enumerate(call.operands):
        if not isinstance(value, np.ndarray):
            continue
        operands = call.tensors()
        with Tape() as t:
            y = call(*operands)
            with no_grad():
                operands[i].assign(value)
            z = call(*operands)
            assert (t.evaluations, t.hits) == (2, 0), f"{call.op.name}: a stale result"
        if call.op.reuse:
            np.testing.assert_array_equal(z, y)


@property_of(differentiable)
def graph_is_part_of_the_key(call: Call) -> None:
    """A result computed without a graph never stands in for one that needs it, nor vice versa."""
    operands = call.tensors()
    for first in (no_grad, enable_grad):
        with first():
            y = call(*operands)
        z = call(*operands)
        with no_grad():
            w = call(*operands)
        assert z.requires_grad == (z.dtype.kind == "f")
        assert not w.requires_grad
        assert y.requires_grad == (first is enable_grad and z.requires_grad)


@property_of(always)
def nothing_is_kept_under_no_grad(call: Call) -> None:
    """Without recording a result keeps none of its operands alive."""
    before = live_nodes()
    operands = call.tensors()
    with no_grad():
        y = call(*operands)
    assert y.is_leaf
    assert not y.requires_grad
    del operands
    assert live_nodes() - before == 1, f"{call.op.name} keeps operands under no_grad"
    del y
    assert live_nodes() == before


@property_of(always)
def everything_dies_at_its_last_del(call: Call) -> None:
    """With the cycle collector off, forward, gradients and their graph leave nothing behind."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        before = live_nodes()
        _use_up(call)
        left = live_nodes() - before
        assert left == 0, f"{call.op.name}: {left} nodes are left"
    finally:
        if enabled:
            gc.enable()


def _use_up(call: Call) -> None:
    operands = call.tensors()
    y = call(*operands)
    if not y.requires_grad:
        return
    xs = [operands[i] for i in call.floats]
    g = Tensor(np.ones(y.shape, y.dtype), requires_grad=True)
    grad(y, xs, g=g * 1.0, unused="zeros")
    grad(y, xs, g=g, create_graph=True, unused="zeros")
    y.backward(g, create_graph=True)
    y.backward(g)


@property_of(differentiable)
def saves_is_the_truth(call: Call) -> None:
    """Of operands and result exactly those values live on that the vjp rules read; see `saves`."""
    op = call.op
    rules = [rule for rule in [op.outer, op.joint, op.jvp, *op.vjps] if rule is not None]
    read = {name for rule in rules for name in _names(rule.function)}
    declared = set(op.saves)
    known = {*op.operand_names, "y", *[f"{name}_shape" for name in op.operand_names]}
    assert {n.replace("_shape", ".shape") for n in read & known} == declared, (
        f"{op.name} declares saves={sorted(declared)}, its rules read {sorted(read & known)}"
    )
    expected = _read_by_vjps(call)
    operands = call.tensors()
    y = call(*operands)
    if not y.requires_grad:
        return
    root = y + 0.0
    arrays: dict[Any, Any] = {
        i: _buffer(x) for i, x in enumerate(operands) if isinstance(x, Tensor)
    }
    arrays["y"] = _buffer(y)
    alive = {key: weakref.ref(array) for key, array in arrays.items()}
    kept = [array for key, array in arrays.items() if key in expected]
    shared = {key for key, a in arrays.items() for b in kept if np.may_share_memory(a, b)}
    del arrays, kept, operands, y
    for key, ref in alive.items():
        name = op.operand_names[min(key, len(op.operand_names) - 1)] if key != "y" else "y"
        if key in expected:
            assert ref() is not None, f"{op.name}: the value of {name} is gone, a rule reads it"
        elif key not in shared:
            assert ref() is None, f"{op.name}: the value of {name} is kept, no vjp rule reads it"
    del root


def _names(function: Callable[..., Any]) -> tuple[str, ...]:
    code = function.__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _read_by_vjps(call: Call) -> set[Any]:
    """Positions of the operands, and "y", that the vjp rules of this call read."""
    op, last = call.op, len(call.op.operand_names) - 1
    rules = [op.joint] if op.joint is not None else [op.vjps[i] for i in call.floats]
    rules.append(op.outer)
    read = {name for rule in rules if rule is not None for name in _names(rule.function)}
    read &= {*op.operand_names, "y"}
    return {i for i in range(len(call.operands)) if op.operand_names[min(i, last)] in read} | (
        {"y"} & read - set(op.operand_names)
    )


def _buffer(t: Tensor) -> Any:
    return t.numpy().base


def _assign(x: Tensor) -> None:
    x.assign(np.full(x.shape, 7, x.dtype))


def _add_in_place(x: Tensor) -> None:
    x += 1


def _set_item(x: Tensor) -> None:
    x[...] = 3


def _write_numpy(x: Tensor) -> None:
    view = x.numpy()
    assert not view.flags.writeable
    try:
        view[...] = 5
    except ValueError:
        return
    raise AssertionError("the array that numpy() gives can be written to")


MUTATIONS = (_assign, _add_in_place, _set_item, _write_numpy)


@property_of(differentiable)
def mutation_changes_no_recorded_gradient(call: Call) -> None:
    """Writing to an operand, or the result, after recording: gradients are those of old values."""
    g = call.like(call(*call.operands))
    truth = gradients(call, g)
    for mutate in MUTATIONS:
        victims: list[Any] = [*call.floats, "y"]
        for victim in victims:
            operands = call.tensors()
            y = call(*operands)
            if not y.requires_grad:
                return
            root = y + 0.0
            with no_grad():
                mutate(y if victim == "y" else operands[victim])
            xs = [operands[i] for i in call.floats]
            found = grad(root, xs, g=g, unused="zeros")
            for part, whole in zip(found, truth, strict=True):
                what = f"{call.op.name} after {mutate.__name__} of {victim}"
                np.testing.assert_array_equal(part, whole, what)


@property_of(always)
def same_call_gives_same_bits(call: Call) -> None:
    """Twice the same, with reuse and without it, values and gradients."""
    g = call.like(call(*call.operands))
    with_reuse = [np.array(call(*call.operands))]
    if call.is_differentiable:
        with_reuse += gradients(call, g)
    with reuse(False):
        without = [np.array(call(*call.operands))]
        if call.is_differentiable:
            without += gradients(call, g)
    for a, b in zip(with_reuse, without, strict=True):
        np.testing.assert_array_equal(a, b, call.op.name)
