"""Checkpoints that do not fit or are damaged, and loads that fail: nothing is half changed."""

import copy
import gc
import os
import signal
import time
import tracemalloc

import numpy as np
import pytest
from checkpoints import header_of, network, trained
from trees import Holder, Scale, values

import tape
from tape import nn, optim
from tape._core import memory
from tape.errors import CheckpointError
from tape.nn.state import commit, slots
from tape.serialize import format as form
from tape.serialize import loading


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


# -- what does not fit -----------------------------------------------------------------------------


def test_all_that_does_not_fit_is_listed_at_once_and_nothing_is_changed(path):
    net = network()
    adam = optim.Adam(net.parameters())
    trained(net, adam)
    tape.save(path, net, optimizer=adam, rng={"data": np.random.default_rng(0)})

    other = nn.Sequential(nn.Dense(5, 3), nn.BatchNorm1d(4), tape.tanh, nn.Dense(2, 4))
    other.extra = nn.Parameter(1.0)
    sgd = optim.SGD(other.parameters(), lr=0.1)
    rng, more = np.random.default_rng(5), np.random.default_rng(6)
    before = values(other), str(sgd.state_dict()), str(rng.bit_generator.state)
    with pytest.raises(CheckpointError) as caught:
        tape.load(path, other, optimizer=sgd, rng={"data": rng, "more": more})
    for words in [
        f"load: {path}: nothing was loaded:",
        "0.weight: float32 (4, 3) given, float32 (5, 3) expected",
        "0.bias: float32 (4,) given, float32 (5,) expected",
        "missing: extra",
        "the file has the state of 'Adam', this is 'SGD'",
        "rng more: the file has no generator of this name",
    ]:
        assert words in str(caught.value)
    assert (values(other), str(sgd.state_dict()), str(rng.bit_generator.state)) == before


def test_an_unexpected_name_comes_with_the_nearest_one(path):
    tape.save(path, {"gian": np.float32(1), "shift": np.float32(0), "calls": np.int64(0)})
    model = Scale()
    with pytest.raises(CheckpointError, match=r"unexpected: gian \(did you mean gain\?\)"):
        tape.load(path, model)
    found = tape.load(path, model, strict=False)
    assert (found.missing_keys, found.unexpected_keys) == (["gain"], ["gian"])


def test_a_weight_that_would_fit_transposed_is_named_as_such(path):
    model = nn.Sequential(nn.Dense(5, 3), nn.Conv2d(8, 3, n_in=4), nn.Conv1d(8, 3, n_in=4))
    state = model.state_dict()
    state["0.weight"] = state["0.weight"].T
    state["1.weight"] = state["1.weight"].transpose(2, 3, 1, 0)  # H, W, in, out
    state["2.weight"] = state["2.weight"].transpose(2, 1, 0)
    tape.save(path, state)
    with pytest.raises(CheckpointError) as caught:
        tape.load(path, model)
    for words in [
        "(3, 5) given, float32 (5, 3) expected: it would fit transposed, array.T",
        "(3, 3, 4, 8) given, float32 (8, 4, 3, 3) expected: it would fit transposed, "
        "array.transpose(3, 2, 0, 1)",
        "(3, 4, 8) given, float32 (8, 4, 3) expected: it would fit transposed, "
        "array.transpose(2, 1, 0)",
    ]:
        assert words in str(caught.value)
    with pytest.raises(tape.TapeError, match=r"it would fit transposed, array\.T"):
        model[0].load_state_dict({"weight": np.ones((3, 5), "f"), "bias": np.ones(5, "f")})


def test_an_optimizer_whose_parameters_stand_in_another_order_is_refused(path):
    net = nn.Sequential(nn.Dense(3, 3, bias=False), nn.Dense(3, 3, bias=False))
    adam = optim.Adam(net.parameters())
    trained(net, adam)
    tape.save(path, net, optimizer=adam)
    swapped = optim.Adam(list(net.parameters())[::-1])
    with pytest.raises(CheckpointError, match=r"parameter 0 is 1\.weight, in the file it is 0\.w"):
        tape.load(path, net, optimizer=swapped)
    smaller = optim.Adam([net[0].weight])
    with pytest.raises(CheckpointError, match=r"groups have \[1\] parameters, .* state \[2\]"):
        tape.load(path, net, optimizer=smaller)


def test_thousands_of_wrong_names_are_told_quickly_and_of_both_kinds(path):
    """The nearest of all names was looked for thousands of times, to list thirty."""
    model = Holder(parts=[nn.Parameter(0.0) for _ in range(3000)])
    tape.save(path, {f"module.{name}": array for name, array in model.state_dict().items()})
    start = time.process_time()
    with pytest.raises(CheckpointError, match="and 5970 more") as caught:
        tape.load(path, model)
    assert time.process_time() - start < 10
    assert "missing: parts.14\n" in str(caught.value)
    assert "unexpected: module.parts.0 (did you mean parts.0?)" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"model": 3}, TypeError, "takes a module or a dictionary of arrays by name, got a int"),
        ({"model": {1: np.ones(2)}}, TypeError, "names of arrays are texts, got 1"),
        ({"step": -1}, ValueError, "step is a number >= 0, got -1"),
        ({"step": True}, ValueError, "step is a number >= 0, got True"),
        ({"step": 1.5}, TypeError, "float"),
        ({"rng": 3}, TypeError, "rng is a numpy.random.Generator or several by name, got int"),
        ({"rng": {"a": np.random}}, TypeError, "or several by name, got module"),
        ({"metadata": {"a": 1}}, TypeError, "metadata are texts by name, got 1 at 'a'"),
        ({"metadata": {"tape.step": "1"}}, ValueError, "names that start with 'tape.' are taken"),
        ({"optimizer": 3}, TypeError, "int is no optimizer"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_a_file_is_touched(
    options, error, words, path
):
    path.write_bytes(b"old")
    with pytest.raises(error, match=words):
        tape.save(path, **{"model": {}, **options})
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


def test_a_name_of_the_optimizers_is_refused_beside_one(path):
    w = tape.tensor([1.0], requires_grad=True)
    sgd = optim.SGD([w], lr=0.1)
    with pytest.raises(ValueError, match="optimizer:0:x: names with 'optimizer:' are"):
        tape.save(path, {"optimizer:0:x": w}, optimizer=sgd)
    tape.save(path, {"optimizer:0:x": w})
    assert list(tape.load(path)) == ["optimizer:0:x"]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("version", "2"),
        ("aliases", "[]"),
        ("aliases", '{"a":"nothing"}'),
        ("aliases", '{"0.bias":"0.weight"}'),
        ("aliases", '{"a":["0.bias"]}'),
        ("aliases", '{"a":"0.bias","a":"0.bias"}'),
        ("step", "true"),
        ("step", "x"),
        ("step", "-1"),
        ("rng", '{"rng":{"bit_generator":"PCG64"}}'),
        ("rng", '{"rng":{"bit_generator":"PCG64","state":{"state":-1,"inc":1}}}'),
        ("rng", '{"rng":3}'),
        ("optimizer", '{"kind":"Adam"}'),
        ("optimizer", '{"kind":"Adam","param_groups":[3],"steps":{}}'),
        ("optimizer", '{"kind":"Adam","param_groups":[{"params":3}],"steps":{}}'),
        ("optimizer", '{"kind":"Adam","param_groups":[{"params":[1,2,3,4,5,6]}],"steps":{}}'),
        ("optimizer", '{"kind":"Adam","param_groups":[],"steps":{"0":1}}'),
    ],
)
def test_a_damaged_table_is_refused_and_nothing_is_changed(key, text, path):
    net, rng = network(), np.random.default_rng(0)
    adam = optim.Adam(net.parameters())
    trained(net, adam)
    tape.save(path, net, optimizer=adam, step=1, rng=rng)
    rewrite(path, **{f"tape.{key}": text})
    fresh = network(1)
    again, other = optim.Adam(fresh.parameters()), np.random.default_rng(1)
    before = values(fresh), str(again.state_dict()), str(other.bit_generator.state)
    with pytest.raises(CheckpointError):
        tape.load(path, fresh, optimizer=again, rng=other)
    assert (values(fresh), str(again.state_dict()), str(other.bit_generator.state)) == before


def rewrite(path, **texts):
    """Write a file again with other texts in its header."""
    header = header_of(path)
    with open(path, "rb") as file:
        found = form.read_arrays(file, header, header.entries, "f", False)
    with open(path, "wb") as file:
        form.write(file, form.header_of(found, header.metadata | texts), found)


def test_mangled_tables_only_ever_raise_checkpoint_errors(path):
    net, rng = network(), np.random.default_rng(0)
    net.again = net[0]
    adam = optim.Adam(net.parameters())
    trained(net, adam)
    tape.save(path, net, optimizer=adam, step=1, rng=rng)
    texts = header_of(path).metadata
    chance = np.random.default_rng(0)
    tokens = [
        "0",
        "-1",
        "1e999",
        "NaN",
        "null",
        "{}",
        "[]",
        '"',
        '"x"',
        ",",
        ":",
        "[",
        "}",
        "9" * 30,
    ]
    for _ in range(400):
        key = list(texts)[chance.integers(len(texts))]
        at, n = chance.integers(len(texts[key]) + 1), chance.integers(12)
        mangled = texts[key][:at] + tokens[chance.integers(len(tokens))] + texts[key][at + n :]
        rewrite(path, **{key: mangled})
        try:
            tape.load(path, net, optimizer=adam, rng=rng)
        except CheckpointError:
            continue


# -- all or nothing --------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_load_that_is_interrupted_changes_nothing(error, path, monkeypatch):
    net, rng = network(), np.random.default_rng(0)
    adam = optim.Adam(net.parameters())
    trained(net, adam)
    tape.save(path, net, optimizer=adam, rng=rng)
    fresh = network(1)
    again, other = optim.Adam(fresh.parameters()), np.random.default_rng(1)
    before = values(fresh), str(again.state_dict()), str(other.bit_generator.state)

    def fails(*args, **kwargs):
        raise error

    for place, name in [
        (form, "fill"),
        *((loading, n) for n in ("read_header", "plan", "assembled", "checked_state", "commit")),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(place, name, fails)
            with pytest.raises(error):
                tape.load(path, fresh, optimizer=again, rng=other)
        assert (values(fresh), str(again.state_dict()), str(other.bit_generator.state)) == before
    tape.load(path, fresh, optimizer=again, rng=other)
    assert values(fresh) == values(net)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signal.setitimer")
@pytest.mark.usefixtures("alarms_are_ctrl_c")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a file was opened, but not yet entered
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_at_any_moment_leaves_all_old_or_all_new(tmp_path):
    """NumPy's setter of a generator's state was interrupted after all else had been set."""
    nets = [network(seed) for seed in range(3)]
    adams = [optim.Adam(net.parameters(), lr=0.1 + i) for i, net in enumerate(nets)]
    rngs = [np.random.default_rng(seed) for seed in range(3)]

    def state(i):
        return str(values(nets[i])), str(adams[i].state_dict()), str(rngs[i].bit_generator.state)

    for i in range(2):
        trained(nets[i], adams[i])
        tape.save(tmp_path / str(i), nets[i], optimizer=adams[i], rng=rngs[i])
    known = {state(0), state(1)}
    tape.load(tmp_path / "0", nets[2], optimizer=adams[2], rng=rngs[2])
    chance, n_interrupted = np.random.default_rng(0), 0
    for i in range(400):
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-5, 4e-3))
                tape.load(tmp_path / str(i % 2), nets[2], optimizer=adams[2], rng=rngs[2])
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            n_interrupted += 1
        assert state(2) in known
    assert n_interrupted > 20
    gc.collect()


def test_a_ctrl_c_in_the_setter_of_a_generator_comes_after_all_is_set(path):
    """The one place of a load that nothing may interrupt where NumPy looks for Ctrl-C."""

    class Interrupted:
        n = 0

        def __setattr__(self, name, value):
            type(self).n += 1
            if self.n == 1:
                raise KeyboardInterrupt
            vars(self)[name] = value

    model, thing, last = Scale(), Interrupted(), Holder()
    known = slots(model)
    with pytest.raises(KeyboardInterrupt):
        commit([(known[0], np.array(7, "f"))], [(thing, "state", 1), (last, "state", 2)])
    assert (model.gain.item(), thing.state, last.state) == (7.0, 1, 2)


def test_a_load_that_runs_out_of_memory_halfway_leaves_no_value_writable(path, monkeypatch):
    model = Scale(1.0, 2.0)
    tape.save(path, Scale(5.0, 6.0))
    held, before = copy.copy(model.shift), values(model)  # so that this one is copied

    class Full:
        def array(self, *args, **kwargs):
            raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(memory, "np", Full())
        with pytest.raises(MemoryError):
            tape.load(path, model)
    assert values(model) == before
    assert not np.asarray(model.gain).flags.writeable
    assert not model.gain.numpy().base.flags.writeable
    tape.load(path, model)
    assert (model.gain.item(), model.shift.item(), held.item()) == (5.0, 6.0, 2.0)


def test_a_graph_recorded_before_keeps_the_values_it_was_recorded_with(path):
    model = Scale(2.0)
    tape.save(path, Scale(5.0))
    x = tape.tensor(3.0, requires_grad=True)
    y = model(x)
    tape.load(path, model)
    assert tape.grad(y, x).item() == 2.0
    assert model(x).item() == 15.0


def test_what_is_loaded_owns_its_memory_and_needs_little_more(path):
    n = 4 << 20
    model = Holder(w=nn.Parameter(np.ones(n, "f")))
    tape.save(path, model)
    tracemalloc.start()
    try:
        tape.save(path, model)
        saving = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        tape.load(path, model)
        loading = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        found = tape.load(path)
        reading = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert saving < 1 << 20
    assert loading < 4 * n + (1 << 20)
    assert reading < 4 * n + (1 << 20)
    os.truncate(path, 100)  # which would end the process if it were mapped
    assert found["w"][-1] == model.w.numpy()[-1] == 1.0


def test_a_file_that_shrinks_while_it_is_read_is_refused(path, monkeypatch):
    model = Holder(w=nn.Parameter(np.ones(1 << 20, "f")))
    tape.save(path, model)
    real = loading.read_header

    def shrinks(*args):
        header = real(*args)
        os.truncate(path, 1 << 20)
        return header

    monkeypatch.setattr(loading, "read_header", shrinks)
    with pytest.raises(CheckpointError, match=r"truncated while w was read: \d+ of its 4194304"):
        tape.load(path, model)
