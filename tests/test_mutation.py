"""A broken rule does not get past the properties: every vjp rule is broken in three ways."""

import numpy as np
import pytest

from tape._core.tensor import Tensor
from tape.op import OPS
from tape.testing import PROPERTIES
from tape.testing.derivatives import gradients
from tape.testing.operands import Call

JUDGE = PROPERTIES["vjp_is_the_adjoint_of_jvp"]
BREAKS = {
    "sign": lambda part: -part,
    "factor": lambda part: part * 1.001,
    "dropped": lambda part: part * 0.0,
    # What none of the above can change, a gradient that is zero everywhere, must stay zero.
    "not zero": lambda part: part + 1.0,
}


def rules_of(op):
    """(operand or None for a joint rule, function) of every vjp rule."""
    if op.joint is not None:
        return [(None, op.joint.function)]
    return [
        (name, rule.function)
        for name, rule in zip(op.operand_names, op.vjps, strict=False)
        if rule is not None
    ]


def telling_call(op, operand):
    """The first sample that asks the rule for a gradient with elements, and the gradient there."""
    for sample in op.samples:
        call = Call(op, sample)
        position = op.operand_names.index(operand) if operand else None
        if position is not None and position not in call.floats:
            continue
        if not call.is_differentiable:
            continue
        parts = gradients(
            call, call.like(call(*call.operands)), None if position is None else [position]
        )
        if any(part.size for part in parts):
            return sample, any(np.any(part) for part in parts)
    raise AssertionError(f"{op.name}: no sample asks for the gradient by {operand or 'any'}")


def broken(function, change):
    """The rule with its cotangents changed, under the same parameter names."""
    code = function.__code__
    positional = code.co_varnames[: code.co_argcount]
    named = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]

    def changed(parts):
        if isinstance(parts, Tensor):
            return change(parts)
        return tuple([part if part is None else change(part) for part in parts])

    parameters = ", ".join([*positional, *(["*", *named] if named else [])])
    arguments = ", ".join([*positional, *[f"{n}={n}" for n in named]])
    scope = {"changed": changed, "function": function}
    exec(f"def mutant({parameters}): return changed(function({arguments}))", scope)
    return scope["mutant"]


MUTANTS = [
    pytest.param(op, operand, function, id=f"{op.name}-{operand or 'all'}")
    for op in OPS.values()
    for operand, function in rules_of(op)
]


@pytest.mark.parametrize(("op", "operand", "function"), MUTANTS)
def test_broken_vjp_is_noticed(op, operand, function):
    sample, tells = telling_call(op, operand)
    attach = op.defvjp(operand) if operand else op.defvjp
    survivors = []
    for name in ("sign", "factor", "dropped") if tells else ("not zero",):
        attach(broken(function, BREAKS[name]))
        try:
            JUDGE(op, sample)
            survivors.append(name)
        except AssertionError:
            pass
        finally:
            attach(function)
    assert not survivors, f"{op.name}: nobody noticed {survivors} in the gradient by {operand}"
    JUDGE(op, sample)


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.jvp is not None], ids=repr)
def test_broken_jvp_is_noticed(op):
    sample, tells = telling_call(op, None)
    function = op.jvp.function
    op.defjvp(broken(function, BREAKS["factor" if tells else "not zero"]))
    try:
        with pytest.raises(AssertionError):
            JUDGE(op, sample)
    finally:
        op.defjvp(function)


def test_every_rule_has_mutants():
    assert len(MUTANTS) > 30
