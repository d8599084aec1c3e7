"""How many multiply-adds a recorded op takes, from the shapes of its operands.

Counted are products of matrices, convolutions and recurrent layers, which is where nearly all the
time of a network goes. Other ops, among them those that users declare, count none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

__all__ = ["multiply_adds"]

Shapes = list  # of tuples of int: the operands', () for a number


def of_linear(x: Shapes, y: tuple[int, ...], settings: dict[str, Any]) -> int:
    """x (..., n_in) by a weight (n_out, n_in)."""
    return math.prod(x[0][:-1]) * math.prod(x[1])


def of_matmul(x: Shapes, y: tuple[int, ...], settings: dict[str, Any]) -> int:
    """(..., m, k) by (..., k, n), stacks that broadcast included."""
    return math.prod(y) * x[0][-1]


def of_conv(x: Shapes, y: tuple[int, ...], settings: dict[str, Any]) -> int:
    """The window of a weight (C_out, C / groups, R, S) for each number of the result."""
    return math.prod(y) * math.prod(x[1][1:])


def of_conv_transpose(x: Shapes, y: tuple[int, ...], settings: dict[str, Any]) -> int:
    """The same window for each number of the operand."""
    return math.prod(x[0]) * math.prod(x[1][1:])


def of_contract(x: Shapes, y: tuple[int, ...], settings: dict[str, Any]) -> int:
    """All letters of einsum's subscripts."""
    terms = settings["subscripts"].partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for letters, shape in zip(terms, x, strict=True):
        for letter, n in zip(letters, shape, strict=True):
            sizes[letter] = max(n, sizes.get(letter, n))
    return math.prod(sizes.values())


def of_outer_sum(x: Shapes, y: tuple[int, ...], settings: dict[str, Any]) -> int:
    """Rows (*s, m) and (*s, n)."""
    return math.prod(x[0]) * x[1][-1]


def of_states(x: Shapes, y: tuple[int, ...], settings: dict[str, Any]) -> int:
    """All steps (T, B, gates H) by a weight (gates H, H)."""
    return math.prod(x[0]) * y[-1]


RULES: dict[str, Callable[[Shapes, tuple[int, ...], dict[str, Any]], int]] = {
    **dict.fromkeys(["linear", "residual_linear", "linear_bits"], of_linear),
    **dict.fromkeys(["activated_linear", "activated_residual_linear"], of_linear),
    **dict.fromkeys(["matmul", "binary_matmul"], of_matmul),
    **dict.fromkeys(["conv2d", "activated_conv2d", "binary_conv2d"], of_conv),
    "conv2d_input_grad": of_conv_transpose,
    "contract": of_contract,
    "outer_sum": of_outer_sum,
    **dict.fromkeys(["rnn_states", "lstm_states", "gru_states"], of_states),
}


def multiply_adds(
    op: str, shapes: list[tuple[int, ...]], result: tuple[int, ...], settings: dict[str, Any]
) -> int:
    """The multiply-adds of one call of an op, 0 for ops that are not counted.

    Args:
        op: its name.
        shapes: of the operands, () for a number.
        result: shape of the result.
        settings: by name.

    >>> multiply_adds("linear", [(8, 3), (5, 3), (5,)], (8, 5), {})
    120
    >>> multiply_adds("tanh", [(8, 3)], (8, 3), {})
    0
    """
    rule = RULES.get(op)
    return 0 if rule is None else rule(shapes, result, settings)
