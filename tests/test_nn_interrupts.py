"""Ctrl-C at any moment, other threads and forks: nothing is half changed, nobody waits forever."""

import os
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from trees import learning, normal, ones, values_of

import tape
from tape import nn, optim
from tape.nn.parameter import innermost

# Ctrl-C in what Python calls when an object dies is written to the terminal, and no more.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def build():
    tie = nn.Dense(4, 4)
    blocks = [nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.1), nn.Dense(4, 4), tie)] * 2
    return nn.Sequential(tie, [nn.Sequential(nn.Dense(4, 4), tie) for _ in range(20)], blocks)


def seen(model):
    modes = [(module.is_frozen, module.training) for module in model.modules()]
    return modes, learning(model), values_of(model)


def interrupted(change, check, times=60):
    """Call `change` so often, each time with Ctrl-C at another moment, and `check` afterwards."""
    change()
    start = time.perf_counter()
    change()
    whole = time.perf_counter() - start
    n = 0
    for i in range(times):
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, max(1e-6, whole * (i + 1) / times))
                change()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            n += 1
        check()
    assert n


ACTIONS = {
    "freeze": lambda model: model.freeze(),
    "unfreeze": lambda model: model.unfreeze(),
    "eval": lambda model: model.eval(),
    "load": lambda model: model.load_state_dict(ZEROS),
    "clone": lambda model: model.clone("constant"),
    "replace": lambda model: nn.replace(model, "1.*", lambda old: nn.Flatten()),
}
ZEROS = {path: np.zeros_like(array) for path, array in build().state_dict().items()}


@pytest.mark.usefixtures("alarms_are_ctrl_c")
@pytest.mark.parametrize("name", ACTIONS)
def test_a_tree_is_changed_as_a_whole_or_not_at_all(name):
    model, action = build(), ACTIONS[name]
    if name == "unfreeze":
        model.freeze()
    done = model.clone()
    action(done)
    either = [seen(model), seen(done)]
    trees = []

    def change():
        trees.append(model.clone())
        action(trees[-1])

    interrupted(change, lambda: [either.index(seen(tree)) for tree in trees] and trees.clear())


@pytest.mark.usefixtures("alarms_are_ctrl_c")
def test_an_optimizer_follows_as_a_whole_or_not_at_all():
    model = build()
    optimizer = optim.Adam(model.parameters())
    models = [model, nn.replace(model, "0", nn.Dense(4, 4))]

    def held():
        (group,) = optimizer.param_groups
        assert [id(t) for t in group["params"]] == [id(t) for t in group.track.tensors]
        return {id(t) for t in group["params"]}

    def change():
        now = held() == {id(t) for t in models[1].parameters()}
        optimizer.follow(models[now], models[not now])

    either = [{id(t) for t in m.parameters()} for m in models]
    interrupted(change, lambda: either.index(held()))


@pytest.mark.usefixtures("alarms_are_ctrl_c")
def test_no_scope_stays_open():
    def change():
        with nn.Root(), nn.scope("a", reuse="auto"):
            for i in range(20):
                with nn.scope(f"b{i}"):
                    nn.parameter("w", (2, 2))

    def check():
        assert innermost() is None

    interrupted(change, check, times=300)


@pytest.mark.usefixtures("alarms_are_ctrl_c")
def test_no_scope_of_a_decorated_generator_stays_open():
    @nn.scope("a", reuse="auto")
    def steps():
        for i in range(20):
            yield nn.parameter(f"w{i}", (2, 2))

    def change():
        with nn.Root():
            list(steps())

    def check():
        assert innermost() is None

    interrupted(change, check, times=100)


def together(works):
    """Run the functions in threads that take turns very often."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)


def test_threads_in_one_root_close_their_own_scopes():
    names, wrong = nn.Root(), []

    def work():
        for _ in range(3000):
            with names, nn.scope("a", reuse="auto"):
                name = nn.parameter("w", (2,)).name
            if name != "a/w" or innermost() is not None:
                wrong.append(name)
                return

    together([work] * 4)
    assert not wrong
    assert list(names) == ["a/w"]


def in_a_fork(work):
    """The exit status of a forked process that does the work; a deadlock becomes one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns: threads are running
        child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@FORKS
def test_a_fork_while_another_thread_is_making_a_parameter_does_not_wait_for_it():
    names, rng = nn.Root(), np.random.default_rng(0)
    begun, go_on = threading.Event(), threading.Event()

    def slow(shape, rng, dtype):
        begun.set()
        go_on.wait()
        return np.zeros(shape, dtype)

    def make(init=None):
        with names, nn.scope("a", reuse="auto"):
            return nn.parameter("w", (2, 2), init, rng=rng)

    thread = threading.Thread(target=make, args=(slow,))
    thread.start()
    begun.wait()
    status = in_a_fork(make)
    go_on.set()
    thread.join()
    assert status == 0
    assert names["a/w"].tolist() == [[0.0, 0.0], [0.0, 0.0]]


@FORKS
def test_a_fork_has_a_cache_that_another_thread_was_using():
    cached = nn.cache(nn.Dense(2, 2).freeze())
    x = normal(3, 2)
    want = cached(x, key=range(3)).tolist()
    with cached._rows.lock:
        status = in_a_fork(lambda: waits_not(cached, x, want))
    assert status == 0


def waits_not(cached, x, want):
    found = []
    thread = threading.Thread(target=lambda: found.append(cached(x, key=range(3)).tolist()))
    thread.start()
    thread.join()
    assert found == [want]


def test_threads_freeze_and_thaw_one_model_that_others_clone_and_run():
    model, wrong = build().eval(), []
    model.train()

    def repeat(action):
        def work():
            try:
                for _ in range(100):
                    action()
            except BaseException as error:
                wrong.append(error)

        return work

    together(
        [
            repeat(lambda: model.freeze().unfreeze()),
            repeat(lambda: model.clone().load_state_dict(model.state_dict())),
            repeat(lambda: nn.replace(model, "0", nn.Dense(4, 4))),
            repeat(lambda: model(ones((3, 4)))),
            repeat(lambda: repr(model)),
        ]
    )
    assert not wrong
    assert all(p.requires_grad for p in model.parameters())
    with tape.no_grad():
        assert model(ones((3, 4))).shape == (3, 4)
