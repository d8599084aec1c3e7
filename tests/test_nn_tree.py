"""Trees of ten thousand modules, and of modules that contain themselves."""

import copy
import gc
import time

import pytest
from trees import (
    Holder,
    Scale,
    ones,
)

from tape import nn
from tape.errors import ShapeError, TapeError


def deep(n):
    module = nn.Dense(1, 1)
    for _ in range(n - 1):
        module = Holder(b=module)
    return module


def wide(n):
    return nn.Sequential(*[nn.Dense(1, 1) for _ in range(n - 1)])


ACTS = {
    "freeze": lambda m: m.freeze(),
    "pattern": lambda m: m.freeze("*"),
    "unfreeze": lambda m: m.freeze().unfreeze(),
    "train": lambda m: m.eval().train(),
    "learnable": lambda m: m.clone("learnable"),
    "constant": lambda m: m.clone("constant"),
    "shared": lambda m: m.clone("shared"),
    "deepcopy": copy.deepcopy,
    "named_modules": lambda m: sum(1 for _ in m.named_modules()),
    "state_dict": lambda m: m.state_dict(),
    "load": lambda m: m.load_state_dict(m.state_dict()),
    "repr": repr,
    "replace": lambda m: nn.replace(m, lambda part: isinstance(part, nn.Dense), lambda _: Scale()),
}


@pytest.mark.parametrize("make", [deep, wide])
@pytest.mark.parametrize("act", ACTS)
def test_ten_thousand_modules_take_moments(make, act):
    model = make(10_000)
    gc.collect()
    start = time.process_time()
    made = ACTS[act](model)
    taken = time.process_time() - start
    assert taken < 1.0, taken
    if act == "named_modules":
        assert made == 10_000
    if isinstance(made, nn.Module):
        assert sum(1 for _ in made.modules()) == 10_000


def test_the_repr_of_a_deep_tree_is_cut():
    assert repr(deep(10_000)).splitlines()[-1].strip() == "b: ... 9,983 modules, not shown"
    assert "not shown" not in repr(deep(17))


def test_a_parameter_that_ten_thousand_modules_share_freezes_as_fast():
    weight = nn.Parameter(1.0)
    model = nn.Sequential(*[Holder(w=weight) for _ in range(10_000)])
    start = time.process_time()
    model.freeze()
    model.unfreeze("5000")
    assert not weight.requires_grad
    model.unfreeze()
    assert weight.requires_grad
    assert time.process_time() - start < 1.0


def test_forty_levels_of_twice_the_same_take_no_longer_than_forty_modules():
    model = nn.Dense(1, 1)
    for _ in range(40):
        model = Holder(a=model, b=model)
    model.freeze("*.a.b*")
    assert not model.is_frozen
    assert not any(p.requires_grad for p in model.parameters())
    assert all(p.requires_grad for p in model.clone("shared").unfreeze().parameters()) is False
    made = nn.replace(model, "a." * 39 + "b", Scale())
    assert len(list(made.modules())) == 41
    with pytest.raises(TapeError, match="names no module"):
        model.freeze("*.c")
    assert len(repr(model)) < 2000


def test_a_list_that_contains_itself_is_refused():
    model = Holder(parts=[nn.Dense(2)])
    model.parts.append(model.parts)
    with pytest.raises(TapeError, match=r"Holder\.parts\.1 is the list it is in"):
        model.freeze()
    assert not model.parts[0].is_frozen


def test_a_cycle_below_the_top_is_refused_as_well():
    loop = Holder()
    loop.part = Holder(back=loop)
    with pytest.raises(TapeError, match=r"a\.part\.back is the Holder that contains it"):
        list(Holder(a=loop).parameters())


def test_a_frozen_module_refuses_sizes_as_before():
    with pytest.raises(ShapeError):
        nn.Dense(2, 3).freeze()(ones((1, 4)))
