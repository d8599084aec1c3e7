"""Data sets and the loader: order, reading ahead, threads that end."""

import gc
import os
import signal
import threading
import traceback
import warnings
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tape
from tape.data import ArrayDataset, DataLoader
from tape.errors import DataError


def prefetch_threads():
    return [t for t in threading.enumerate() if t.name.startswith("tape-prefetch")]


@pytest.fixture(autouse=True)
def no_thread_left_behind():
    yield
    gc.collect()
    assert prefetch_threads() == []


def plain_loader(dataset, *args, **settings):
    return DataLoader(dataset, *args, tensors=False, **settings)


# Data sets


def test_array_dataset_reads_ints_slices_and_integer_arrays():
    x, y = np.arange(12).reshape(6, 2), np.arange(6) * 10
    data = ArrayDataset(x, y)
    assert len(data) == 6
    for index in (2, -1, slice(1, 5, 2), np.array([3, 3, 0])):
        for got, whole in zip(data[index], (x, y), strict=True):
            np.testing.assert_array_equal(got, whole[index])
    with pytest.raises(IndexError):
        data[6]
    assert repr(data) == f"ArrayDataset(6 x ({x.dtype}[2], {y.dtype}[]))"


def test_arrays_of_different_length_are_refused_with_their_lengths():
    with pytest.raises(DataError, match=r"lengths differ: \[3, 4\] \(shapes \(3, 2\), \(4,\)\)"):
        ArrayDataset(np.zeros((3, 2)), np.zeros(4))


def test_no_array_and_scalars_are_refused():
    with pytest.raises(DataError, match="at least one array"):
        ArrayDataset()
    with pytest.raises(DataError, match="array 1 is 0-d"):
        ArrayDataset([1, 2], 3)


# The loader


@given(
    n=st.integers(0, 40),
    batch_size=st.integers(1, 45),
    drop_last=st.booleans(),
    shuffle=st.booleans(),
    prefetch=st.integers(0, 3),
)
def test_an_epoch_gives_each_example_once(n, batch_size, drop_last, shuffle, prefetch):
    loader = plain_loader(
        ArrayDataset(np.arange(n), -np.arange(n)),
        batch_size,
        shuffle=shuffle,
        drop_last=drop_last,
        rng=7,
        prefetch=prefetch,
    )
    batches = list(loader)
    assert len(batches) == len(loader)
    assert all(type(batch) is tuple for batch in batches)
    sizes = [len(x) for x, _ in batches]
    rest = n % batch_size
    assert sizes == [batch_size] * (n // batch_size) + ([rest] if rest and not drop_last else [])
    seen = np.concatenate([np.empty(0, int), *(x for x, _ in batches)])
    np.testing.assert_array_equal(-seen, np.concatenate([seen[:0], *(y for _, y in batches)]))
    assert len(set(seen)) == len(seen)
    if not shuffle:
        np.testing.assert_array_equal(seen, np.arange(len(seen)))


def test_a_plain_array_is_a_data_set_and_gives_plain_batches():
    x = np.arange(10).reshape(5, 2)
    batches = list(plain_loader(x, 2))
    np.testing.assert_array_equal(np.concatenate(batches), x)


def test_batches_are_read_by_integer_arrays_and_share_no_memory_with_the_data():
    indices = []

    class Watched:
        def __len__(self):
            return 5

        def __getitem__(self, index):
            indices.append(index)
            return index

    list(plain_loader(Watched(), 2))
    assert [i.tolist() for i in indices] == [[0, 1], [2, 3], [4]]
    assert all(i.dtype == np.intp for i in indices)
    x = np.arange(6)
    assert not any(np.shares_memory(batch, x) for batch in plain_loader(x, 2))


def test_same_seed_same_epochs_and_each_epoch_its_own_order():
    first, second = (plain_loader(np.arange(50), 50, shuffle=True, rng=3) for _ in range(2))
    epochs = [[next(iter(loader)).tolist() for _ in range(3)] for loader in (first, second)]
    assert epochs[0] == epochs[1]
    assert len({tuple(order) for order in epochs[0]}) == 3


def test_shuffle_draws_one_permutation_from_the_given_generator():
    rng, twin = np.random.default_rng(11), np.random.default_rng(11)
    (batch,) = plain_loader(np.arange(9), 9, shuffle=True, rng=rng)
    np.testing.assert_array_equal(batch, twin.permutation(9))
    assert rng.bit_generator.state == twin.bit_generator.state


def test_shuffle_without_a_generator_follows_the_global_seed():
    orders = []
    for _ in range(2):
        tape.random.seed(4)
        orders.append(np.concatenate(list(plain_loader(np.arange(9), 2, shuffle=True))).tolist())
    assert orders[0] == orders[1] != list(range(9))
    assert sorted(orders[0]) == list(range(9))


def test_without_shuffle_the_generator_is_not_touched():
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    list(plain_loader(np.arange(9), 2, rng=rng))
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("prefetch", [0, 1, 5])
def test_a_break_changes_no_later_epoch(prefetch):
    def second_epoch(stop_after):
        loader = plain_loader(np.arange(20), 2, shuffle=True, rng=5, prefetch=prefetch)
        for i, _ in enumerate(loader):
            if i == stop_after:
                break
        return np.concatenate(list(loader)).tolist()

    assert second_epoch(0) == second_epoch(4) == second_epoch(99)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0, needs at least 1"),
        ({"batch_size": -3}, "batch_size is -3, needs at least 1"),
        ({"prefetch": -1}, "prefetch is -1, needs at least 0"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(DataError, match=message):
        DataLoader(np.arange(3), **settings)


def test_a_fractional_batch_size_is_a_type_error():
    with pytest.raises(TypeError, match=r"DataLoader: batch_size must be a whole number, got 2\.5"):
        DataLoader(np.arange(3), 2.5)


@pytest.mark.parametrize("wrong", [3, None, {1, 2}, iter([1])])
def test_what_has_no_length_or_index_is_no_data_set(wrong):
    kind = type(wrong).__name__
    with pytest.raises(DataError, match=f"DataLoader: a {kind} is no data set, which needs __len"):
        DataLoader(wrong)


class Fields(NamedTuple):
    x: object
    y: object


@pytest.mark.parametrize("prefetch", [0, 1])
def test_batches_keep_the_form_in_which_their_arrays_come(prefetch):
    x, y = np.arange(6.0).reshape(3, 2), np.arange(3)

    def batch_of(form):
        loader = DataLoader(ArrayDataset(x, y), 3, transform=form, prefetch=prefetch)
        return next(iter(loader))

    for form in (tuple, list, lambda xy: Fields(*xy)):
        batch = batch_of(form)
        assert type(batch) is type(form((x, y)))
        assert [type(part) for part in batch] == [tape.Tensor] * 2
        assert [part.shape for part in batch] == [(3, 2), (3,)]
    same = batch_of(lambda xy: [xy[0], xy[0]])  # of one shape: two tensors all the same
    assert [part.shape for part in same] == [(3, 2), (3, 2)]
    deep = batch_of(lambda xy: {"x": xy[0], "both": Fields(*xy)})
    assert deep["x"].tolist() == x.tolist()
    assert deep["both"].y.tolist() == [0, 1, 2]
    assert batch_of(lambda xy: (xy[0], xy[1].tolist()))[1].tolist() == [0, 1, 2]
    for wrong in ("text", None, {1}, object()):
        with pytest.raises(DataError, match=f"DataLoader: a {type(wrong).__name__} in a batch"):
            batch_of(lambda xy, wrong=wrong: (xy[0], wrong))


@pytest.mark.parametrize(
    "fields", [(np.zeros(3), np.zeros(3)), [1, 2, 3], {"x": np.zeros(3)}, "abc"]
)
def test_loose_fields_are_pointed_to_array_dataset(fields):
    with pytest.raises(DataError, match=f"a {type(fields).__name__} is no data set; use ArrayDat"):
        DataLoader(fields)


def test_transform_gets_the_whole_batch_as_arrays():
    data = ArrayDataset(np.arange(6), np.arange(6))
    loader = plain_loader(data, 4, transform=lambda batch: (batch[0] * 2.0, batch[1]))
    assert [(x.tolist(), y.tolist()) for x, y in loader] == [
        ([0.0, 2.0, 4.0, 6.0], [0, 1, 2, 3]),
        ([8.0, 10.0], [4, 5]),
    ]


def test_batches_are_tensors_of_their_own():
    x, y = np.arange(10, dtype=np.float32).reshape(5, 2), np.arange(5)
    for first, second in DataLoader(ArrayDataset(x, y), 2, prefetch=1):
        assert isinstance(first, tape.Tensor)
        assert (first.dtype, second.dtype) == (x.dtype, y.dtype)
        np.testing.assert_array_equal(first.numpy(), x[second.numpy()])
    (batch,) = DataLoader(x, 5)
    np.testing.assert_array_equal(batch.numpy(), x)


def test_two_heads_on_one_batch_share_what_they_compute():
    kept = []
    loader = DataLoader(np.ones((4, 2), np.float32), 4, transform=lambda b: kept.append(b) or b)
    (batch,) = loader
    w = tape.tensor(np.ones((4, 2), np.float32), requires_grad=True)
    with tape.Tape() as t:
        first, second = batch * w, batch * w
        kept[0][:] = 0
        np.testing.assert_array_equal(second.numpy(), 1)
    assert t.hits == 1
    del first


# Reading ahead


class Counted:
    """Counts its reads; read number `fail_at` raises."""

    def __init__(self, n, fail_at=None):
        self.n, self.fail_at = n, fail_at
        self.reads, self.threads = 0, set()

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        self.threads.add(threading.get_ident())
        self.reads += 1
        if self.reads - 1 == self.fail_at:
            raise OSError("the disk is gone")
        return index


def test_prefetch_reads_in_one_other_thread():
    data = Counted(10)
    assert np.concatenate(list(plain_loader(data, 2, prefetch=3))).tolist() == list(range(10))
    assert len(data.threads) == 1
    assert threading.get_ident() not in data.threads


@pytest.mark.parametrize("prefetch", [1, 3])
def test_prefetch_never_reads_further_than_it_says(prefetch):
    data = Counted(20)
    for i, _ in enumerate(plain_loader(data, prefetch=prefetch), start=1):
        assert data.reads <= i + prefetch


def test_an_exception_in_the_thread_comes_at_its_place_with_its_traceback():
    seen = []
    with pytest.raises(OSError, match="the disk is gone") as caught:
        seen.extend(plain_loader(Counted(10, fail_at=3), 2, prefetch=4))
    assert caught.traceback[-1].name == "__getitem__"
    assert 'raise OSError("the disk is gone")' in "".join(traceback.format_tb(caught.tb))
    del caught
    assert prefetch_threads() == []


def test_batches_before_an_exception_are_given():
    seen = []
    epoch = plain_loader(Counted(10, fail_at=3), 2, prefetch=4)
    with pytest.raises(OSError, match="the disk is gone"):
        seen.extend(epoch)
    assert np.concatenate(seen).tolist() == [0, 1, 2, 3, 4, 5]


def test_a_break_ends_the_thread_and_what_it_had_queued():
    data = Counted(1000)
    for _ in plain_loader(data, prefetch=50):
        assert prefetch_threads() != []
        break
    assert prefetch_threads() == []
    assert data.reads <= 52


def test_an_exception_in_the_loop_ends_the_thread():
    def train():
        for _ in plain_loader(Counted(1000), prefetch=4):
            raise RuntimeError("loss is NaN")

    with pytest.raises(RuntimeError, match="loss is NaN"):
        train()
    assert prefetch_threads() == []


def test_no_thread_is_started_before_the_first_batch_is_asked_for():
    epoch = iter(plain_loader(np.arange(4), prefetch=2))
    assert prefetch_threads() == []
    next(epoch)
    assert len(prefetch_threads()) == 1


def test_two_epochs_at_once_do_not_mix():
    loader = plain_loader(np.arange(10), 3, prefetch=2)
    pairs = list(zip(loader, loader, strict=True))
    assert all((a == b).all() for a, b in pairs)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("in_mid_epoch", [True, False])
def test_a_forked_child_reads_on(in_mid_epoch):
    loader = plain_loader(np.arange(30), 3, prefetch=2)
    epoch = iter(loader)
    expected = list(range(6, 30))
    for _ in range(2):
        next(epoch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns: a thread is running
        child = os.fork()
    if child == 0:
        signal.alarm(60)  # a deadlock becomes an exit status
        try:
            rest = np.concatenate(list(epoch if in_mid_epoch else loader)).tolist()
            os._exit(0 if rest == (expected if in_mid_epoch else list(range(30))) else 1)
        except BaseException:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert np.concatenate(list(epoch)).tolist() == expected
