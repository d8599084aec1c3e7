"""`replace`: a new tree with other modules in it, which shares the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import Holder, Scale, graphs, modes, partition

import tape
from tape import nn
from tape.errors import TapeError


@given(graphs(), st.data())
def test_a_replaced_module_is_new_at_all_its_places_and_the_rest_is_shared(model, data):
    targets = [module for module in model.modules() if module is not model]
    target = data.draw(st.sampled_from(targets))
    before, state = partition(model), repr(model)
    new = Scale(5.0)
    made = nn.replace(model, lambda module: module is target, new)
    assert partition(model) == before
    assert repr(model) == state
    places = [path for path, entry, _, _ in model.walk(again=True) if entry is target]
    after = {path: entry for path, entry, _, _ in made.walk(again=True)}
    assert all(after[path] is new for path in places)
    assert not any(entry is target for entry in after.values())
    for path, entry, _, _ in model.walk(again=True):
        if any(path == place or path.startswith(f"{place}.") for place in places):
            continue
        if isinstance(entry, nn.Module):
            on_the_way = any(module is target for module in entry.modules())
            assert (after[path] is entry) == (not on_the_way)
            assert type(after[path]) is type(entry)
        else:
            assert after[path] is entry


def test_a_path_a_pattern_or_a_predicate_says_what_is_replaced():
    net = nn.Sequential(nn.Dense(2, 2), tape.tanh, nn.Sequential(nn.Dense(2, 2), tape.tanh))
    assert nn.replace(net, "2.0", lambda old: Holder(old=old))[2][0].old is net[2][0]
    wide = nn.replace(net, lambda m: isinstance(m, nn.Dense), lambda old: nn.Dense(2, old.n_in))
    assert wide[0] is not wide[2][0]
    one = nn.replace(net, "*0", nn.Dense(2, 2))
    assert one[0] is one[2][0]
    assert nn.replace(net, "", one) is one
    outer = nn.replace(net, "2*", lambda old: nn.Sequential(old, tape.exp))
    assert outer[2][0] is net[2]
    assert len(list(net.parameters())) == len(list(outer.parameters()))


def test_a_function_among_layers_is_replaced_by_its_path():
    net = nn.Sequential(tape.tanh, nn.Sequential(tape.tanh), nn.combine(a=tape.exp, b=tape.sin))
    assert nn.replace(net, "0", lambda old: tape.relu).layers == [tape.relu, *net[1:]]
    made = nn.replace(net, "1.0", nn.Dropout())
    assert isinstance(made[1][0], nn.Dropout)
    assert made[0] is net[0]
    assert nn.replace(net, "2.b", lambda old: tape.cos)[2].layers == [tape.exp, tape.cos]
    assert net[2].layers == [tape.exp, tape.sin]


def test_the_copies_keep_mode_and_frost_and_the_new_module_takes_on_the_mode():
    net = nn.Sequential(nn.Sequential(nn.Dense(2, 2), nn.Dropout()), nn.Dense(1, 2))
    net.eval()
    net.freeze("0")
    new = nn.Sequential(nn.Dropout())
    made = nn.replace(net, "0.1", new)
    assert made[0].is_frozen
    assert made[0][0] is net[0][0]
    assert modes(made) == [False] * 6
    assert not new.is_frozen
    assert modes(net.unfreeze().train()) == [True] * 5
    assert made[0].is_frozen  # the copy on the way thaws on its own
    kept = nn.Dense(2, 2).eval()
    net = nn.Sequential(nn.Sequential(kept))
    made = nn.replace(net, "0", lambda old: nn.Sequential(old[0], nn.Dropout()))
    assert modes(made) == [True, True, False, True]  # parts of the original stay as they are


def test_what_cannot_be_replaced_is_refused_and_nothing_changes():
    net = nn.Sequential(nn.Sequential(nn.Dense(2, 2)), tape.tanh)
    before = partition(net)
    for where, new, words in [
        ("0.1", nn.Dense(2), r"replace: '0\.1' names no module of a Sequential \(did you mean 0.0"),
        ("0.0.weight", nn.Dense(2), r"0\.0\.weight is a parameter of a Sequential"),
        (lambda m: False, nn.Dense(2), "the predicate holds for no module"),
        ("0.0", nn.Sequential(net), "the new Sequential contains the whole, which contains what"),
        ("0.0", lambda old: nn.Sequential(net[0]), "the new Sequential contains 0, which contai"),
        ("1", nn.Sequential(net), "contains the whole"),
    ]:
        with pytest.raises(TapeError, match=words):
            nn.replace(net, where, new)
    loop = Holder()
    loop.part = loop
    with pytest.raises(TapeError, match="part is the Holder that contains it"):
        nn.replace(net, "0.0", loop)
    with pytest.raises(TapeError, match="contains it"):
        nn.replace(loop, "part", net)
    for new in (None, lambda old: 3, nn.Dense, lambda old: nn.Dense):
        with pytest.raises(TypeError, match="replace: new"):
            nn.replace(net, "0.0", new)
    with pytest.raises(TypeError, match="the whole cannot become"):
        nn.replace(net, "", lambda old: tape.tanh)
    with pytest.raises(TypeError, match="takes a path, a pattern"):
        nn.replace(net, 0, nn.Dense(2))
    assert partition(net) == before
    assert modes(net) == [True] * 3


def test_case_19_a_placeholder_is_replaced_by_what_computes():
    place = nn.Lambda(lambda x: x)
    assert nn.replace(place >> (lambda p: p + 3), "0", nn.Lambda(tape.square))(3.0).item() == 12
    net = nn.Sequential(place) >> nn.Lambda(lambda p: p @ tape.tensor([[2.0], [3.0]]))
    filled = nn.replace(net, lambda m: m is place, nn.Lambda(lambda x: x * 1.0))
    assert filled(tape.tensor([[10.0, 2.0]])).tolist() == [[26.0]]


def test_an_op_takes_the_place_of_a_layer():
    net = nn.Sequential(nn.Dense(2, 2), tape.relu, nn.Dense(2, 2))
    assert list(nn.replace(net, "1", tape.tanh)) == [net[0], tape.tanh, net[2]]
    assert list(nn.replace(net, "2", tape.tanh)) == [net[0], tape.relu, tape.tanh]
    with pytest.raises(TapeError, match=r"not a module\n"):
        nn.replace(net, "0.weight", tape.tanh)
