"""Checkpoints: models, optimizers, steps and generators in files, and back."""

import copy
import pickle
import threading
import time

import numpy as np
import pytest
from checkpoints import arrays_of, header_of, network, trained
from hypothesis import given
from hypothesis import strategies as st
from trees import Holder, Scale, ones, values

import tape
from tape import nn, optim
from tape.errors import CheckpointError, ShapeError
from tape.serialize import format as form
from tape.serialize import saving


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


# -- there and back --------------------------------------------------------------------------------


def test_training_resumes_to_the_bit(path):
    net = network()
    adam = optim.Adam(net.parameters(), betas=(0.8, 0.99))
    trained(net, adam)
    rng = np.random.default_rng(7)
    generators = {"data": rng, "tape": tape.random.generator()}
    tape.save(path, net, optimizer=adam, step=3, rng=generators, metadata={"note": "täglich"})
    trained(net, adam)
    drawn = rng.random(3).tolist()

    fresh = network(1)
    again = optim.Adam(fresh.parameters())
    tape.random.seed(99)
    resumed = {"data": np.random.default_rng(8), "tape": tape.random.generator()}
    found = tape.load(path, fresh, optimizer=again, rng=resumed)
    assert found == (3, {"note": "täglich"}, [], [])
    assert again.param_groups[0]["betas"] == (0.8, 0.99)
    trained(fresh, again)
    assert arrays_of(fresh.state_dict()) == arrays_of(net.state_dict())
    assert resumed["data"].random(3).tolist() == drawn


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop])
def test_every_optimizer_has_its_groups_back(make, path):
    net = network()
    groups = [{"params": net[0].parameters(), "lr": 0.5}, {"params": net[3].parameters()}]
    optimizer = make(groups, lr=0.1)
    net[0].bias.requires_grad_(False)
    trained(net, optimizer)
    tape.save(path, net, optimizer=optimizer)
    saved = optimizer.state_dict()
    trained(net, optimizer)
    tape.load(path, net, optimizer=optimizer)
    assert str(optimizer.state_dict()) == str(saved)


def test_plain_arrays_and_tensors_come_back_by_name(path):
    one = np.arange(3.0)
    given_arrays = {"b": one, "a": tape.ones((2, 2)), "same": one, "n": np.int8(3), "list": [1, 2]}
    tape.save(path, given_arrays)
    found = tape.load(path)
    assert found["same"] is found["b"]
    assert found.keys() == given_arrays.keys()
    for name, array in given_arrays.items():
        np.testing.assert_array_equal(found[name], np.asarray(array))
    assert all(array.flags.writeable for array in found.values())


def test_a_file_read_as_arrays_is_a_state_dict(path):
    net = network()
    net.again = net[0]
    adam = optim.Adam(net.parameters())
    trained(net, adam)
    tape.save(path, net, optimizer=adam)
    state = tape.load(path)
    assert arrays_of(state) == arrays_of(net.state_dict())
    fresh = network(1)
    fresh.again = fresh[0]
    fresh.load_state_dict(state)
    assert values(fresh) == values(net)


@given(st.permutations(range(3)), st.integers(-2, 2).filter(bool))
def test_parameters_of_any_strides_come_back(tmp_path_factory, axes, step):
    path = tmp_path_factory.getbasetemp() / "strided.safetensors"
    array = np.arange(24.0).reshape(2, 3, 4).transpose(axes)[::step]
    model = Holder(w=nn.Parameter(array))
    tape.save(path, model)
    fresh = Holder(w=nn.Parameter(np.zeros(array.shape)))
    tape.load(path, fresh)
    np.testing.assert_array_equal(fresh.w.numpy(), array)
    tape.save(path, {"w": array})
    np.testing.assert_array_equal(tape.load(path)["w"], array)


def test_sizes_that_are_not_inferred_come_from_the_file(path):
    net = nn.Sequential(nn.Conv2d(4, 3), nn.Flatten(), nn.Dense(2))
    with pytest.raises(ShapeError, match=r"save: no sizes yet for 0\.weight .*, 2\.weight"):
        tape.save(path, net)
    net(ones((1, 3, 5, 5)))
    adam = optim.Adam(net.parameters())
    net(ones((1, 3, 5, 5))).sum().backward()
    adam.step()
    tape.save(path, net, optimizer=adam)
    fresh = nn.Sequential(nn.Conv2d(4, 3), nn.Flatten(), nn.Dense(2))
    assert tape.load(path, fresh) == (None, {}, [], [])
    assert fresh[2].n_in == 36
    assert values(fresh) == values(net)
    again = optim.Adam(fresh.parameters())
    tape.load(path, optimizer=again)
    assert str(again.state_dict()) == str(adam.state_dict())
    tape.save(path, net)
    sgd = optim.SGD(fresh.parameters(), lr=0.1)
    with pytest.raises(
        CheckpointError, match="the file has no state of an optimizer, for this SGD"
    ):
        tape.load(path, optimizer=sgd)


def test_equal_content_makes_equal_files(tmp_path):
    for name in "ab":
        net = network()
        adam = optim.Adam(net.parameters())
        tape.random.seed(1)
        trained(net, adam)
        rng = np.random.default_rng(1)
        tape.save(tmp_path / name, net, optimizer=adam, step=1, rng=rng, metadata={"x": "y"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_generators_of_all_kinds_go_on_where_they_were(kind, path):
    rng = np.random.Generator(getattr(np.random, kind)(5))
    rng.integers(9, dtype=np.uint32)  # half of a 64-bit number is left over
    tape.save(path, {}, rng=rng)
    expected = rng.integers(1 << 30, size=9, dtype=np.uint32).tolist()
    fresh = np.random.Generator(getattr(np.random, kind)(6))
    tape.load(path, rng=fresh)
    assert fresh.integers(1 << 30, size=9, dtype=np.uint32).tolist() == expected
    other = np.random.Generator(np.random.Philox(1) if kind != "Philox" else np.random.PCG64(1))
    with pytest.raises(CheckpointError, match=f"rng rng: this is a .*, in the file it is '{kind}'"):
        tape.load(path, rng=other)


def test_the_values_saved_are_those_of_the_moment(path, monkeypatch):
    """Steps that another thread takes while the file is written change nothing in it."""
    net = network()
    before = arrays_of(net.state_dict())
    sgd = optim.SGD(net.parameters(), lr=0.1)
    train = threading.Thread(target=trained, args=(net, sgd))

    def meanwhile(*args):
        train.start()
        train.join()
        form.write(*args)

    monkeypatch.setattr(saving, "write", meanwhile)
    tape.save(path, net)
    assert arrays_of(tape.load(path)) == before
    assert arrays_of(net.state_dict()) != before


# -- sharing ---------------------------------------------------------------------------------------


def tied():
    """A language model in small: the embedding is the output's weight as well."""
    model = Holder(embed=nn.Embedding(7, 3), out=nn.Dense(7, 3, bias=False))
    model.out.weight = model.embed.weight
    return model


def test_case_27_a_tie_is_saved_once_and_loads_from_either_alias(path):
    model = tied()
    sgd = optim.SGD(model.parameters(), lr=0.1)
    assert len(sgd.param_groups[0]["params"]) == 1
    tape.save(path, model, optimizer=sgd)
    assert list(header_of(path).entries) == ["embed.weight"]
    assert list(tape.load(path)) == ["embed.weight", "out.weight"]
    fresh = tied()
    tape.load(path, fresh, optimizer=optim.SGD(fresh.parameters(), lr=0.5))
    assert fresh.out.weight is fresh.embed.weight
    assert values(fresh) == values(model)

    for name in ("embed.weight", "out.weight"):
        tape.save(path, {name: model.embed.weight})
        fresh = tied()
        assert tape.load(path, fresh) == (None, {}, [], [])
        assert fresh.out.weight is fresh.embed.weight
        assert values(fresh) == values(model)


def test_case_27_conflicting_copies_are_refused_and_equal_ones_are_not(path):
    model, fresh = tied(), tied()
    before = values(fresh)
    state = model.state_dict()
    tape.save(path, state)
    tape.load(path, fresh)
    assert values(fresh) == values(model)
    state["out.weight"][0, 0] += 1
    tape.save(path, state)
    fresh.load_state_dict({name: np.array(v, "f") for name, v in before.items()})
    with pytest.raises(
        CheckpointError, match=r"out\.weight is embed\.weight, which is shared: two"
    ):
        tape.load(path, fresh)
    assert values(fresh) == before


def is_tied(model, sgd=None):
    """Whether the weight is one: as an object, in its gradient, for an optimizer, in a file."""
    assert model.out.weight is model.embed.weight
    assert [path for path, _ in model.named_parameters()] == ["embed.weight"]
    assert "out: Dense(7, bias=False): weight (7, 3) shared with embed.weight" in repr(model)
    weight = model.embed.weight
    sgd = optim.SGD(model.parameters(), lr=1.0) if sgd is None else sgd
    assert [id(t) for group in sgd.param_groups for t in group["params"]] == [id(weight)]
    before = weight.numpy().copy()
    model.zero_grad()
    model.out(model.embed(tape.tensor([1, 4]))).sum().backward()
    sgd.step()
    twice = weight.grad.numpy()
    assert twice[[1, 4]].all()  # as an embedding
    assert twice[[0, 2]].all()  # as the weight of the output
    np.testing.assert_allclose(weight, before - twice, rtol=1e-6)
    return True


def test_case_27_a_tie_survives_copies():
    model = tied()
    for twin in (copy.deepcopy(model), model.clone(), model.clone("constant").unfreeze()):
        assert is_tied(twin)
        assert twin.embed.weight is not model.embed.weight
    for twin in (copy.copy(model), model.clone("shared")):
        assert is_tied(twin)
        assert twin.embed.weight is model.embed.weight


def test_case_27_pickling_is_refused_with_what_to_do_instead():
    for thing in (tied(), tied().embed.weight):
        with pytest.raises(TypeError, match=r"not pickled: tape\.save writes tensors and modules"):
            pickle.dumps(thing)


def test_case_27_a_tie_survives_a_move_to_another_dtype(path):
    model = tied()
    adam = optim.Adam(model.parameters(), lr=1.0)
    assert is_tied(model)
    moved = model.astype("float64")
    assert moved.embed.weight.dtype == np.float64
    assert values(moved) == values(model)
    assert adam.follow(model, moved) == (["embed.weight"], [], [])
    assert len(adam.param_groups[0]["params"]) == 1
    assert is_tied(moved)
    tape.save(path, moved)
    assert list(header_of(path).entries) == ["embed.weight"]
    with pytest.raises(CheckpointError, match=r"float64 \(7, 3\) given, float32 \(7, 3\) expected"):
        tape.load(path, model)
    again = tied().astype("float64")
    tape.load(path, again)
    assert values(again) == values(moved)
    assert is_tied(again)


@pytest.mark.parametrize("given", ["embed.weight", "out.weight", "both"])
def test_case_27_a_tie_survives_a_load_that_makes_or_sets_what_is_tied(path, given):
    """PyTorch's `assign=True` puts new parameters in place, and unties; here they stay."""
    source = tied()
    state = source.state_dict()
    if given != "both":
        state = {given: state[given]}
    tape.save(path, state)
    for load in (lambda m: m.load_state_dict(state), lambda m: tape.load(path, m)):
        model = tied()
        sgd, weight = optim.SGD(model.parameters(), lr=1.0), model.embed.weight
        load(model)
        assert model.embed.weight is weight
        assert values(model) == values(source)
        assert is_tied(model, sgd)

        waits = Holder(embed=nn.Dense(7, bias=False), out=nn.Dense(7, bias=False))
        waits.out.weight = waits.embed.weight  # without a size: loading makes the parameter
        load(waits)
        assert waits.out.weight is waits.embed.weight
        assert [p.tolist() for p in waits.parameters()] == [source.embed.weight.tolist()]
        assert len(optim.SGD(waits.parameters(), lr=1.0).param_groups[0]["params"]) == 1


def test_a_shared_parameter_loads_into_a_model_that_shares_nothing_and_into_half_of_one(path):
    model = tied()
    tape.save(path, model)
    apart = Holder(embed=nn.Embedding(7, 3), out=nn.Dense(7, 3, bias=False))
    tape.load(path, apart)
    assert values(apart) == values(model)
    assert apart.out.weight is not apart.embed.weight
    half = Holder(out=nn.Dense(7, 3, bias=False))
    assert tape.load(path, half) == (None, {}, [], [])
    assert values(half)["out.weight"] == values(model)["embed.weight"]
    other = Holder(outer=nn.Dense(7, 3, bias=False))
    with pytest.raises(CheckpointError, match=r"unexpected: embed\.weight") as caught:
        tape.load(path, other)
    assert "out.weight (did" not in str(caught.value)


def test_a_shared_module_is_saved_once(path):
    trunk = Scale(2.0)
    tape.save(path, Holder(a=trunk, b=trunk))
    assert list(header_of(path).entries) == ["a.gain", "a.shift", "a.calls"]
    fresh = Scale()
    model = Holder(a=fresh, b=fresh)
    tape.load(path, model)
    assert fresh.gain.item() == 2.0


def test_ten_thousand_modules_are_saved(tmp_path):
    model = Holder(parts=[nn.Sequential(nn.Dense(2, 2)) for _ in range(5000)])
    assert sum(1 for _ in model.modules()) == 10_001
    seconds = []
    for _ in range(3):
        start = time.process_time()  # other processes do not count
        tape.save(tmp_path / "f", model)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1.0
    tape.load(tmp_path / "f", model)
