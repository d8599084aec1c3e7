"""Scopes and what a program does: failures, generators, threads, tasks, lifetimes."""

import asyncio
import contextvars
import gc
import threading
import weakref

import numpy as np
import pytest
from scopes import dense, fc

import tape
from tape import nn
from tape.errors import ScopeError, ShapeError
from tape.nn import init
from tape.nn.parameter import innermost

pytestmark = pytest.mark.usefixtures("names")
X = np.ones((2, 3), "f")


# Failures.


class Interrupted(BaseException):
    pass


def test_scopes_end_with_what_ends_them(names):
    for error in (ValueError, Interrupted):
        with pytest.raises(error), nn.scope("a"), nn.scope("b"):
            raise error
        with nn.scope("c") as path:
            assert path == "c"
    with nn.scope("dense"):
        assert nn.Dense(1, 1).weight.name == "dense/dense/weight"


def test_a_layer_that_fails_leaves_nothing_behind(names):
    def interrupts(shape, rng, dtype):
        raise Interrupted

    with nn.scope("net", reuse="auto"):
        for wrong, error in [(3, TypeError), (interrupts, Interrupted), (lambda *_: 0, ShapeError)]:
            with pytest.raises(error):
                nn.Dense(3, 2, init_bias=wrong)
            assert list(names) == []
        assert nn.Dense(3, 2).weight.name == "net/dense/weight"
    with pytest.raises(ScopeError), nn.scope("typo", reuse=True):
        nn.Dense(3, 2)
    with pytest.raises(ScopeError), nn.scope("net", reuse=True):
        nn.parameter("typo/w", ())
    assert list(names) == ["net/dense/weight", "net/dense/bias"]
    with nn.scope(default_name="typo") as path:
        assert path == "typo"
    with nn.scope("net", reuse="auto"), nn.scope(default_name="typo") as path:
        assert path == "net/typo"


def test_a_scope_that_fails_leaves_a_place_to_who_else_is_there(names):
    def inside():
        with names, nn.scope("p", reuse="auto"):
            yield
            yield nn.parameter("w", ())

    steps = inside()
    with pytest.raises(ZeroDivisionError), nn.scope("p"):
        next(steps) or 1 / 0
    w = next(steps)
    assert names["p/w"] is w


def test_an_initialiser_may_make_other_names_but_not_the_same(names):
    def makes(name):
        return lambda shape, rng, dtype: nn.parameter(name, shape, init.ones, dtype).numpy()

    with nn.scope("a"):
        assert nn.parameter("outer", (2,), makes("inner")).tolist() == [1.0, 1.0]
        with pytest.raises(ScopeError, match=r"^a/x was made by its own initialiser"):
            nn.parameter("x", (2,), makes("x"))
    assert list(names) == ["a/inner", "a/outer", "a/x"]


def test_a_call_that_fails_takes_back_what_it_made(names):
    class Net(nn.Module):
        def forward(self, x):
            with nn.scope("net", reuse="auto"):
                w = nn.parameter("w", (2, x.shape[1]))
                h = nn.Dense(2)(x @ w.T) + nn.Dense(2, x.shape[1])(x)
            return h + np.ones((x.shape[0], 2 + x.shape[1] % 2), "f")

    net = Net()
    with pytest.raises(ShapeError):
        net(tape.tensor(X))
    assert list(names) == []
    net(tape.ones((1, 4)))
    assert names["net/w"].shape == (2, 4)
    kept = list(names.values())
    with pytest.raises(tape.TapeError):
        net(tape.tensor(X))
    assert all(a is b for a, b in zip(kept, names.values(), strict=True))


def test_a_size_that_a_failed_call_settled_waits_again(names):
    waiting = dense(n_in=None)

    class Net(nn.Module):
        def forward(self, x):
            dense(reuse=True, n_in=x.shape[1])
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        Net()(X)
    assert names["fc/dense/weight"] is waiting.weight
    assert waiting.weight.shape == (3, None)
    dense(reuse=True, n_in=5)
    assert names["fc/dense/weight"].shape == (3, 5)


# Decorators, generators, threads, tasks.


def test_a_decorated_function_runs_in_its_scope(names):
    @nn.scope("net", reuse="auto")
    def apply(n, depth=0):
        "Words."
        path = nn.parameter("w", ()).name
        return [path, *(apply(n, depth + 1) if depth < n else [])]

    assert apply(2) == ["net/w", "net/net/w", "net/net/net/w"]
    assert apply.__doc__ == "Words."
    with nn.scope("a"):
        assert apply(0) == ["a/net/w"]
    assert apply(0) == ["net/w"]
    assert len(names) == 4

    @nn.scope(default_name="own")
    def own():
        return nn.parameter("w", ())

    assert [own().name, own().name] == ["own/w", "own_1/w"]

    async def later():
        pass

    async def steps():
        yield

    for function in (later, steps):
        with pytest.raises(TypeError, match=r"open it inside of the asynchronous function"):
            nn.scope("a")(function)


def test_a_decorated_generator_runs_in_its_scope_step_by_step(names):
    @nn.scope("net")
    def layers(n):
        for _ in range(n):
            got = yield nn.Dense(1, 1)
            if got:
                yield got
        return "done"

    with nn.scope("a"):
        steps = layers(3)
        assert next(steps).weight.name == "a/net/dense/weight"
    assert nn.parameter("outside", ()).name == "outside"
    with nn.scope("b"):
        assert next(steps).weight.name == "a/net/dense_1/weight"
        assert nn.parameter("w", ()).name == "b/w"
        assert steps.send("sent") == "sent"
    next(steps)
    with pytest.raises(StopIteration, match="done"):
        next(steps)
    with pytest.raises(ScopeError, match=r"^a/net/dense/weight exists"), nn.scope("a"):
        next(layers(1))
    closing = layers(2)
    next(closing)
    closing.close()
    with nn.scope("c") as path:
        assert path == "c"


def test_a_scope_in_a_generator_may_be_closed_late_or_elsewhere(names):
    def inside():
        with nn.scope("held"):
            yield nn.parameter(None, ()).name

    steps = inside()
    assert next(steps) == "held/parameter"
    with nn.scope("a") as path:
        assert path == "held/a"
        steps.close()
        assert nn.parameter("w", ()).name == "held/a/w"
    with nn.scope("b") as path:
        assert path == "b"

    steps = inside()
    with nn.scope("c"):
        next(steps)
        thread = threading.Thread(target=steps.close)
        thread.start()
        thread.join()
        assert nn.parameter("w", ()).name == "c/w"


def test_one_scope_object_serves_again_and_within_itself(names):
    shared = nn.scope("s", reuse="auto")
    with shared as a, shared as b:
        assert (a, b) == ("s", "s/s")
    with shared as a:
        assert a == "s"
        w = nn.parameter("w", ())
    with shared:
        assert nn.parameter("w", ()) is w


def test_a_thread_begins_outside_of_scopes_and_has_its_own(names):
    found, barrier = {}, threading.Barrier(4)

    def work(i):
        before = nn.root()
        with names, nn.scope(f"t{i}"):
            barrier.wait()
            found[i] = [nn.parameter(None, ()).name for _ in range(50)]
            barrier.wait()
        found[i].append(before is names)

    with nn.scope("around"):
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert nn.parameter("w", ()).name == "around/w"
    for i in range(4):
        numbers = ["parameter", *(f"parameter_{k}" for k in range(1, 50))]
        assert found[i] == [*(f"t{i}/{name}" for name in numbers), False]


def test_a_copied_context_does_not_bring_a_scope_into_another_thread(names):
    found = []
    with nn.scope("a"):
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(lambda: found.append(nn.root()),))
        thread.start()
        thread.join()
        assert nn.root() is names
    assert found[0] is not names


def test_threads_that_ask_for_one_name_get_one_parameter(names):
    barrier, found = threading.Barrier(4), []

    def work():
        with names:
            for i in range(50):
                barrier.wait()
                with nn.scope(f"s{i}", reuse="auto"):
                    found.append((i, id(nn.Dense(2, 2).weight)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 50
    assert len(names) == 100


def test_tasks_do_not_see_each_others_scopes(names):
    async def work(name):
        with nn.scope(name):
            await asyncio.sleep(0)
            w = nn.parameter("w", ()).name
            await asyncio.sleep(0)
            return w

    async def all_of_them():
        return await asyncio.gather(*[work(name) for name in "abc"])

    assert asyncio.run(all_of_them()) == ["a/w", "b/w", "c/w"]


# Lifetimes.


def test_what_has_no_name_dies_with_its_last_user_and_what_has_one_with_its_root(nothing_left):
    with nn.Root() as root:
        with nn.scope():
            own = weakref.ref(nn.Dense(2, 2))
        plain = nn.Dense(2, 2)
        before = tape.live_nodes()
        assert own() is None
        for _ in range(100):
            with nn.scope(default_name="own"):
                nn.Sequential(nn.Dense(2, 2), nn.BatchNorm1d(2))(np.ones((2, 2), "f"))
            nn.Dense(2, 2)
        assert tape.live_nodes() == before
        assert list(root) == []
        with nn.scope("kept", reuse="auto"):
            nn.Dense(2, 2)
        assert tape.live_nodes() == before + 2
        root.clear()
        assert tape.live_nodes() == before
        with nn.scope("kept"):
            layer = nn.Dense(2, 2)
        with pytest.raises(ScopeError), nn.scope("kept"):
            nn.Dense(2, 2)
    del root
    assert layer.weight.name == "kept/dense/weight"
    del layer, plain


@pytest.mark.usefixtures("_frozen")
def test_scopes_make_no_cycles():
    gc.collect()
    gc.disable()
    try:
        with nn.Root() as root:
            for reuse in (False, True, "auto"):
                with nn.scope("a", reuse=reuse), nn.scope(), nn.scope("b/c"):
                    nn.Dense(2)(X), nn.parameter("w", ()), nn.parameter(None, ())
            nn.scope("f")(lambda: nn.Dense(1, 1))()
            list(nn.scope("g")(lambda: (yield nn.Dense(1, 1)))())
        del root
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_ten_thousand_steps_of_a_function_with_scopes_keep_nothing(names):
    x = tape.tensor(X)

    def step():
        fc(x, 2, "named").sum().backward()
        fc(x, 2)

    def size():
        level = innermost()
        return len(level.layers) + len(level.counters) + len(level.tree.top.members)

    for _ in range(10):
        step()
    gc.collect()
    before = tape.live_nodes(), size(), len(gc.get_objects())
    for _ in range(10_000):
        step()
    gc.collect()
    assert (tape.live_nodes(), size()) == before[:2]
    assert len(gc.get_objects()) < before[2] + 200
    with nn.scope(default_name="fc") as path:
        assert path == "fc_10010"


def test_a_root_is_a_mapping_of_what_was_made(names):
    layer = dense()
    assert dict(names) == {"fc/dense/weight": layer.weight, "fc/dense/bias": layer.bias}
    assert repr(names) == "Root(fc/dense/weight, fc/dense/bias)"
    assert names.get("fc") is None
    assert 3 not in names
    with pytest.raises(KeyError, match=r"did you mean fc/dense/weight"):
        names["fc/dense/wieght"]
    with pytest.raises(KeyError, match=r"nothing is called 3"):
        names[3]
    other = nn.Root()
    assert other != names
    assert len({other, names}) == 2
    with other:
        assert nn.root() is other
        assert dense().weight is not layer.weight
    assert nn.root() is names


def test_state_loads_into_what_waits_and_keeps_its_name(names):
    with nn.scope("a"):
        layer = nn.Dense(2)
    layer.load_state_dict({"weight": np.ones((2, 3), "f"), "bias": np.zeros(2, "f")})
    assert names["a/dense/weight"] is layer.weight
    assert layer.weight.name == "a/dense/weight"
