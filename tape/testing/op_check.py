"""`check_op`: everything that is expected of an op, on all of its samples."""

from __future__ import annotations

import re

from tape._core.node import live_nodes
from tape._core.tape import Tape
from tape.op import Bad, Op
from tape.testing import derivatives, lifetimes, values
from tape.testing.operands import Call
from tape.testing.properties import PROPERTIES

__all__ = ["PROPERTIES", "check_bad", "check_op"]

# The modules whose import fills PROPERTIES.
FAMILIES = (values, derivatives, lifetimes)


def check_bad(op: Op, bad: Bad) -> None:
    """AssertionError unless the call is refused as the op says, and leaves everything as it was."""
    call = Call(op, bad)
    operands = call.tensors() if op.differentiable else call.operands
    before = live_nodes()
    with Tape() as t:
        message = _message_of(call, operands, bad)
        assert (t.evaluations, t.hits, len(t.nodes)) == (0, 0, 0), f"{op.name}: counted {bad!r}"
    assert live_nodes() == before, f"{op.name}: nodes are left after {bad!r}"
    if not re.search(bad.match, message):
        raise AssertionError(f"{op.name} refuses {bad!r} with {message!r}, not {bad.match!r}")
    assert message.startswith(f"{op.name}: "), f"{op.name} is not named in {message!r}"


def _message_of(call: Call, operands: list[object], bad: Bad) -> str:
    try:
        call(*operands)
    except bad.error as error:
        return str(error)
    raise AssertionError(f"{call.op.name} accepts {bad!r}")


def check_op(op: Op) -> None:
    """AssertionError unless the op has every property on every sample and refuses every bad call.

    The properties are in `tape.testing.PROPERTIES`: rules complete; shape rule right; forward as
    the reference; vjp, jvp and second order right; live results shared, dead ones gone, stale ones
    never found; float32 as float64; any layout, empty and 0-d operands; nothing kept that is not
    in `saves`. Samples are `tape.op.sample(...)`, bad calls `tape.op.bad(...)`.

    Raises:
        TypeError: it is no op.

    >>> import numpy as np, tape
    >>> from tape import shapes
    >>> from tape.testing import check_op
    >>> @tape.op(shape=shapes.same, saves="x", samples=[tape.op.sample((3, 4))])
    ... def cube(x):
    ...     '''x ** 3, elementwise.   Shapes: x (*s) -> y (*s)'''
    ...     return x**3
    >>> @cube.defvjp
    ... def cube_vjp(g, x):
    ...     return g * 3 * x * x
    >>> @cube.defjvp
    ... def cube_jvp(dx, x):
    ...     return dx * 2 * x * x
    >>> check_op(cube)
    Traceback (most recent call last):
        ...
    AssertionError: cube, (3,4), vjp_is_the_adjoint_of_jvp: cube: <g, J u> = ...
    """
    if not isinstance(op, Op):
        raise TypeError(f"check_op: takes an op, such as tape.op makes, got a {type(op).__name__}")
    assert op.samples, (
        f"{op.name}: no samples to check it on: give tape.op samples=[tape.op.sample(...)]"
    )
    for sample in op.samples:
        for holds in PROPERTIES.values():
            holds(op, sample)
    for bad in op.errors:
        check_bad(op, bad)
