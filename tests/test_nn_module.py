"""Modules: what belongs to the tree, its paths, sharing, errors, repr."""

import copy

import numpy as np
import pytest
from trees import Fails, Holder, Scale, ones, paths

import tape
from tape import nn
from tape.errors import DTypeError, ShapeError, TapeError

# -- the tree ----------------------------------------------------------------------------------


def test_a_module_needs_no_call_of_super_init_and_may_make_it():
    class Polite(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter([1.0])

    assert paths(Polite()) == ["w"]
    assert paths(Scale()) == ["gain", "shift"]


def test_a_call_hands_all_arguments_to_forward():
    class Sum(nn.Module):
        def forward(self, *args, **kwargs):
            return args, kwargs

    assert Sum()() == ((), {})
    assert Sum()(1) == ((1,), {})
    assert Sum()(1, 2, c=3) == ((1, 2), {"c": 3})
    assert Sum()(1, c=3) == ((1,), {"c": 3})


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Bare has no forward"):
        type("Bare", (nn.Module,), {})()(1)


def test_parameters_are_found_in_lists_tuples_and_dictionaries_of_any_depth():
    model = Holder(
        first=Scale(),
        blocks=[Scale(), (Scale(),)],
        heads={"left": Scale(), "right": [nn.Parameter(1.0)]},
    )
    assert paths(model) == [
        *["first.gain", "first.shift", "blocks.0.gain", "blocks.0.shift"],
        *["blocks.1.0.gain", "blocks.1.0.shift", "heads.left.gain", "heads.left.shift"],
        "heads.right.0",
    ]
    assert [name for name, _ in model.named_children()] == [
        *["first", "blocks.0", "blocks.1.0", "heads.left"],
    ]


def test_plain_tensors_and_functions_are_no_part_of_the_tree():
    model = Holder(
        t=tape.tensor([1.0], requires_grad=True), f=tape.exp, n=3, none=None, words=["a"]
    )
    assert paths(model) == []
    assert model.state_dict() == {}


def test_modules_in_a_set_are_refused():
    with pytest.raises(TapeError, match=r"Holder\.blocks is a set, which has no order"):
        list(Holder(blocks={Scale()}).parameters())
    assert paths(Holder(seen={"a", "b"})) == []


def test_a_module_that_contains_itself_is_refused_with_its_path():
    child = Holder()
    child.parent = Holder(child=child)
    with pytest.raises(TapeError, match=r"parent\.child is the Holder that contains it"):
        list(child.parameters())
    assert "shared with" in repr(child)


def test_a_shared_module_is_counted_once_at_its_first_path():
    trunk = Scale()
    model = Holder(a=Holder(trunk=trunk), b=Holder(trunk=trunk), again=[trunk])
    assert paths(model) == ["a.trunk.gain", "a.trunk.shift"]
    assert [path for path, _ in model.named_modules()] == ["", "a", "a.trunk", "b"]
    assert len(list(model.modules())) == 4
    assert len(list(Holder(a=trunk, b=trunk).children())) == 1


def test_a_shared_parameter_is_counted_once():
    a, b = Scale(), Scale()
    b.gain = a.gain
    assert paths(Holder(a=a, b=b)) == ["a.gain", "a.shift", "b.shift"]


def test_train_and_eval_reach_every_module_and_give_the_model():
    model = Holder(a=Scale(), b=[Holder(c=Scale())])
    assert all(m.training for m in model.modules())
    assert model.eval() is model
    assert not any(m.training for m in model.modules())
    assert model.train() is model
    assert all(m.training for m in model.modules())


def test_zero_grad_forgets_the_gradients_and_needs_no_sizes():
    model = Holder(a=Scale(), b=nn.Dense(3))
    model.a(tape.tensor([1.0, 2.0])).sum().backward()
    assert model.a.gain.grad.item() == 3.0
    model.zero_grad()
    assert model.a.gain.grad is None


def test_register_buffer_takes_data_and_none_and_refuses_odd_names():
    model = Holder()
    model.register_buffer("mean", [1.0, 2.0])
    model.register_buffer("off", None)
    assert list(model.state_dict()) == ["mean"]
    assert paths(model) == []
    with pytest.raises(ValueError, match=r"'a\.b' is no name"):
        model.register_buffer("a.b", None)
    model.mean = 3
    with pytest.raises(DTypeError, match=r"Holder\.mean is a buffer: it takes tensors, not int"):
        model.state_dict()


def test_a_deep_copy_is_independent_and_keeps_what_is_shared_within():
    trunk = Scale(2.0)
    model = Holder(a=trunk, b=trunk, waiting=nn.Dense(3))
    twin = copy.deepcopy(model)
    assert twin.a is twin.b
    assert twin.a is not trunk
    twin.a.gain.assign(5.0)
    assert model.a.gain.item() == 2.0
    twin.waiting(ones((1, 2)))
    assert model.waiting.n_in is None


# -- errors and repr ---------------------------------------------------------------------------


def test_an_error_names_the_path_of_the_layer():
    model = Holder(blocks=[nn.Sequential(nn.Dense(4, 3), nn.Dense(2, 5))])
    model.forward = lambda x: model.blocks[0](x)
    with pytest.raises(ShapeError) as caught:
        model(ones((6, 3)))
    assert str(caught.value).splitlines()[0].endswith("in Holder.blocks.0.1")
    assert caught.value.modules == [model.blocks[0][1], model.blocks[0], model]


def test_errors_that_are_not_ours_pass_through_as_they_are():
    error = ZeroDivisionError("mine")
    with pytest.raises(ZeroDivisionError) as caught:
        nn.Sequential(Fails(error))(1)
    assert caught.value is error


def test_the_repr_is_a_tree_with_sizes_counts_and_what_is_shared():
    trunk = nn.Sequential(nn.Dense(4, 2, activation=tape.tanh), tape.exp)
    model = Holder(trunk=trunk, heads=[nn.Dense(1), nn.Dense(2, 4, bias=False)], again=trunk)
    model.heads[1].weight.requires_grad_(False)
    tied = nn.Dense(2, 4)
    tied.weight = model.heads[1].weight
    model.tied = tied
    assert repr(model) == "\n".join(
        [
            "Holder: 23+ parameters",
            "  trunk: Sequential: 12 parameters",
            "    0: Dense(4, activation=tanh): weight (4, 2), bias (4,): 12 parameters",
            "    1: exp",
            "  heads.0: Dense(1) (in inferred): weight (1, ?), bias (1,): 1+ parameters",
            "  heads.1: Dense(2, bias=False): weight (2, 4) frozen: 8 parameters",
            "  again: shared with trunk",
            "  tied: Dense(2): weight (2, 4) frozen shared with heads.1.weight, bias (2,): "
            "10 parameters",
        ]
    )


def test_a_parameter_is_a_tensor_of_its_own_and_may_be_frozen():
    data = np.ones(3, "f")
    p = nn.Parameter(data)
    data[0] = 5
    assert p.tolist() == [1.0, 1.0, 1.0]
    assert isinstance(p, tape.Tensor)
    assert p.requires_grad
    assert p.is_leaf
    assert not nn.Parameter(1.0, requires_grad=False).requires_grad
    assert nn.Parameter([1.0], dtype="float64").dtype == np.float64
    assert type(p + p) is tape.Tensor
    with tape.no_grad():
        p -= 1.0
    assert isinstance(p, nn.Parameter)
    with pytest.raises(DTypeError):
        nn.Parameter([1, 2])


@pytest.mark.parametrize("layer", [nn.Dense(3, 2), nn.Dense(3)], ids=["sized", "uninferred"])
def test_nothing_takes_the_place_of_a_parameter_unless_it_is_one(layer):
    held = layer.weight
    for wrong in (tape.ones((3, 2)), np.ones((3, 2)), 0.5, "weight"):
        with pytest.raises(TypeError, match=r"Dense\.weight is a Parameter, got a .*nn\.Parameter"):
            layer.weight = wrong
    assert layer.weight is held
    assert [path for path, _, _, _ in layer.walk()] == ["", "weight", "bias"]


def test_a_parameter_is_replaced_by_another_or_by_none_and_changed_in_place():
    layer = nn.Dense(3, 2)
    held = layer.weight
    with tape.no_grad():
        layer.weight *= 0.5
    assert layer.weight is held
    layer.weight = nn.Parameter(np.ones((3, 2), "f"))
    layer.bias = None
    assert list(layer.state_dict()) == ["weight"]
    layer.bias = tape.ones(3)  # where no parameter stands
    layer.weight = Scale()
    assert paths(layer) == ["weight.gain", "weight.shift"]
    model = Holder(b=1)
    model.register_buffer("b", [1.0])
    model.b = tape.ones(2)
    assert model.state_dict()["b"].tolist() == [1, 1]
