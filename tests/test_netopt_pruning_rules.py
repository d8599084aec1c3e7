"""What ops are said to do with channels, held against what they do, op by op over their samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tape
from tape import shapes
from tape.netopt.sparsification.channel_rules import RULES, Step, axes_of_result
from tape.netopt.sparsification.ties import Ties, fixed, reshaped
from tape.op import OPS
from tape.testing.operands import Call

WEIGHTS = ("w", "b", "weight", "bias")  # operands that are taken for parameters
SIZED = ("reshape", "broadcast_to", "expand_dims", "squeeze")  # whose settings may say sizes
KNOWN = [
    op for op in OPS.values() if op.name in RULES or op.shape in (shapes.same, shapes.broadcast)
]


def without(array, axes, root, gone):
    """An array without the places that go."""
    masks = [~np.isin(root[axis], gone) for axis in axes]
    return array[np.ix_(*masks)] if masks else array


def zeroed(array, axes, root, gone):
    """An array with zeros at the places that go."""
    array = np.array(array)
    for i, axis in enumerate(axes):
        np.moveaxis(array, i, 0)[np.isin(root[axis], gone)] = 0
    return array


@pytest.mark.parametrize("op", KNOWN, ids=lambda op: op.name)
def test_a_result_without_places_is_that_of_operands_without_them(op):
    rng, n_removed = np.random.default_rng(0), 0
    for sample in op.samples:
        call = Call(op, sample, "float64")
        if not all(isinstance(x, (np.ndarray, int, float)) for x in call.operands):
            continue
        y = np.asarray(call(*call.operands))
        ties = Ties()
        axes = [
            tuple([ties.fresh(n) for n in x.shape]) if isinstance(x, np.ndarray) else None
            for x in call.operands
        ]
        names = list(op.operand_names) + [""] * len(axes)
        is_weight = [name in WEIGHTS for name, _ in zip(names, axes, strict=False)]
        step = Step(op, full_settings(op, call), axes, is_weight, y.shape, "?")
        result = axes_of_result(ties, step)
        assert [len(axis) for axis in result] == list(y.shape)
        root, reasons = ties.settle()
        live = np.unique([r for axis in result for r in root[axis] if r not in reasons])
        inner = [r for x in axes if x for axis in x for r in root[axis] if r not in reasons]
        free = np.union1d(live, np.unique(inner))
        geometry = step.settings.get("geometry")
        by_channel = geometry is not None and geometry.groups > 1 and axes[1] is not None
        if op.name in SIZED or not free.size or (by_channel and len(axes[1][1]) == 1):
            continue
        for gone in [*rng.choice(free, min(4, len(free)), replace=False)[:, None], free[::2]]:
            parts = [
                x if a is None else without(x, a, root, gone)
                for x, a in zip(call.operands, axes, strict=True)
            ]
            if any(isinstance(p, np.ndarray) and 0 in p.shape for p in parts):
                continue
            whole = [
                zeroed(x, a, root, gone) if w and a is not None else x
                for x, a, w in zip(call.operands, axes, is_weight, strict=True)
            ]
            expected = without(np.asarray(call(*whole)), result, root, gone)
            np.testing.assert_allclose(np.asarray(call(*parts)), expected, rtol=1e-9, atol=1e-9)
            n_removed += 1
    assert n_removed or op.name in (*SIZED, *LOCKED), f"no sample of {op.name} lost anything"


LOCKED = ("standardize_affine", "pad")  # with samples that only say what stays


def full_settings(op, call):
    """All settings of a call by name, as the graph has them."""
    from tape._core import recorded

    arrays = [tape.tensor(x) if isinstance(x, np.ndarray) else x for x in call.operands]
    named = [x.named("x") for x in arrays if isinstance(x, tape.Tensor)]
    y = call(*arrays)
    assert named
    return recorded.settings(y)


@given(st.data())
def test_reshaped_places_follow_their_numbers(data):
    sizes = data.draw(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=4))
    n = int(np.prod(sizes))
    shape, left = [], n
    while left > 1:
        k = data.draw(st.sampled_from([d for d in range(2, left + 1) if left % d == 0]))
        shape.append(k)
        left //= k
    ties = Ties()
    live = data.draw(st.integers(0, len(sizes) - 1))
    axes = tuple([ties.fresh(m) if i == live else fixed(m) for i, m in enumerate(sizes)])
    made = reshaped(ties, axes, tuple(shape), "?")
    assert [len(axis) for axis in made] == shape
    root, reasons = ties.settle()
    column = [1] * len(sizes)
    column[live] = -1
    before = np.broadcast_to(root[axes[live]].reshape(column), sizes).ravel()
    for unit in np.unique([r for r in before if r not in reasons]):
        after = np.zeros(shape, bool)
        for i, axis in enumerate(made):
            np.moveaxis(after, i, 0)[root[axis] == unit] = True
        np.testing.assert_array_equal(after.ravel(), before == unit)


def test_places_are_tied_through_others():
    ties = Ties()
    a, b, c, d = (ties.fresh(3) for _ in range(4))
    ties.tie(a, b, "?")
    ties.tie(c, d, "?")
    ties.tie(d, b[::-1], "?")
    ties.lock(c[:1], "is held")
    root, reasons = ties.settle()
    np.testing.assert_array_equal(root[a], root[d[::-1]])
    assert [reasons.get(r) for r in root[a].tolist()] == [None, None, "is held"]
    with pytest.raises(ValueError, match="axes of 3 and 2 places"):
        ties.tie(a, b[:2], "?")
