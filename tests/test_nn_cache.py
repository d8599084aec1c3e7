"""Outputs of frozen modules kept by sample: never a wrong row, in memory and in a file."""

import copy
import signal
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tape
from tape import nn
from tape.errors import DTypeError, GradError, SettingError, ShapeError, TapeError

pytestmark = pytest.mark.usefixtures("nothing_left")
SAMPLES = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
ROW = 16 + 4 * 4  # bytes of a row with four float32


class Watched(nn.Module):
    """Another module, and how long its batches were."""

    def __init__(self, trunk):
        self.trunk, self.batches = trunk, []

    def forward(self, x):
        self.batches.append(len(x))
        return self.trunk(x)


def frozen(seed=0):
    """A small trunk, the same for the same seed."""
    rng = np.random.default_rng(seed)
    net = nn.Sequential(
        nn.Dense(5, 6, rng=rng), tape.tanh, nn.BatchNorm1d(5), nn.Dense(4, 5, rng=rng)
    )
    return net.freeze()


def asked(cached, ids):
    """What a cached trunk gives for these samples, checked against the trunk itself."""
    x = tape.tensor(SAMPLES[ids])
    y = cached(x, key=ids)
    np.testing.assert_array_equal(y, cached.module(x))
    return y


def test_rows_known_are_not_computed_again_and_others_in_one_batch():
    trunk = frozen()
    watched = Watched(trunk).freeze()
    batches, cached = watched.batches, nn.cache(watched)
    for ids in ([1, 2, 3], [3, 4, 1, 5], [5, 4, 3], [7, 7, 1, 7]):
        y = cached(tape.tensor(SAMPLES[ids]), key=ids)
        np.testing.assert_array_equal(y, trunk(tape.tensor(SAMPLES[ids])))
    assert batches == [3, 2, 1]
    report = cached.report()
    assert (report.hits, report.misses, report.rows) == (8, 6, 6)
    assert report.bytes == 6 * ROW


def test_ids_come_from_a_call_or_from_a_function_of_its_arguments():
    trunk = frozen()
    cached = nn.cache(trunk, key=lambda x: np.argmax((x[:, None] == SAMPLES).all(-1), axis=1))
    a = cached(SAMPLES[[3, 1]])
    b = cached(SAMPLES[[1, 3]])
    np.testing.assert_array_equal(a[::-1], b)
    assert cached.report()[2:4] == (2, 2)
    given = nn.cache(trunk)
    for ids in ([3, 1], (3, 1), np.array([3, 1], np.uint8), tape.tensor([3, 1])):
        np.testing.assert_array_equal(given(tape.tensor(SAMPLES[[3, 1]]), key=ids), a)
    assert given.report().misses == 2
    with pytest.raises(TypeError, match="give the ids of the samples"):
        given(tape.tensor(SAMPLES))
    net = cached >> nn.Dense(2, 4)
    assert net(SAMPLES[:3]).shape == (3, 2)


@given(data=st.data())
@settings(max_examples=60)
@pytest.mark.parametrize("where", ["memory", "file"])
def test_no_order_budget_or_change_gives_a_wrong_row(where, data, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows" if where == "file" else None
    room = data.draw(st.none() | st.integers(1, 12), label="room")
    budget = None if room is None else room * ROW + data.draw(st.integers(0, ROW - 1))
    trunk = frozen()
    cached = nn.cache(trunk, path=path, bytes=budget)
    for _ in range(data.draw(st.integers(1, 8), label="calls")):
        action = data.draw(
            st.sampled_from(["ask", "ask", "ask", "change", "thaw", "clear", "again"])
        )
        if action == "change":
            values = trunk.state_dict()
            name = data.draw(st.sampled_from(sorted(values)))
            values[name] += 1
            trunk.load_state_dict(values)
        elif action == "thaw":
            trunk.unfreeze()
            with tape.no_grad():
                trunk[0].weight *= 2.0
            trunk.freeze()
        elif action == "clear":
            cached.clear()
        elif action == "again" and where == "file":
            del cached
            cached = nn.cache(trunk, path=path, bytes=budget)
        ids = data.draw(st.lists(st.integers(0, 39), min_size=1, max_size=20), label="ids")
        y = asked(cached, ids)
        assert not y.requires_grad
        report = cached.report()
        assert room is None or report.rows <= room
        assert report.bytes == report.rows * ROW
    del cached, trunk, y


def test_the_least_recently_used_make_room():
    cached = nn.cache(frozen(), bytes=3 * ROW)
    for ids in ([1], [2], [3], [1], [4], [1, 3, 4], [2]):
        asked(cached, ids)
    assert (cached.report().misses, cached.report().evicted) == (5, 2)  # 2, then 1 made room
    asked(cached, [3, 4, 2])
    assert cached.report().misses == 5
    asked(cached, list(range(40)))
    assert cached.report().rows == 3


def test_the_report_prints_as_lines():
    cached = nn.cache(frozen())
    asked(cached, [1, 2, 2])
    words = [f"2 rows, {2 * ROW} bytes, in memory", "1 found, 2 computed, 0 made room for others"]
    assert repr(cached.report()).splitlines() == words
    cached.module.layers.pop(1)
    asked(cached, [1])
    assert repr(cached.report()).splitlines()[2] == "emptied: the module has changed"


def test_a_budget_below_a_row_is_refused():
    cached = nn.cache(frozen(), bytes=ROW - 1)
    with pytest.raises(SettingError, match=rf"a row takes {ROW} bytes, bytes={ROW - 1}"):
        asked(cached, [1])
    for wrong in (0, -1, 1.5, True, "1"):
        with pytest.raises(SettingError, match="bytes is a whole number above 0"):
            nn.cache(frozen(), bytes=wrong)


def test_what_is_not_frozen_is_refused_by_name_at_once_and_later():
    with pytest.raises(
        TapeError, match=r"a Dense must be frozen.*: the whole \(training\), weight"
    ):
        nn.cache(nn.Dense(2, 3))
    with pytest.raises(TapeError, match=r"the whole \(in eval mode\)"):
        nn.cache(nn.Dropout(0.5).eval())
    trunk = frozen()
    cached = nn.cache(trunk)
    asked(cached, [1, 2])
    trunk[3].unfreeze()
    with pytest.raises(
        TapeError, match=r"3 \(training\), 3.weight \(requires a gradient\), 3.bias"
    ):
        asked(cached, [1, 2])
    cached.train()
    trunk.freeze()
    weight, trunk[0].weight = trunk[0].weight, nn.Parameter(trunk[0].weight)
    with pytest.raises(TapeError, match=r": 0.weight \(requires a gradient\)"):
        asked(cached, [1, 2])
    trunk[0].weight = weight
    asked(cached, [1, 2])
    for wrong, match in ((tape.tanh, "takes a module, got"), (nn.Dense, "takes a module")):
        with pytest.raises(TypeError, match=match):
            nn.cache(wrong)
    with pytest.raises(TypeError, match="key is a function of the arguments, got a list"):
        nn.cache(trunk, [1, 2])


def test_every_change_of_parameters_buffers_or_modules_is_noticed():
    trunk = frozen()
    cached = nn.cache(trunk)
    parameter, buffer = trunk[0].weight, trunk[2].running_mean

    def change(tensor):
        with tape.no_grad():
            tensor += 1.0

    def swap():
        trunk.layers[3] = nn.Dense(4, 5).freeze()

    changes = [
        lambda: change(parameter),
        lambda: change(buffer),
        lambda: parameter.assign(parameter.numpy() * 2),
        lambda: trunk.load_state_dict({k: v + 1 for k, v in trunk.state_dict().items()}),
        swap,
        lambda: trunk.layers.pop(1),
    ]
    for n, alter in enumerate(changes):
        asked(cached, [1, 2])
        alter()
        asked(cached, [1, 2])
        assert cached.report().misses == 2 * (n + 2)
    assert "the module has changed" in cached.report().emptied
    asked(cached, [1, 2])
    assert cached.report().misses == 2 * (len(changes) + 1)


def test_what_changes_no_value_costs_no_row():
    trunk = frozen()
    cached = nn.cache(trunk)
    asked(cached, [1, 2])
    trunk.unfreeze().freeze()
    asked(cached, [1, 2])
    trunk.load_state_dict(trunk.state_dict())
    asked(cached, [1, 2])
    assert cached.report()[2:4] == (4, 2)
    assert cached.report().emptied == ""
    trunk.layers.append(lambda x: x)
    asked(cached, [1, 2])
    trunk.layers[-1] = lambda x: x + 1.0  # another function that looks the same
    asked(cached, [1, 2])
    assert cached.report().misses == 6


@pytest.mark.parametrize(
    ("key", "error", "match"),
    [
        ([1], ShapeError, r"ids \(1,\) for 2 rows"),
        ([[1, 2]], ShapeError, r"ids \(1, 2\)"),
        (3, ShapeError, r"ids \(\) for 2 rows"),
        ([[1], [2, 3]], ShapeError, "key has no ids for 2 rows: .*inhomogeneous"),
        ([1.0, 2.0], DTypeError, "ids float64, expected whole numbers"),
        ([True, False], DTypeError, "ids bool"),
        (["a", "b"], DTypeError, "expected whole numbers"),
        ([1, -2], SettingError, "the id -2"),
        (np.array([1, 2**63], np.uint64), SettingError, "the id 9223372036854775808"),
    ],
)
def test_wrong_ids(key, error, match):
    cached = nn.cache(frozen())
    asked(cached, [0, 1, 2])
    with pytest.raises(error, match=match):
        cached(tape.tensor(SAMPLES[:2]), key=key)
    asked(cached, [0, 1, 2])
    assert cached.report().misses == 3


def test_largest_ids_are_told_apart(tmp_path):
    cached = nn.cache(nn.Flatten().freeze(), path=tmp_path / "rows")
    ids = [0, 2**63 - 2, 2**53 + 1, 2**53]
    y = cached(tape.tensor([[0.0], [1.0], [2.0], [3.0]]), key=ids)
    del cached
    cached = nn.cache(nn.Flatten().freeze(), path=tmp_path / "rows")
    assert cached(tape.zeros((4, 1)), key=ids[::-1]).tolist() == y[::-1].tolist()
    with pytest.raises(SettingError, match="expected 0 to"):
        cached(tape.zeros((1, 1)), key=[2**63 - 1])


def test_other_shapes_and_dtypes_than_those_known_are_refused():
    cached = nn.cache(nn.Flatten().freeze())
    cached(tape.ones((2, 3, 2)), key=[1, 2])
    words = (
        r"from argument 0, float32 \(3, 2\) a row; now it is argument 0, float32 \(2, 3\): clear"
    )
    with pytest.raises(ShapeError, match=words):
        cached(tape.ones((2, 2, 3)), key=[1, 2])
    with pytest.raises(DTypeError, match=r"now it is argument 0, float64 \(3, 2\)"):
        cached(tape.ones((2, 3, 2), dtype="float64"), key=[1, 2])
    with pytest.raises(ShapeError):
        cached(x=tape.ones((2, 3, 2)), key=[1, 2])
    cached.clear()
    cached(tape.ones((2, 2, 3)), key=[1, 2])
    assert cached.report()[2:4] == (0, 2)


def test_arguments_that_are_not_rows_of_samples():
    cached = nn.cache(nn.Lambda(lambda *xs, **named: xs[0] * 2.0).freeze())
    with pytest.raises(DTypeError, match="argument 1 is a int"):
        cached(tape.ones(2), 3, key=[1, 2])
    with pytest.raises(ShapeError, match=r"rows: 0 \(2,\), mask \(3,\)"):
        cached(tape.ones(2), mask=tape.ones(3), key=[1, 2])
    with pytest.raises(ShapeError, match="argument 0 is 0-d"):
        cached(tape.ones(()), key=[])
    with pytest.raises(TypeError, match="got no argument"):
        cached(key=[])
    with pytest.raises(GradError, match="argument 0 requires a gradient"):
        cached(tape.ones(2, requires_grad=True), key=[1, 2])
    with tape.no_grad():
        cached(tape.ones(2, requires_grad=True), key=[1, 2])
    assert cached(tape.ones(0), key=[]).shape == (0,)


def test_a_tuple_of_outputs_of_several_arguments():
    both = nn.Lambda(lambda x, by: (x * by, (x.sum(axis=1) > 0.0), by.astype("int8"))).freeze()
    cached = nn.cache(both)
    x, by = tape.tensor(SAMPLES), tape.tensor(np.arange(240.0).reshape(40, 6) % 7, dtype="float32")
    for ids in ([1, 2, 3], [3, 2, 7, 7]):
        found = cached(x[ids], by=by[ids], key=ids)
        for y, wanted in zip(found, both(x[ids], by[ids]), strict=True):
            assert y.dtype == wanted.dtype
            np.testing.assert_array_equal(y, wanted)
    assert cached.report().misses == 4
    single = nn.cache(nn.Lambda(lambda x: (x,)).freeze())
    assert all(isinstance(single(x[:2], key=[1, 2]), tuple) for _ in range(2))


@pytest.mark.parametrize(
    ("function", "error", "match"),
    [
        (lambda x: {"y": x}, TypeError, "gives a dict, expected a tensor"),
        (lambda x: (x, 3), TypeError, "gives a tuple"),
        (lambda x: (), TypeError, "gives a tuple"),
        (lambda x: None, TypeError, "gives a NoneType"),
        (lambda x: x.sum(), ShapeError, r"gives \(\) for 2 samples"),
        (lambda x: x[:1], ShapeError, r"gives \(1, 6\) for 2 samples"),
        (lambda x: tape.dropout(x), TapeError, "a Lambda draws random numbers though it is frozen"),
    ],
)
def test_what_cannot_be_kept_is_refused(function, error, match):
    cached = nn.cache(nn.Lambda(function).freeze())
    for _ in range(2):
        with pytest.raises(error, match=match):
            cached(tape.tensor(SAMPLES[:2]), key=[1, 2])
    assert cached.report().rows == 0


def test_a_module_that_changes_itself_is_refused():
    class Counter(nn.Module):
        def __init__(self):
            self.register_buffer("n", 0.0)

        def forward(self, x):
            with tape.no_grad():
                self.n += 1.0
            return x * self.n

    cached = nn.cache(Counter().freeze())
    with pytest.raises(TapeError, match="a Counter changes while it runs"):
        cached(tape.ones(2), key=[1, 2])


def test_sizes_may_be_inferred_in_the_first_call(tmp_path):
    for path in (None, tmp_path / "rows"):
        tape.random.seed(3)
        cached = nn.cache(nn.Dense(4).freeze(), path=path)
        y = asked(cached, [1, 2])
        for _ in range(2):
            np.testing.assert_array_equal(asked(cached, [1, 2]), y)
        assert cached.report()[2:4] == (2, 2)


def test_the_module_is_a_child_and_learns_nothing():
    trunk = frozen()
    net = nn.Sequential(nn.cache(trunk, key=lambda x: np.arange(len(x))), nn.Dense(2, 4))
    assert "0.module.0.weight" in net.state_dict()
    net.load_state_dict(net.state_dict())
    loss = net(tape.tensor(SAMPLES[:4])).sum()
    loss.backward()
    assert [p for p, x in net.named_parameters() if x.grad is not None] == ["1.weight", "1.bias"]
    text = repr(nn.cache(trunk, bytes=1000))
    assert text.startswith("Cache(bytes=1000): ")
    assert "module: Sequential frozen" in text


def test_copies_start_empty_and_in_memory(tmp_path):
    cached = nn.cache(frozen(), path=tmp_path / "rows", bytes=10 * ROW)
    asked(cached, [1, 2])
    for twin in (cached.clone(), copy.deepcopy(cached), cached.clone("shared")):
        assert twin.report() == (0, 0, 0, 0, 0, None, "")
        asked(twin, [1, 2])
    assert asked(cached, [1, 2]) is not None
    assert cached.report().misses == 2


def test_a_section_between_named_nodes_sees_the_module_itself():
    cached = nn.cache(frozen())
    x = tape.tensor(SAMPLES[:3]).named("x")
    asked(cached, [0, 1, 2])
    y = cached(x, key=[0, 1, 2])
    part = tape.clone_function(x, y)
    np.testing.assert_array_equal(part(tape.tensor(SAMPLES[3:6])), cached.module(SAMPLES[3:6]))
    del part, x, y


def test_threads_share_a_cache():
    cached, wrong = nn.cache(frozen(), bytes=10 * ROW), []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(60):
            ids = rng.integers(0, 40, 6)
            try:
                asked(cached, ids)
            except BaseException as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert cached.report().rows == 10


@pytest.mark.usefixtures("alarms_are_ctrl_c")
@pytest.mark.parametrize("where", ["memory", "file"])
def test_ctrl_c_leaves_no_wrong_row(where, tmp_path):
    cached = nn.cache(frozen(), path=tmp_path / "rows" if where == "file" else None, bytes=9 * ROW)
    rng = np.random.default_rng(0)
    for n in range(150):
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, 2e-5 + n * 2e-6)
                for _ in range(3):
                    ids = rng.integers(0, 40, 5)
                    cached(tape.tensor(SAMPLES[ids]), key=ids)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            pass
        asked(cached, rng.integers(0, 40, 8))
        report = cached.report()
        rows = cached._rows
        assert report.rows + len(rows.free) == (0 if rows.slots is None else len(rows.slots)) <= 9
