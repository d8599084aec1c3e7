"""Node reuse: what is handed out again, what never is, and how long."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tape
from tape import shapes
from tape.errors import ShapeError

pytestmark = pytest.mark.usefixtures("nothing_left")


@tape.op(shape=shapes.same, linear=True)
def scaled(x, /, by=1.0, *, label=None):
    """by * x, whatever the label."""
    return x * 1.0 if isinstance(by, (str, tuple)) else np.copysign(x, by) * abs(by)


@tape.op(shape=lambda *xs: xs[0])
def chosen(*xs, i=0):
    """The i-th operand."""
    return np.asarray(xs[i]) * 1


def counts(function):
    """(evaluations, hits) of a function."""
    with tape.Tape() as t:
        kept = function()
    del kept
    return t.evaluations, t.hits


def test_a_shared_trunk_called_twice_runs_once_forward_and_backward():
    x, w = tape.tensor(np.ones((2, 2))), tape.tensor(np.eye(2), requires_grad=True)
    with tape.Tape() as t:
        losses = [tape.tanh(x @ w).sum() for _ in range(2)]
        assert (t.evaluations, t.hits) == (3, 3)
        evaluated = t.evaluations
        (losses[0] + losses[1]).backward()
        once = t.evaluations - evaluated
    alone = tape.tanh(x @ w).sum() * 2.0
    with tape.Tape() as t:
        alone.backward()
    assert once <= t.evaluations + 1  # the sum of the losses instead of the product


def test_one_reuse_scope_may_be_entered_again():
    x = tape.ones(2)
    before = tape.live_nodes()

    scope, off = tape.reuse(), tape.reuse(False)
    off.__enter__()
    off.__exit__()
    for _ in range(2):
        with tape.Tape() as t:
            with scope:
                with scope:
                    tape.exp(x)
                tape.exp(x)
            assert (t.evaluations, t.hits) == (1, 1)
            tape.exp(x)
            assert t.evaluations == 2
        del t
        assert tape.live_nodes() == before
        with tape.Tape() as t, off, off:
            y = tape.exp(x), tape.exp(x)
        assert (t.evaluations, t.hits) == (2, 0)
        assert counts(lambda: (tape.exp(x), tape.exp(x))) == (1, 1)
        del t, y


def test_a_reuse_block_around_a_gradient_keeps_no_cotangent_and_changes_no_bit():
    """It kept them all, so that sums were not made in place, and rounded otherwise."""
    table = tape.tensor(np.random.default_rng(0).standard_normal((3, 5)), "float32", True)
    rows = [tape.tensor([0, 1, 1]), tape.tensor([1, 1, 2]), tape.tensor([1, 0, 1])]
    found = []
    for around in (lambda: tape.reuse(False), tape.reuse):
        with around():
            loss = sum(tape.exp(tape.embedding(i, table)).sum() * 0.3 for i in rows)
            before = tape.live_nodes()
            (g,) = tape.grad(loss, [table])
            held = tape.live_nodes() - before
        found.append((g.numpy().tobytes(), held))
        del loss, g
    assert found[0] == found[1]


def test_a_dead_result_is_gone_and_its_memory_too():
    x = tape.tensor([1.0, 2.0])
    before = tape.live_nodes()
    with tape.Tape() as t:
        y = tape.exp(x)
        del y
        assert tape.live_nodes() == before
        tape.exp(x)
    assert (t.evaluations, t.hits) == (2, 0)


NUMBERS = [1, 1.0, True, 0, 0.0, -0.0, False, float("nan"), float("inf"), 2, -1, 2**31]
BIG = [2**64, 2**64 + 2**61 - 1, 2**63, -(2**63), -(2**63) - 1, 2**100]


@pytest.mark.parametrize("numbers", [NUMBERS, BIG], ids=["words", "longer"])
def test_numbers_are_told_apart_by_type_and_bits(numbers):
    x = tape.tensor([2.0, -3.0])
    kept = [(n, tape.multiply(x, n)) for n in numbers]
    for n, y in kept:
        with tape.reuse(False):
            fresh = tape.multiply(x, n)
        np.testing.assert_array_equal(y, fresh)
        np.testing.assert_array_equal(np.signbit(y.numpy()), np.signbit(fresh.numpy()))
    assert len({y.serial for _, y in kept}) == len(kept)
    again = [tape.multiply(x, n).serial == y.serial for n, y in kept]
    assert again == [-(2**63) <= n < 2**63 or n != n or n == float("inf") for n in numbers]


def test_nan_equals_itself_as_a_key():
    x = tape.tensor([1.0])
    assert counts(lambda: [x * float("nan") for _ in range(3)]) == (1, 2)


SETTINGS = [1, 1.0, True, 0.0, -0.0, np.float64(0.0), np.float64(-0.0), "1", (1,), (1.0,), None]


def test_settings_are_told_apart_by_type_and_bits():
    x = tape.tensor([1.0])
    serials = {scaled(x, label=s).serial: s for s in SETTINGS}
    kept = [scaled(x, label=s) for s in SETTINGS]
    assert len({y.serial for y in kept}) == len(SETTINGS)
    assert [scaled(x, label=s).serial for s in SETTINGS] == [y.serial for y in kept]
    assert len(serials) <= len(SETTINGS)
    a, b = scaled(x, np.float64(0.0)), scaled(x, np.float64(-0.0))
    assert np.signbit(a.numpy()).tolist() == [False]
    assert np.signbit(b.numpy()).tolist() == [True]


def test_nested_settings_lists_and_slices_are_keys_too():
    x = tape.tensor([1.0])
    pairs = [
        ([1, [2, 3]], (1, (2, 3)), True),
        ((slice(0, 2),), (slice(0, 2),), True),
        ((slice(0, 2),), (slice(0, 2.0),), False),
        (((0.0,),), ((-0.0,),), False),
        ((1, 2), (1, 2, 3), False),
        ((float("nan"),), (float("nan"),), True),
    ]
    for a, b, equal in pairs:
        y, z = scaled(x, label=a), scaled(x, label=b)
        assert (y.serial == z.serial) == equal, (a, b)


def test_an_unhashable_setting_is_named():
    with pytest.raises(TypeError, match="scaled: setting 'label' must be hashable, a dict is not"):
        scaled(tape.tensor([1.0]), label={})


def test_positional_named_and_default_settings_are_one_key():
    x = tape.tensor([1.0])
    calls = [lambda: scaled(x), lambda: scaled(x, 1.0), lambda: scaled(x, by=1.0, label=None)]
    assert counts(lambda: [call() for call in calls]) == (1, 2)


@pytest.mark.parametrize("n", [1, 2, 4, 5, 15, 16, 17, 31, 33, 64, 65, 100, 300])
def test_keys_of_many_operands(n):
    xs = [tape.tensor([float(i)]) for i in range(n)]
    y = chosen(xs, i=n - 1)
    assert y.serial == chosen(xs, i=n - 1).serial
    assert y.serial == chosen(*xs, i=n - 1).serial
    assert y.tolist() == [n - 1]
    numbers = [float(i) for i in range(n)]
    z = chosen(*numbers)
    assert z.serial == chosen(*numbers).serial
    for change in range(n):
        other = [*numbers[:change], -1.0, *numbers[change + 1 :]]
        assert chosen(*other).serial != z.serial
    others = [*xs[:-1], tape.tensor([0.0])]
    assert chosen(others, i=n - 1).serial != y.serial
    swapped = xs[::-1]
    assert n == 1 or chosen(swapped, i=0).serial != chosen(xs, i=0).serial


def test_more_settings_and_operands_than_a_call_holds_on_its_stack():
    names = [f"s{i}" for i in range(30)]
    scope = {"shapes": shapes}
    exec(f"def many(*xs, {', '.join(f'{n}=0' for n in names)}): return xs[0] + {names[-1]}", scope)
    many = tape.op(shape=lambda *xs: xs[0])(scope["many"])
    xs = [tape.tensor([1.0]) for _ in range(70)]
    y = many(xs, s29=5)
    assert y.tolist() == [6]
    assert many(xs, s29=5).serial == y.serial
    assert many(xs, s29=6).tolist() == [7]


def test_borrowed_memory_is_computed_with_anew_each_time():
    a = np.array([1.0, 2.0])
    x = tape.asarray(a)
    y = tape.exp(x)
    a[0] = 0
    assert tape.exp(x).tolist()[0] == 1
    assert y.tolist()[0] != 1
    view = x.reshape((1, 2))
    z = view * 2
    a[0] = 5
    assert (view * 2).tolist() == [[10, 4]]
    assert z.tolist() == [[0, 4]]


def test_what_is_computed_from_borrowed_memory_is_reused_further_on():
    y = tape.exp(tape.asarray(np.ones(3)))
    assert counts(lambda: [y * 2, y * 2]) == (1, 1)


def test_assigning_makes_a_key_that_no_one_has_seen():
    x = tape.tensor([1.0, 2.0])
    y = tape.exp(x)
    x.assign([1.0, 2.0])
    assert tape.exp(x).serial != y.serial
    x.requires_grad_()
    assert tape.exp(x).serial != y.serial
    assert tape.exp(x).requires_grad


def test_a_recycled_address_is_not_mistaken_for_what_lived_there():
    keep = []
    for i in range(5000):
        x = tape.tensor([float(i)])
        y = x * 2
        assert y.item() == 2 * i
        if i % 50 == 0:
            keep.append(y)


def test_no_gradient_results_and_graph_results_do_not_stand_in_for_each_other():
    x = tape.tensor([1.0, 2.0], requires_grad=True)
    with tape.no_grad():
        a = tape.exp(x)
    b = tape.exp(x)
    with tape.no_grad():
        c = tape.exp(x)
    assert (a.requires_grad, b.requires_grad, c.requires_grad) == (False, True, False)
    assert a.serial == c.serial != b.serial
    b.sum().backward()
    assert x.grad is not None


def test_consumed_results_leave_the_table():
    x = tape.tensor([1.0, 2.0], requires_grad=True)
    y = tape.exp(x)
    y.sum().backward()
    z = tape.exp(x)
    assert z.serial != y.serial
    z.sum().backward()
    np.testing.assert_array_equal(x.grad, 2 * z.detach())


def test_refused_and_failing_calls_are_not_listed():
    x = tape.tensor([1.0, 2.0])
    fails = [True]

    @tape.op(shape=shapes.same)
    def moody(x, /):
        if fails.pop():
            raise OSError
        return x + 1

    with tape.Tape() as t:
        with pytest.raises(OSError):  # noqa: PT011
            moody(x)
        with pytest.raises(ShapeError):
            x + tape.tensor([1.0, 2.0, 3.0])
        assert (t.evaluations, t.hits, t.nodes) == (0, 0, [])
        fails.append(False)
        assert moody(x).tolist() == [2, 3]


# -- scopes ---------------------------------------------------------------------------------------


def test_the_reuse_scope_keeps_results_alive_until_it_ends():
    x = tape.tensor([1.0, 2.0])
    before = tape.live_nodes()
    with tape.Tape() as t, tape.reuse():
        tape.exp(x).sum()
        tape.exp(x).sum(axis=0, keepdims=True)
        with tape.reuse():
            tape.exp(x)
        assert (t.evaluations, t.hits) == (3, 2)
        tape.exp(x)
        assert t.hits == 3
    assert tape.live_nodes() == before
    assert t.nodes == []


def test_reuse_can_be_switched_off_and_on():
    x = tape.tensor([1.0, 2.0])
    with tape.reuse(False):
        assert counts(lambda: [tape.exp(x), tape.exp(x)]) == (2, 0)
        with tape.reuse(True):
            assert counts(lambda: [tape.exp(x), tape.exp(x)]) == (1, 1)
        assert counts(lambda: [tape.exp(x), tape.exp(x)]) == (2, 0)
    assert counts(lambda: [tape.exp(x), tape.exp(x)]) == (1, 1)
    tape.reuse(False)
    try:
        assert counts(lambda: [tape.exp(x), tape.exp(x)]) == (2, 0)
    finally:
        tape.reuse(True)


def test_scopes_are_left_by_exceptions_too():
    x = tape.tensor([1.0])
    for scope in (tape.reuse, tape.Tape, tape.no_grad, lambda: tape.reuse(False)):
        with pytest.raises(KeyError), scope():
            raise KeyError
    with tape.Tape() as t:
        y, z = tape.exp(x), tape.exp(x)
    assert (t.evaluations, t.hits) == (1, 1)
    assert tape.is_recording()
    del y, z


def test_a_tape_of_ones_own_sees_its_own_results_only():
    x = tape.tensor([1.0, 2.0], requires_grad=True)
    outside = tape.exp(x)
    with tape.Tape() as t:
        inside = tape.exp(x)
        assert inside.serial != outside.serial
        with tape.Tape() as nested:
            tape.exp(x)
        product = inside * 2.0
    assert (t.evaluations, t.hits, nested.evaluations) == (2, 0, 1)
    assert [n.serial for n in t.nodes] == [inside.serial, product.serial]
    assert t.bytes == inside.nbytes + product.nbytes
    assert str(tape.graph.plot(t.nodes)).count("->") == 2
    assert tape.exp(x).serial == outside.serial
    t.hits  # noqa: B018
    del inside, product
    assert t.nodes == []


# -- the table ------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 400))
def test_the_table_finds_all_that_live_and_nothing_else(seed, room):
    rng = np.random.default_rng(seed)
    leaves = [tape.tensor([float(i)]) for i in range(40)]
    alive = {}
    with tape.Tape() as t:
        for _ in range(1500):
            i, j = rng.integers(0, 40, 2)
            before = t.evaluations
            y = tape.multiply(leaves[i], leaves[j])
            assert (t.evaluations == before) == ((i, j) in alive)
            assert y.item() == i * j
            alive[i, j] = y
            while len(alive) > room:
                key = list(alive)[rng.integers(len(alive))]
                del alive[key], y
                y = None
        assert {n.serial for n in t.nodes} == {n.serial for n in alive.values()}
        for (i, j), y in alive.items():
            assert tape.multiply(leaves[i], leaves[j]).serial == y.serial
        del y
        alive.clear()
        assert t.nodes == []


def test_thousands_of_live_results_come_and_go_in_waves():
    x = tape.tensor([1.0])
    with tape.Tape() as t:
        for n in (10, 3000, 100, 6000, 1):
            kept = [x * float(i) for i in range(n)]
            assert len(t.nodes) == n
            assert len({(x * float(i)).serial for i in range(n)}) == n
            assert t.hits >= n
            del kept
            assert t.nodes == []


def test_each_thread_has_a_table_and_switches_of_its_own():
    x = tape.tensor([1.0, 2.0], requires_grad=True)
    y = tape.exp(x)
    seen = []

    def work():
        z = tape.exp(x)
        seen.append((z.serial == y.serial, tape.is_recording(), z.requires_grad))

    with tape.no_grad(), tape.reuse(False):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert seen == [(False, True, True)]
    assert tape.exp(x).serial == y.serial


# -- spent nodes: recorded, without a value, found again -------------------------------------------


def two_layers(x, weights):
    for w, b in weights:
        x = tape.tanh(x @ w.mT + b)
    return x


def weights_of(n_layers, n=3):
    rng = np.random.default_rng(0)
    return [
        [tape.tensor(rng.standard_normal(s), requires_grad=True) for s in ((n, n), (n,))]
        for _ in range(n_layers)
    ]


@pytest.mark.parametrize("frozen", [False, True])
def test_a_trunk_of_layers_called_twice_is_found_again_op_by_op(frozen):
    x, weights = tape.tensor(np.ones((2, 3))), weights_of(3)
    if frozen:  # a bias: what does not need a gradient must not break the chain
        weights[1][1].requires_grad_(False)
    with tape.Tape() as t:
        first = two_layers(x, weights).sum()
        n, held = t.evaluations, t.bytes
        second = two_layers(x, weights).sum(axis=0)
        assert t.evaluations == n + 1
        assert t.bytes == held + second.nbytes
    del first


def spent_product():
    """An op's leaf operands and a handle on their recorded product whose value is gone."""
    a = tape.tensor([1.0, 2.0], requires_grad=True)
    b = tape.tensor([3.0, 4.0])
    root = tape.multiply(a, b).reshape((1, 2)) + 0.0
    return a, b, root


def test_the_value_of_a_spent_node_can_be_read():
    a, b, root = spent_product()
    with tape.Tape():
        pass
    y = tape.multiply(a, b)
    facts = (y.shape, y.ndim, y.size, y.nbytes, y.dtype, y.requires_grad, y.op.name)
    assert facts == ((2,), 1, 2, 8, np.float32, True, "multiply")
    del a, b
    assert y.tolist() == [3, 8]
    del root
    assert y.numpy().tolist() == [3, 8]


def test_a_spent_node_may_be_an_operand_of_something_new():
    a, b, root = spent_product()
    with tape.reuse(False):
        fresh = tape.exp(tape.multiply(a, b))
    y = tape.exp(tape.multiply(a, b))
    np.testing.assert_array_equal(y, fresh)
    (y.sum() + root.sum()).backward()
    np.testing.assert_array_equal(a.grad, (fresh * b + b).detach())


@pytest.mark.parametrize(
    "read",
    [
        lambda y: y.item(),
        lambda y: bool(y),
        lambda y: repr(y),
        lambda y: y.detach(),
        lambda y: np.array(y),
        lambda y: tape.tensor(y),
        lambda y: y.__iadd__(1),
        lambda y: y.assign([0.0]),
        lambda y: tape.grad(y, y, g=y),
    ],
)
def test_a_spent_node_is_like_any_other(read):
    a = tape.tensor([2.0], requires_grad=True)
    root = (a * 3.0) + 0.0
    read(a * 3.0)
    root.backward()
    assert a.grad.tolist() == [3]


def test_a_spent_node_forgets_its_operands_with_its_last_handle():
    a, b, root = spent_product()
    before = tape.live_nodes()
    for _ in range(3):
        y = tape.multiply(a, b)
        view = b.numpy()
        del view, y
    assert tape.live_nodes() == before
    where = b.numpy().ctypes.data
    y = tape.multiply(a, b)
    y.tolist()
    b.assign([0.0, 0.0])
    assert y.tolist() == [3, 8]
    assert b.numpy().ctypes.data != where
    del root


def test_a_failure_while_a_spent_node_is_computed_again_can_be_retried():
    fail = [False]

    @tape.op(shape=shapes.same)
    def moody(x, /):
        if fail[0]:
            raise OSError
        return x * 2

    moody.defvjp(lambda g: g * 2.0)
    x = tape.tensor([1.0], requires_grad=True)
    root = moody(x) + 0.0
    fail[0] = True
    y = moody(x)
    with pytest.raises(OSError):  # noqa: PT011
        y.tolist()
    with pytest.raises(OSError):  # noqa: PT011
        tape.exp(y)
    fail[0] = False
    assert y.tolist() == [2]
    root.backward()
    assert x.grad.tolist() == [2]


def test_a_deep_chain_of_spent_nodes_is_found_read_and_freed_without_recursion():
    x = tape.tensor([1.0], requires_grad=True)

    def chain():
        y = x
        for _ in range(60_000):
            y = y + 1.0
        return y

    root = chain() + 0.0
    before = tape.live_nodes()
    y = chain()
    assert tape.live_nodes() == before
    del y
    y = chain()
    assert y.item() == 60_001
    del root, y
