"""Properties of an op's rules: vjp, jvp, and the derivatives of these."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape._core.memory import asarray
from tape._core.tensor import Tensor
from tape.grad import grad, jvp
from tape.ops.reduce import sum as sum_of
from tape.ops.shape import permute_dims
from tape.testing.closeness import TOLERANCES, assert_close, lowest_float
from tape.testing.operands import LAYOUTS, Call
from tape.testing.properties import always, differentiable, property_of, smooth


def gradients(call: Call, g: Any, wanted: Any = None, **options: Any) -> list[np.ndarray]:
    """Gradients by the wanted operands (by default all floats), zeros where there is none."""
    wanted = call.floats if wanted is None else wanted
    operands = call.tensors(wanted)
    y = call(*operands)
    if not y.requires_grad:
        return [np.zeros_like(call.operands[i]) for i in wanted]
    found = grad(y, [operands[i] for i in wanted], g=g, unused="zeros", **options)
    return [np.array(part) for part in found]


def tangent(call: Call, directions: list[Any]) -> np.ndarray:
    """The tangent of the result; a direction of None holds that operand fixed."""
    moving = [i for i in call.floats if directions[i] is not None]

    def of(*xs: Tensor) -> Tensor:
        operands = list(call.operands)
        for i, x in zip(moving, xs, strict=True):
            operands[i] = x
        return call(*operands)

    primals = [Tensor(call.operands[i]) for i in moving]
    _, dy = jvp(of, primals, [Tensor(directions[i]) for i in moving])
    return np.asarray(dy)


def directions_for(call: Call) -> list[Any]:
    """A random tangent for each operand that can have one."""
    return [call.like(x) if i in call.floats else None for i, x in enumerate(call.operands)]


def directional_difference(call: Call, directions: list[Any], step: float) -> Any:
    """(f(x + step u) - f(x - step u)) / (2 step)."""
    sides = [
        np.array(
            call(
                *[
                    x if u is None else x + sign * step * u
                    for x, u in zip(call.operands, directions, strict=True)
                ]
            )
        )
        for sign in (1, -1)
    ]
    return (sides[0] - sides[1]) / (2 * step)


@property_of(always)
def has_both_rules(call: Call) -> None:
    """Every operand that can have a gradient has a vjp rule, and the op a jvp rule."""
    op = call.op
    if not op.differentiable:
        rules = [op.joint, op.jvp, *op.vjps]
        assert not any(rules), f"{op.name} has rules but says it is not differentiable"
        return
    name = op.name
    if op.joint is None:
        for i in call.floats:
            assert op.vjps[i] is not None, (
                f"{name}: no vjp rule for {op.operand_names[i]}: add one by @{name}.defvjp"
            )
    assert op.linear or op.jvp is not None, (
        f"{name}: no jvp rule: add one by @{name}.defjvp, or say linear=True if it is its own jvp"
    )
    assert not op.linear or op.jvp is None, (
        f"{name}: linear=True is a jvp rule: take one of the two away"
    )


@property_of(differentiable)
def vjp_is_the_adjoint_of_jvp(call: Call) -> None:
    """<g, J u> = <J^T g, u> to rounding: no finite differences, so a factor of 1.001 shows."""
    y = call(*call.operands)
    g, us = call.like(y), directions_for(call)
    forward = g * tangent(call, us)
    parts = gradients(call, g)
    reverse = [part * us[i] for part, i in zip(parts, call.floats, strict=True)]
    a, b = float(np.sum(forward)), sum(float(np.sum(terms)) for terms in reverse)
    size = sum(float(np.sum(np.abs(terms))) for terms in [forward, *reverse])
    allowed = TOLERANCES[lowest_float([y, *call.operands])].rounding * max(size, 1.0)
    assert abs(a - b) <= allowed, f"{call.op.name}: <g, J u> = {a:.12g}, <J^T g, u> = {b:.12g}"


@property_of(smooth)
def jvp_is_the_central_difference(call: Call) -> None:
    """J u is what moving all operands along u shows, and moving each alone."""
    allowed, step = TOLERANCES["float64"].difference, TOLERANCES["float64"].step
    us = directions_for(call)
    choices = [us]
    if len(call.floats) > 1:
        alone = [[u if i == j else None for j, u in enumerate(us)] for i in call.floats]
        choices += alone
    for chosen in choices:
        difference = directional_difference(call, chosen, step)
        assert_close(tangent(call, chosen), difference, allowed, f"jvp of {call.op.name}")


@property_of(smooth)
def second_order_is_the_central_difference(call: Call) -> None:
    """The gradient of the gradient, by operands and cotangent, is what moving them shows."""
    allowed, step = TOLERANCES["float64"].difference, TOLERANCES["float64"].step
    g = call.like(call(*call.operands))
    us, dg = directions_for(call), call.like(g)
    weights = [call.like(call.operands[i]) for i in call.floats]

    def weighed(sign: float) -> tuple[Tensor, list[Tensor]]:
        """<w, vjp(x, g)> at x + sign step u, g + sign step dg, and what it depends on."""
        moved = [
            x if u is None else Tensor(x + sign * step * u, requires_grad=True)
            for x, u in zip(call.operands, us, strict=True)
        ]
        cotangent = Tensor(g + sign * step * dg, requires_grad=True)
        xs, y = [moved[i] for i in call.floats], call(*moved)
        parts = grad(y, xs, g=cotangent, create_graph=True, unused="zeros")
        total = sum_of(weights[0] * parts[0])
        for w, p in zip(weights[1:], parts[1:], strict=True):
            total = total + sum_of(w * p)
        return total, [*xs, cotangent]

    total, variables = weighed(0.0)
    along = [*[us[i] for i in call.floats], dg]
    slope = 0.0
    if total.requires_grad:
        found = grad(total, variables, unused="zeros")
        slope = sum(float(np.sum(np.array(d) * u)) for d, u in zip(found, along, strict=True))
    difference = (weighed(1.0)[0].item() - weighed(-1.0)[0].item()) / (2 * step)
    scale = max(1.0, *[float(np.sum(np.abs(u))) for u in along])
    assert_close(slope / scale, difference / scale, allowed, f"second order of {call.op.name}")


@property_of(smooth)
def jvp_has_the_gradient_of_vjp(call: Call) -> None:
    """<g, J u> and <J^T g, u> have the same gradient: a jvp can be differentiated as well."""
    g, us = call.like(call(*call.operands)), directions_for(call)
    along = [us[i] for i in call.floats]
    xs = [Tensor(call.operands[i], requires_grad=True) for i in call.floats]

    def of(*moving: Tensor) -> Tensor:
        operands = list(call.operands)
        for i, x in zip(call.floats, moving, strict=True):
            operands[i] = x
        return call(*operands)

    pulled = grad(of(*xs), xs, g=g, create_graph=True, unused="zeros")
    sides = sum_of(jvp(of, xs, along)[1] * g), sum_of(pulled[0] * along[0])
    for part, u in zip(pulled[1:], along[1:], strict=True):
        sides = sides[0], sides[1] + sum_of(part * u)
    slopes = [
        grad(side, xs, unused="zeros") if side.requires_grad else [x * 0.0 for x in xs]
        for side in sides
    ]
    allowed = TOLERANCES[lowest_float(call.operands)].rounding
    for i, a, b in zip(call.floats, *slopes, strict=True):
        assert_close(a, b, allowed, f"{call.op.name}: operand {i}, gradient of <g, J u>")


@property_of(differentiable)
def gradients_have_their_operands_dtype(call: Call) -> None:
    """float32 operands get float32 gradients, float64 ones float64, and they agree."""
    narrow = Call(call.op, call.sample, "float32")
    wide = Call(call.op, call.sample, "float64")
    wide.operands = [
        x.astype("float64") if i in call.floats else x for i, x in enumerate(narrow.operands)
    ]
    g = call.like(narrow(*narrow.operands)).astype("float32")
    pairs = zip(gradients(narrow, g), gradients(wide, g.astype("float64")), strict=True)
    for i, (part, truth) in zip(call.floats, pairs, strict=True):
        assert part.dtype == narrow.operands[i].dtype, f"{call.op.name}: gradient {part.dtype}"
        assert truth.dtype == "float64"
        assert_close(part, truth, TOLERANCES["float32"].function, f"gradient of {call.op.name}")


@property_of(differentiable)
def each_gradient_alone_is_the_same(call: Call) -> None:
    """Asking for one operand's gradient gives the bits that asking for all of them gives."""
    g = call.like(call(*call.operands))
    together = gradients(call, g)
    for i, part in zip(call.floats, together, strict=True):
        np.testing.assert_array_equal(gradients(call, g, [i])[0], part, call.op.name)


@property_of(differentiable)
def gradients_do_not_depend_on_layout(call: Call) -> None:
    """Operands recorded in another order of axes, and cotangents in any memory, change nothing."""
    g = call.like(call(*call.operands))
    truth, allowed = gradients(call, g), TOLERANCES[lowest_float(call.operands)].rounding
    for name, layout in LAYOUTS.items():
        laid = layout(g)
        expected = gradients(call, np.array(laid)) if name == "broadcast" else truth
        for part, whole in zip(gradients(call, asarray(laid)), expected, strict=True):
            assert_close(part, whole, allowed, f"{call.op.name}, {name} cotangent")
    leaves = [
        Tensor(np.array(x).T, requires_grad=True) if i in call.floats else x
        for i, x in enumerate(call.operands)
    ]
    turned = [
        permute_dims(x, tuple(range(x.ndim))[::-1]) if i in call.floats else x
        for i, x in enumerate(leaves)
    ]
    y = call(*turned)
    if y.requires_grad:
        found = grad(y, [leaves[i] for i in call.floats], g=g, unused="zeros")
        for part, whole in zip(found, truth, strict=True):
            assert_close(np.array(part).T, whole, allowed, f"{call.op.name} of transposed operands")


@property_of(differentiable)
def gradients_share_no_memory(call: Call) -> None:
    """A leaf's gradient is its own: writing to it changes no other, no value, no cotangent."""
    leaves, g = call.tensors(), call.like(call(*call.operands))
    y, kept = call(*leaves), g.copy()
    if not y.requires_grad:
        return
    (y * 1.0).backward(asarray(g))
    np.testing.assert_array_equal(g, kept, f"{call.op.name} changed the cotangent")
    arrays = [y.numpy(), g]
    for i in call.floats:
        np.testing.assert_array_equal(leaves[i].numpy(), call.operands[i])
        arrays.append(leaves[i].numpy())
        if leaves[i].grad is not None:
            arrays.append(leaves[i].grad.numpy())
            for other in arrays[:-1]:
                assert not np.shares_memory(arrays[-1], other), f"{call.op.name}: shared gradient"
