"""State dictionaries, and sizes that are inferred."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import Fails, Holder, Scale, ones, paths, values

import tape
from tape import nn
from tape.errors import DTypeError, ShapeError, TapeError

# -- state dictionaries ------------------------------------------------------------------------

arrays = st.lists(st.floats(-1e3, 1e3, width=32), max_size=3).map(nn.Parameter)
leaves = st.one_of(arrays, st.builds(Scale, st.floats(-9, 9, width=32)))
names = st.sampled_from(["a", "b", "c", "d"])
trees = st.recursive(
    leaves,
    lambda parts: st.one_of(
        st.lists(parts, max_size=3),
        st.dictionaries(names, parts, max_size=3),
        st.dictionaries(names, parts, max_size=3).map(lambda d: Holder(**d)),
    ),
    max_leaves=8,
)


@given(trees)
def test_any_tree_gets_its_state_back(tree):
    model = Holder(tree=tree)
    saved = model.state_dict()
    for parameter in model.parameters():
        parameter.assign(np.full(parameter.shape, 7.0, "f"))
    assert model.load_state_dict(saved) == ([], [])
    restored = model.state_dict()
    assert list(saved) == list(restored)
    for path in saved:
        assert saved[path].tobytes() == restored[path].tobytes()


@given(trees)
def test_the_state_has_every_parameter_and_only_buffers_beside(tree):
    model = Holder(tree=tree)
    state = model.state_dict()
    assert set(paths(model)) == {path for path in state if not path.endswith("calls")}
    assert len({id(p) for p in model.parameters()}) == len(list(model.parameters()))


def test_the_state_is_a_copy_that_later_changes_do_not_touch():
    model = Scale(2.0)
    state = model.state_dict()
    model.gain.assign(9.0)
    assert state["gain"] == 2.0
    state["shift"][...] = 4.0  # writable, and ours
    assert model.shift.item() == 0.0


def test_loading_keeps_the_identity_of_parameters_and_copies():
    model = Scale()
    gain, array = model.gain, np.array(3.0, "f")
    state = {"gain": array, "shift": np.float32(1), "calls": np.int64(2)}
    model.load_state_dict(state)
    array[...] = 8
    assert model.gain is gain
    assert values(model) == {"gain": 3.0, "shift": 1.0, "calls": 2}
    assert model.gain.requires_grad


def test_loading_does_not_change_what_a_graph_recorded_before_has_seen():
    model = Scale(2.0)
    x = tape.tensor(3.0, requires_grad=True)
    y = model(x)
    model.load_state_dict({"gain": np.float32(5), "shift": np.float32(0), "calls": np.int64(0)})
    assert tape.grad(y, x).item() == 2.0
    assert model(x).item() == 15.0


def test_all_that_is_wrong_with_a_state_is_told_at_once_and_nothing_is_loaded():
    model = Holder(a=Scale(1.0), b=Scale(2.0))
    before = values(model)
    state = {
        "a.gain": np.float32(9),
        "a.shift": np.zeros(3, "f"),
        "a.calls": np.float64(1),
        "b.gian": np.float32(9),
    }
    with pytest.raises(TapeError) as caught:
        model.load_state_dict(state)
    message = str(caught.value)
    for part in [
        "load_state_dict: nothing was loaded into this Holder",
        "a.shift: float32 (3,) given, float32 () expected",
        "a.calls: float64 () given, int64 () expected",
        *["missing: b.gain", "missing: b.shift", "missing: b.calls"],
        "unexpected: b.gian (did you mean b.gain?)",
    ]:
        assert part in message
    assert values(model) == before


def test_a_long_list_of_faults_is_cut():
    model = Holder(blocks=[Scale() for _ in range(30)])
    with pytest.raises(TapeError, match="and 60 more"):
        model.load_state_dict({})


def test_a_load_that_is_not_strict_names_what_it_passed_over():
    model = Scale(1.0, 2.0)
    skipped = model.load_state_dict({"gain": np.float32(5), "new": np.float32(0)}, strict=False)
    assert skipped.missing_keys == ["shift", "calls"]
    assert skipped.unexpected_keys == ["new"]
    assert model.gain.item() == 5.0
    with pytest.raises(TapeError, match="gain: float64"):
        model.load_state_dict({"gain": np.float64(5)}, strict=False)


@pytest.mark.parametrize("state", [None, [], 3])
def test_what_is_no_state_at_all_is_refused(state):
    kind = type(state).__name__
    with pytest.raises(TapeError, match=f"takes a dictionary of arrays by path, got a {kind}"):
        Scale().load_state_dict(state)


def test_a_shared_parameter_is_saved_at_all_paths_and_loaded_from_one():
    trunk = Scale(2.0)
    model = Holder(a=trunk, b=trunk)
    state = model.state_dict()
    assert list(state) == ["a.gain", "a.shift", "a.calls", "b.gain", "b.shift", "b.calls"]
    del state["a.gain"]
    state["b.gain"] = np.float32(7)
    model.load_state_dict(state)
    assert model.a.gain.item() == 7.0


def test_two_values_for_a_shared_parameter_are_refused():
    trunk = Scale(2.0)
    model = Holder(a=trunk, b=trunk)
    state = model.state_dict() | {"b.gain": np.float32(7)}
    with pytest.raises(TapeError, match=r"b\.gain is a\.gain, which is shared: two different"):
        model.load_state_dict(state)
    assert model.a.gain.item() == 2.0
    nans = model.state_dict() | {"a.gain": np.float32("nan"), "b.gain": np.float32("nan")}
    model.load_state_dict(nans)
    assert np.isnan(model.a.gain.item())


def test_two_parameters_with_one_path_are_refused():
    model = Holder(heads={1: nn.Parameter(1.0), "1": nn.Parameter(2.0)})
    with pytest.raises(TapeError, match=r"two parameters have the path heads\.1"):
        model.state_dict()


# -- sizes that are inferred -------------------------------------------------------------------


def test_what_needs_sizes_names_every_layer_that_has_none_and_what_to_do():
    model = Holder(body=nn.Sequential(nn.Dense(4, 2), nn.Dense(3)), head=nn.Dense(1))
    for use, name in [
        (model.state_dict, "state_dict"),
        (lambda: list(model.parameters()), "parameters"),
        (lambda: tape.optim.SGD(model.parameters(), lr=0.1), "parameters"),
    ]:
        with pytest.raises(ShapeError) as caught:
            use()
        assert str(caught.value).splitlines()[0] == (
            f"{name}: no sizes yet for body.1.weight (3, ?), head.weight (1, ?): call the model "
            "once on an example, or give the layers their input sizes"
        )


def test_an_uninferred_parameter_cannot_be_computed_with():
    with pytest.raises(DTypeError, match="is a Uninferred"):
        tape.exp(nn.Dense(3).weight)


def test_loading_infers_the_sizes():
    source = nn.Sequential(nn.Dense(4, 2), nn.Dense(3, 4))
    model = nn.Sequential(nn.Dense(4), nn.Dense(3))
    model.load_state_dict(source.state_dict())
    assert model[0].n_in == 2
    assert values(model) == values(source)
    model = nn.Sequential(nn.Dense(4), nn.Dense(3))
    wrong = source.state_dict() | {"0.weight": np.zeros((5, 2), "f")}
    with pytest.raises(TapeError, match=r"0\.weight: float32 \(5, 2\) given, float32 \(4, \?\)"):
        model.load_state_dict(wrong)
    assert model[0].n_in is None
    assert model[1].n_in is None


def test_layers_that_share_a_parameter_without_a_size_share_it_afterwards():
    encoder, decoder = nn.Dense(4, bias=False), nn.Dense(4, bias=False)
    decoder.weight = encoder.weight
    model = Holder(encoder=encoder, decoder=decoder)
    encoder(ones((1, 3)))
    assert paths(model) == ["encoder.weight"]
    decoder(ones((1, 3)))
    assert decoder.weight is encoder.weight
    fresh = nn.Dense(4, bias=False)
    waiting = fresh.weight
    other = nn.Dense(4, bias=False)
    other.weight = waiting
    fresh(ones((1, 3)))
    with pytest.raises(ShapeError, match=r"a parameter \(4, 3\) cannot have the shape \(4, 5\)"):
        other(ones((1, 5)))


def test_loading_settles_a_shared_parameter_at_all_its_places():
    a, b = nn.Dense(2, bias=False), nn.Dense(2, bias=False)
    b.weight = a.weight
    model = Holder(a=a, b=b)
    model.load_state_dict({"a.weight": np.ones((2, 3), "f")})
    assert a.weight is b.weight
    assert a.weight.shape == (2, 3)


@pytest.mark.parametrize("error", [ShapeError("no"), ZeroDivisionError(), KeyboardInterrupt()])
def test_a_first_call_that_fails_leaves_all_sizes_open(error):
    model = nn.Sequential(nn.Dense(4, 3), nn.Dense(2), nn.Sequential(nn.Dense(2)), Fails(error))
    with pytest.raises(type(error)):
        model(ones((5, 3)))
    assert [layer.n_in for layer in (model[0], model[1], model[2][0])] == [3, None, None]
    model[3] = tape.exp
    assert model(ones((5, 3))).shape == (5, 2)
    assert model[2][0].n_in == 2


def test_a_failing_call_does_not_undo_what_earlier_calls_inferred():
    first = nn.Dense(4, bias=False)
    second = nn.Dense(4, bias=False)
    second.weight = first.weight
    first(ones((1, 3)))
    with pytest.raises(ZeroDivisionError):
        nn.Sequential(nn.Dense(3), second, Fails(ZeroDivisionError()))(ones((1, 3)))
    assert first.n_in == 3
    assert paths(second) == ["weight"]
    assert second(ones((1, 3))).shape == (1, 4)


def test_threads_do_not_undo_each_others_sizes():
    ready, failed = threading.Event(), threading.Event()

    class Waits(nn.Module):
        def forward(self, x):
            ready.set()
            assert failed.wait(20)
            return x

    mine = nn.Sequential(nn.Dense(2), Waits())
    thread = threading.Thread(target=lambda: mine(ones((1, 3))))
    thread.start()
    assert ready.wait(20)
    other = nn.Sequential(nn.Dense(2), Fails(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        other(ones((1, 3)))
    failed.set()
    thread.join()
    assert other[0].n_in is None
    assert mine[0].n_in == 3


def test_an_own_layer_can_wait_for_its_size():
    class Shift(nn.Module):
        def __init__(self):
            self.by = nn.Uninferred((None,), nn.init.constant(2.0))

        def forward(self, x):
            if isinstance(self.by, nn.Uninferred):
                self.infer(by=x.shape[-1:])
            return x + self.by

    layer = Shift()
    assert repr(layer) == "Shift() (in inferred): by (?,): 0+ parameters"
    assert layer(0 * ones((2, 3))).tolist() == [[2.0] * 3] * 2
    assert paths(layer) == ["by"]


def test_an_initialiser_that_gives_another_shape_is_refused():
    with pytest.raises(ShapeError, match=r"gives shape \(1,\) where \(2, 3\) is needed"):
        nn.Dense(2, 3, init=lambda shape, rng, dtype: np.zeros(1))
