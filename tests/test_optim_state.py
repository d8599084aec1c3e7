"""Optimizers: their state and back, groups, what they refuse."""

import math

import numpy as np
import pytest
from optimizers import every, parameter

import tape
from tape import nn, optim
from tape.errors import GradError, ShapeError, TapeError

# -- state -------------------------------------------------------------------------------------


def descend(params, optimizer, n, skip=()):
    for k in range(n):
        optimizer.zero_grad()
        for i, p in enumerate(params):
            if (k + i) % 3 not in skip:
                (p * p * (i + 1.0)).sum().backward()
        optimizer.step()


@every
@pytest.mark.parametrize("skip", [(), (1,)], ids=["all", "some"])
def test_training_resumes_to_the_bit(make, skip):
    start = [np.linspace(-1, 1, 4), np.ones((2, 2))]
    params = [parameter(v) for v in start]
    optimizer = make(params)
    descend(params, optimizer, 3, skip)
    saved = optimizer.state_dict()
    middle = [np.array(p) for p in params]
    descend(params, optimizer, 4, skip)

    again = [parameter(v) for v in middle]
    resumed = make(again)
    resumed.load_state_dict(saved)
    descend(again, resumed, 4, skip)
    for p, q in zip(params, again, strict=True):
        assert np.array(p).tobytes() == np.array(q).tobytes()


def test_the_state_is_a_copy_both_ways():
    w = parameter([1.0])
    optimizer = optim.SGD([w], lr=0.5, momentum=0.9)
    descend([w], optimizer, 1)
    state = optimizer.state_dict()
    assert state["param_groups"] == [
        {
            **{"lr": 0.5, "momentum": 0.9, "dampening": 0.0, "nesterov": False},
            **{"weight_decay": 0.0, "params": [0]},
        }
    ]
    assert state["state"].keys() == {0}
    assert state["state"][0]["step"] == 1
    buffer = state["state"][0]["momentum_buffer"]
    assert buffer.tolist() == [2.0]
    optimizer.load_state_dict(state)
    buffer[0] = 9.0
    assert optimizer.state_dict()["state"][0]["momentum_buffer"].tolist() == [2.0]


def test_before_the_first_step_there_is_no_state():
    assert optim.Adam([parameter([1.0])]).state_dict()["state"] == {}


def test_all_that_is_wrong_with_a_state_is_told_and_nothing_is_loaded():
    w, v = parameter([1.0]), parameter([1.0, 2.0])
    optimizer = optim.SGD([w, v], lr=0.5, momentum=0.9)
    descend([w, v], optimizer, 1)
    before = optimizer.state_dict()
    bad = optimizer.state_dict()
    bad["param_groups"][0]["lr"] = -1.0
    bad["state"][0] = {"step": -1, "momentum_buffer": np.zeros(1)}
    bad["state"][1] = {"step": 1, "momentum_buffer": np.zeros(3), "exp_avg": np.zeros(2)}
    bad["state"][7] = {"step": 1}
    with pytest.raises(TapeError) as caught:
        optimizer.load_state_dict(bad)
    for part in [
        "SGD.load_state_dict: nothing was loaded",
        "group 0: SGD: lr must be at least 0, got -1.0",
        "parameter 0: step is -1",
        "parameter 1: momentum_buffer is float64 (3,), the parameter float64 (2,)",
        "parameter 1: no array is called 'exp_avg'",
        "state of parameter 7, which is not there",
    ]:
        assert part in str(caught.value)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert str(after["state"]) == str(before["state"])


def test_a_state_of_other_groups_or_another_optimizer_is_refused():
    w = parameter([1.0])
    adam = optim.Adam([w])
    with pytest.raises(
        TapeError, match=r"the groups have \[1\] parameters, those of the state \[2"
    ):
        adam.load_state_dict(optim.Adam([w, parameter([2.0])]).state_dict())
    with pytest.raises(TapeError, match="only one side has amsgrad, betas"):
        adam.load_state_dict(optim.SGD([w], lr=1.0).state_dict())
    with pytest.raises(TapeError, match="it belongs to another model or optimizer"):
        adam.load_state_dict({})


# -- groups ------------------------------------------------------------------------------------


def test_groups_have_settings_of_their_own_and_the_rest_in_common():
    a, b, c = parameter([1.0]), parameter([1.0]), parameter([1.0])
    optimizer = optim.SGD([{"params": [a], "lr": 0.5}, {"params": b}], lr=0.25)
    optimizer.add_param_group({"params": iter([c]), "momentum": 0.5})
    for p in (a, b, c):
        p.grad = tape.tensor(np.ones(1))
    optimizer.step()
    optimizer.step()
    assert [p.item() for p in (a, b, c)] == [0.0, 0.5, 1 - 0.25 - 0.375]
    assert optimizer.param_groups[0]["params"] == (a,)
    assert "1 numbers in 1 tensors: lr=0.5" in repr(optimizer)


def test_the_learning_rate_can_be_read_and_set():
    optimizer = optim.Adam([parameter([1.0])], lr=0.5)
    optimizer.add_param_group({"params": [parameter([1.0])]})
    assert optimizer.lr == 0.5
    optimizer.lr = 0.25
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
    with pytest.raises(ValueError, match=r"lr must be at least 0, got -1"):
        optimizer.lr = -1
    assert optimizer.lr == 0.25
    optimizer.param_groups[1]["lr"] = 0.125
    with pytest.raises(ValueError, match=r"learning rates \[0\.125, 0\.25\]"):
        _ = optimizer.lr


def test_momentum_switched_on_later_starts_from_the_gradient():
    w = parameter([1.0])
    optimizer = optim.SGD([w], lr=1.0, dampening=0.5)
    w.grad = tape.tensor(np.array([0.25]))
    optimizer.step()
    optimizer.param_groups[0]["momentum"] = 0.5
    optimizer.step()
    assert w.item() == 0.5


REFUSED = [
    (lambda w: optim.SGD([], lr=1.0), ValueError, "there are no parameters: an empty list, a gen"),
    (lambda w: optim.SGD((p for p in ()), lr=1.0), ValueError, "a generator that was used before"),
    (lambda w: optim.SGD(w, lr=1.0), TypeError, r"params is one Tensor: give a list, \[w\]"),
    (lambda w: optim.SGD(nn.Dense(2, 2), lr=1), TypeError, r"one Dense: give model\.parameters"),
    (lambda w: optim.SGD([w, w], lr=1.0), ValueError, r"parameter 1 \(2,\) is there twice"),
    (
        lambda w: optim.SGD([{"params": [w]}, {"params": [w]}], lr=1.0),
        *(ValueError, r"parameter 0 \(2,\) is there twice"),
    ),
    (lambda w: optim.SGD([w * 2.0], lr=1.0), GradError, r"\(2,\) is the result of multiply"),
    (lambda w: optim.SGD([w.detach()], lr=1.0), GradError, r"\(2,\) needs no gradient"),
    (
        lambda w: optim.SGD([np.ones(2)], lr=1.0),
        TypeError,
        "parameter 0 is a ndarray, not a tensor",
    ),
    (lambda w: optim.SGD([("w", w)], lr=1.0), TypeError, r"is a tuple.*model\.parameters\(\)"),
    (lambda w: optim.SGD([nn.Dense(3).weight], lr=1.0), ShapeError, r"\(3, \?\) has no size yet"),
    (lambda w: optim.SGD([w, {"params": [w]}], lr=1.0), TypeError, "mixes tensors and groups"),
    (lambda w: optim.SGD([{"params": [w], "rl": 1}], lr=1), ValueError, "no setting 'rl'; it may"),
    (lambda w: optim.SGD([{"lr": 1.0}], lr=1), ValueError, "a group needs 'params'"),
    (lambda w: optim.SGD([w], lr=-1.0), ValueError, r"lr must be at least 0, got -1\.0"),
    (lambda w: optim.SGD(None, lr=0.1), TypeError, "SGD: params is one NoneType: give model"),
    (lambda w: optim.SGD([{"params": 3}], lr=0.1), TypeError, "SGD: params is one int: give model"),
    (lambda w: optim.SGD([w], lr="a"), TypeError, "SGD: lr must be a number, got 'a'"),
    (lambda w: optim.SGD([w], lr=math.inf), ValueError, "SGD: lr must be finite, got inf"),
    (lambda w: optim.SGD([w], lr=1, dampening="a"), TypeError, "SGD: dampening must be a number"),
    (lambda w: optim.SGD([w], lr=1, dampening=math.nan), ValueError, "dampening must be a number"),
    (lambda w: optim.Adam([w], betas=0.9), TypeError, r"betas takes 2 numbers in \[0, 1\), got 0"),
    (lambda w: optim.Adam([w], betas=("a", 0.9)), TypeError, "Adam: betas must be a number"),
    (lambda w: optim.SGD([w], lr=math.nan), ValueError, "lr must be at least 0, got nan"),
    (lambda w: optim.SGD([w], lr=1.0, nesterov=True), ValueError, "nesterov needs momentum"),
    (lambda w: optim.Adam([w], betas=(0.9, 1.0)), ValueError, r"betas must lie in \[0, 1\)"),
    (lambda w: optim.Adam([w], eps=-1.0), ValueError, "eps must be at least 0"),
    (lambda w: optim.RMSprop([w], alpha=1.0), ValueError, r"alpha must lie in \[0, 1\)"),
]


@pytest.mark.parametrize(("make", "error", "match"), REFUSED)
def test_what_cannot_be_optimized_is_refused(make, error, match):
    with pytest.raises(error, match=match):
        make(parameter([1.0, 2.0]))


def test_a_parameter_taken_from_its_layer_too_early_is_refused():
    layer = nn.Dense(3, bias=False)
    early = layer.weight
    layer(tape.tensor([[1.0, 2.0]]))
    with pytest.raises(ShapeError, match="taken from its layer before it had a size"):
        optim.SGD([early], lr=0.1)


def test_a_refused_group_is_not_taken_in():
    w = parameter([1.0])
    optimizer = optim.SGD([w], lr=1.0)
    with pytest.raises(ValueError, match="twice"):
        optimizer.add_param_group({"params": [parameter([2.0]), w]})
    assert len(optimizer.param_groups) == 1


def test_frozen_parameters_are_passed_over_until_they_thaw():
    model = nn.Sequential(nn.Dense(2, 2), nn.Dense(1, 2))
    model[0].weight.requires_grad_(False)
    for make in (optim.SGD, optim.Adam, optim.RMSprop):
        optimizer = make(model.parameters(), lr=0.1)
        before = model.state_dict()
        model(tape.ones((1, 2))).sum().backward()
        optimizer.step()
        assert model[0].weight.tolist() == before["0.weight"].tolist()
        assert model[1].weight.tolist() != before["1.weight"].tolist()
        optimizer.zero_grad()
    model[0].weight.requires_grad_()
    model(tape.ones((1, 2))).sum().backward()
    optimizer.step()
    assert model[0].weight.tolist() != before["0.weight"].tolist()


def test_a_setting_that_a_tensor_holds_is_taken_as_its_number():
    w = parameter([1.0])
    adam = optim.Adam([w], lr=tape.tensor(0.5), betas=[np.float64(0.5), np.array([0.25])])
    assert adam.param_groups[0]["lr"] == 0.5
    assert adam.param_groups[0]["betas"] == [0.5, 0.25]
    adam.lr = tape.tensor([0.25])
    assert type(adam.lr) is float
    with pytest.raises(TypeError, match="Adam: lr must be a number, got None"):
        adam.lr = None
    assert adam.lr == 0.25


@pytest.mark.parametrize(
    ("state", "match"),
    [
        (None, "SGD.load_state_dict: the state must be a dictionary, got a NoneType"),
        ([], "the state must be a dictionary, got a list"),
        ({"param_groups": [3], "state": {}}, "each of its 'param_groups' must be a dictionary"),
        ({"param_groups": 3, "state": {}}, "its 'param_groups' must be a list, got a int"),
        ({"param_groups": [{"params": 3}]}, "each 'params' must be a list, got a int"),
        ({"param_groups": [], "state": 3}, "its 'state' must be a dictionary, got a int"),
        ({"param_groups": [], "state": {0: 3}}, "each entry of its 'state' must be a dictionary"),
    ],
)
def test_what_is_no_state_at_all_is_refused(state, match):
    with pytest.raises(TapeError, match=match):
        optim.SGD([parameter([1.0])], lr=1.0).load_state_dict(state)


def test_a_saved_setting_that_is_no_number_is_told():
    optimizer = optim.SGD([parameter([1.0])], lr=1.0)
    state = optimizer.state_dict()
    state["param_groups"][0]["lr"] = "fast"
    with pytest.raises(TapeError, match="group 0: SGD: lr must be a number, got 'fast'"):
        optimizer.load_state_dict(state)
    assert optimizer.lr == 1.0


# -- following a model through surgery ---------------------------------------------------------


def network():
    return nn.Sequential(nn.Dense(4, 2), nn.Dense(3, 4), nn.Dense(2, 3))


def train(model, optimizer, n=3):
    for _ in range(n):
        optimizer.zero_grad()
        y = model(tape.ones((2, 2)))
        (y * y + y).mean().backward()
        optimizer.step()


def state_of(optimizer, tensor):
    for group in optimizer.param_groups:
        for i, other in enumerate(group.track.tensors):
            if other is tensor:
                columns = group.track.columns.items()
                arrays = {k: None if c[i] is None else c[i].tolist() for k, c in columns}
                return group.track.steps[i], arrays
    return None


@every
def test_what_survives_a_replacement_keeps_its_state_and_new_parameters_start(make):
    net = network()
    optimizer = make(net.parameters())
    train(net, optimizer)
    before = [state_of(optimizer, p) for p in net[0].parameters()]
    other = nn.replace(net, "1", nn.Sequential(nn.Dense(3, 4, bias=False)))
    followed = optimizer.follow(net, other)
    assert followed.carried == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert followed.fresh == ["1.0.weight"]
    assert followed.dropped == ["1.weight", "1.bias"]
    assert [state_of(optimizer, p) for p in other[0].parameters()] == before
    steps, arrays = state_of(optimizer, other[1][0].weight)
    assert steps == 0
    assert not any(value is not None for value in arrays.values())
    assert optimizer.param_groups[0]["params"] == tuple(other.parameters())
    train(other, optimizer)
    assert state_of(optimizer, other[1][0].weight)[0] == 3
    assert state_of(optimizer, other[0].weight)[0] == 6


@every
def test_a_clone_goes_on_to_the_bit_where_the_original_was(make):
    net = network()
    optimizer = make(net.parameters())
    train(net, optimizer)
    twin, saved, start = net.clone(), optimizer.state_dict(), net.state_dict()
    train(net, optimizer)
    expected = [p.tolist() for p in net.parameters()]
    net.load_state_dict(start)
    optimizer.load_state_dict(saved)
    followed = optimizer.follow(net, twin)
    assert followed == ([path for path, _ in net.named_parameters()], [], [])
    train(twin, optimizer)
    assert [p.tolist() for p in twin.parameters()] == expected
    assert [p.tolist() for p in net.parameters()] == [a.tolist() for a in start.values()]


@every
def test_a_model_of_another_dtype_goes_on_with_the_same_state_in_its_own(make):
    net = network()
    optimizer = make(net.parameters())
    train(net, optimizer)
    twin, before = net.astype("float64"), optimizer.state_dict()["state"]
    followed = optimizer.follow(net, twin)
    assert followed == ([path for path, _ in net.named_parameters()], [], [])
    after = optimizer.state_dict()["state"]
    assert after.keys() == before.keys()
    for i, entry in before.items():
        for name, value in entry.items():
            assert np.array_equal(after[i][name], value)
            assert name == "step" or after[i][name].dtype == np.float64
    train(twin, optimizer)
    assert {p.dtype for p in twin.parameters()} == {np.dtype("float64")}


def test_at_a_path_of_another_shape_a_clone_starts_afresh():
    old = nn.Sequential(nn.Dense(4, 2), nn.Dense(2, 4))
    new = nn.Sequential(nn.Dense(4, 2), nn.Dense(5, 4, dtype="float64"))
    new[1].bias = nn.Parameter(np.zeros(2, "f"))
    optimizer = optim.Adam(old.parameters())
    followed = optimizer.follow(old, new)
    assert followed.carried == ["0.weight", "0.bias", "1.bias"]
    assert followed.fresh == ["1.weight"]
    assert followed.dropped == ["1.weight"]


def test_a_tied_parameter_is_followed_through_any_of_its_paths():
    first, second = nn.Dense(2, 2, bias=False), nn.Dense(2, 2, bias=False)
    second.weight = first.weight
    net = nn.Sequential(first, second)
    optimizer = optim.Adam(net.parameters())
    train(net, optimizer)
    assert optimizer.follow(net, net.clone()) == (["0.weight"], [], [])
    net, optimizer = nn.Sequential(first, second), optim.Adam([first.weight])
    other = nn.replace(net.clone(), "0", nn.Flatten())
    assert optimizer.follow(net, other) == (["1.weight"], [], [])


def test_new_parameters_join_the_group_of_those_nearest_to_them():
    net = network()
    rest = tape.tensor([1.0], requires_grad=True)
    groups = [{"params": [*net[2].parameters(), rest], "lr": 0.5}, {"params": net[0].parameters()}]
    optimizer = optim.SGD(groups, lr=0.25)
    schedule = optim.StepLR(optimizer, 1)
    wider = nn.replace(net, "2", lambda old: nn.Sequential(nn.Dense(2, 3), nn.Dense(2, 2)))
    followed = optimizer.follow(net, wider)
    assert followed.fresh == ["2.0.weight", "2.0.bias", "2.1.weight", "2.1.bias"]
    assert followed.dropped == ["2.weight", "2.bias"]
    first, second = (group["params"] for group in optimizer.param_groups)
    assert first == (rest, *wider[2].parameters())
    assert second == tuple(net[0].parameters())
    # What the optimizer was not given, it is not given by surgery.
    other = nn.replace(wider, "1", nn.Dense(3, 4))
    assert optimizer.follow(wider, other).fresh == []
    assert optimizer.follow(other, nn.replace(other, "2", tape_identity())).dropped == [
        *["2.0.weight", "2.0.bias", "2.1.weight", "2.1.bias"],
    ]
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 2]
    schedule.step()


def test_a_group_that_lost_all_its_parameters_stays_for_schedules_and_state():
    net = network()
    optimizer = optim.SGD([{"params": layer.parameters()} for layer in net], lr=0.1, momentum=0.9)
    train(net, optimizer)
    schedule = optim.StepLR(optimizer, 1)
    smaller = nn.replace(net, "2", tape_identity())
    assert optimizer.follow(net, smaller).fresh == []
    train(smaller, optimizer)
    schedule.step()
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 2, 0]
    state = optimizer.state_dict()
    optimizer.load_state_dict(state)
    assert "0 numbers in 0 tensors" in repr(optimizer)
    back = nn.replace(smaller, "2", nn.Dense(2, 3))
    assert optimizer.follow(smaller, back).fresh == ["2.weight", "2.bias"]


def tape_identity():
    return nn.Lambda(lambda x: x)


def test_what_cannot_be_followed_is_refused_and_changes_nothing():
    net = network()
    optimizer = optim.Adam(net.parameters())
    train(net, optimizer)
    groups = optimizer.param_groups
    for old, new, error, words in [
        (net, list(net), TypeError, r"Adam\.follow: takes modules, old and new, got a list"),
        (network(), net, ValueError, "none of the 6 parameters of old is in this optimizer"),
        (nn.Flatten(), net, ValueError, "none of the 0 parameters"),
        (net, nn.replace(net, "2", nn.Dense(9)), ShapeError, r"no sizes yet for 2\.weight \(9, \?"),
    ]:
        with pytest.raises(error, match=words):
            optimizer.follow(old, new)
    assert optimizer.param_groups is groups


def test_a_frozen_clone_is_followed_and_passed_over_until_it_thaws():
    net = network()
    optimizer = optim.Adam(net.parameters())
    train(net, optimizer)
    twin = net.clone("constant")
    optimizer.follow(net, twin)
    before = [p.tolist() for p in twin.parameters()]
    optimizer.step()
    assert [p.tolist() for p in twin.parameters()] == before
    train(twin.unfreeze(), optimizer)
    assert [p.tolist() for p in twin.parameters()] != before
