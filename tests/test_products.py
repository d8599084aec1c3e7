"""The C kernels for products: every instruction set of this machine, against exact sums."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from isas import ISAS, beside_a_guard, disassembly, needs_avx512, needs_objdump
from layouts import laid_out

import tape
from tape._kernels import conv, table
from tape._kernels.activation import RELU
from tape._kernels.product import MatrixProduct
from tape.ops.linalg import outer_sum

pytestmark = pytest.mark.usefixtures("kernels_as_before")
EPS = {"float32": 2.0**-24, "float64": 2.0**-53}


def product(a, b):
    with tape.reuse(False):
        return (tape.asarray(a) @ tape.asarray(b)).numpy()


def close_enough(y, a, b):
    """Each element within gamma_k |a| |b| of the sum in a wider type."""
    wide = np.longdouble if a.dtype == np.float64 else np.float64
    k, u = a.shape[-1], EPS[str(a.dtype)]
    error = np.abs(y - a.astype(wide) @ b.astype(wide))
    bound = k * u / (1 - k * u) * (np.abs(a).astype(wide) @ np.abs(b).astype(wide))
    return bool((error <= bound).all())


sizes = st.one_of(st.integers(0, 40), st.sampled_from([63, 64, 65, 128, 130, 513, 600]))
layouts = st.sampled_from(["C", "F", "reversed", "strided", "stretched"])


def laid(rng, shape, dtype, layout):
    """Random numbers of a shape in memory in one of several ways."""
    m, n = shape
    x = rng.standard_normal(shape).astype(dtype)
    if layout == "F":
        return np.asfortranarray(x)
    if layout == "reversed":
        return x[::-1, ::-1]
    if layout == "strided":
        return rng.standard_normal((2 * m, 3 * n)).astype(dtype)[::2, ::3]
    if layout == "stretched":
        return np.broadcast_to(rng.standard_normal((1, n)).astype(dtype), shape)
    return x


@pytest.mark.parametrize("isa", ISAS)
@given(
    m=sizes,
    k=sizes,
    n=sizes,
    dtype=st.sampled_from(["float32", "float64"]),
    of_a=layouts,
    of_b=layouts,
    seed=st.integers(0, 99),
)
def test_products_are_right_on_every_instruction_set(isa, m, k, n, dtype, of_a, of_b, seed):
    table.use(isa)
    rng = np.random.default_rng(seed)
    a, b = laid(rng, (m, k), dtype, of_a), laid(rng, (k, n), dtype, of_b)
    y = product(a, b)
    assert y.shape == (m, n)
    assert str(y.dtype) == dtype
    assert close_enough(y, a, b)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_small_integers_are_exact(isa, dtype):
    table.use(isa)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-9, 10, shape).astype(dtype) for shape in [(70, 1100), (1100, 75)])
    np.testing.assert_array_equal(product(a, b), a.astype(int) @ b.astype(int))


@pytest.mark.parametrize("isa", ISAS)
@given(
    m=st.integers(1, 80),
    k=st.sampled_from([1, 7, 64, 512, 513, 1300]),
    n=st.integers(1, 200),
    cut=st.floats(0, 1),
    turned=st.tuples(st.booleans(), st.booleans()),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_a_row_does_not_depend_on_the_rest_of_the_batch(isa, m, k, n, cut, turned, dtype):
    table.use(isa)
    rng = np.random.default_rng(m * n)
    a = rng.standard_normal((k, m) if turned[0] else (m, k)).astype(dtype)
    b = rng.standard_normal((n, k) if turned[1] else (k, n)).astype(dtype)
    a, b = (a.T if turned[0] else a), (b.T if turned[1] else b)
    whole, at, right = product(a, b), int(cut * m), int(cut * n)
    np.testing.assert_array_equal(np.concatenate([product(a[:at], b), product(a[at:], b)]), whole)
    np.testing.assert_array_equal(product(a, b[:, right:]), whole[:, right:])
    np.testing.assert_array_equal(product(np.stack([a, a]), b)[1], whole)
    np.testing.assert_array_equal(product(np.ascontiguousarray(a), np.array(b, order="C")), whole)
    tape.set_num_threads(3)
    np.testing.assert_array_equal(product(a, b), whole)


@pytest.mark.parametrize("isa", ISAS)
@given(
    m=st.integers(1, 4),
    k=st.sampled_from([1, 5, 64, 511, 512, 1024, 1030, 1536, 2048, 2500]),
    n=st.integers(1, 50),
    pages=st.sampled_from([0.5, 1, 1.5, 2]),
    past=st.integers(0, 16),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_rows_of_a_matrix_that_collide_in_the_cache_are_summed_in_the_same_order(
    isa, m, k, n, pages, past, dtype
):
    table.use(isa)
    rng = np.random.default_rng(n)
    step = int(pages * 4096) // np.dtype(dtype).itemsize
    step *= -(-k // step)
    a = rng.standard_normal((33, k)).astype(dtype)
    w = rng.standard_normal(n * step + 16).astype(dtype)[past:][: n * step].reshape(n, step)[:, :k]
    y = product(a[:m], w.T)
    assert close_enough(y, a[:m], w.T)
    np.testing.assert_array_equal(y, product(a, w.T)[:m])
    np.testing.assert_array_equal(y[0], product(w, a[0]))


@pytest.mark.parametrize("isa", ISAS)
@given(
    m=st.integers(0, 70),
    k=st.sampled_from([0, 1, 7, 64, 512, 513, 1300, 9000]),
    n=st.integers(0, 70),
    of_a=layouts,
    of_b=layouts,
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_a_vector_gives_the_bits_of_a_matrix_with_one_row_or_column(
    isa, m, k, n, of_a, of_b, dtype
):
    table.use(isa)
    rng = np.random.default_rng(m * n)
    a, b = laid(rng, (m, k), dtype, of_a), laid(rng, (k, n), dtype, of_b)
    for row in a[:1]:
        np.testing.assert_array_equal(product(row, b), product(row[None], b)[0])
        np.testing.assert_array_equal(product(row, np.stack([b, b]))[1], product(a, b)[0])
        for column in b.T[:1]:
            np.testing.assert_array_equal(product(row, column), product(a, b)[0, 0])
    for column in b.T[:1]:
        np.testing.assert_array_equal(product(a, column), product(a, b)[:, 0])
        np.testing.assert_array_equal(product(np.stack([a, a]), column)[1], product(a, b)[:, 0])
        stack = np.broadcast_to(a, (2, 3, m, k))
        np.testing.assert_array_equal(product(stack, column)[1, 2], product(a, b)[:, 0])


@given(
    of_a=st.sampled_from([(5,), (3, 5), (2, 3, 5)]),
    of_b=st.sampled_from([(5,), (5, 4), (2, 5, 4)]),
    turned=st.booleans(),
)
def test_float32_times_float64_is_a_product_of_float64(of_a, of_b, turned):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(of_a).astype("float32"), rng.standard_normal(of_b)
    a, b = (a.astype("float64"), b.astype("float32")) if turned else (a, b)
    y = product(a, b)
    assert y.dtype == "float64"
    np.testing.assert_array_equal(y, product(a.astype("float64"), b.astype("float64")))
    np.testing.assert_allclose(y, a @ b, rtol=1e-12)


@pytest.mark.parametrize("isa", ISAS)
@given(m=st.integers(2, 40), k=st.integers(1, 40), n=st.integers(1, 70))
def test_a_row_of_mixed_dtypes_does_not_depend_on_the_rest_of_the_batch(isa, m, k, n):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((m, k))
    w, b = rng.standard_normal((n, k)).astype("float32"), rng.standard_normal(n).astype("float32")
    counts = rng.integers(-9, 9, (n, k))
    calls = [
        lambda x: tape.linear(x, w),
        lambda x: tape.linear(x, w, b, "relu"),
        lambda x: tape.linear(x, w, 1.5, "tanh", b),
        lambda x: tape.linear(x.astype("float32"), w, 1.5),
        lambda x: tape.linear(x.astype("float32"), w, b.astype("float64"), None, b),
        lambda x: tape.linear(x.astype("float32"), counts),
    ]
    table.use(isa)
    for call in calls:
        np.testing.assert_array_equal(call(x).numpy()[1:2], call(x[1:2]).numpy())
    y = outer_sum(x, x.astype("float32")).numpy()
    np.testing.assert_array_equal(y, product(x.T, x.astype("float32").astype("float64")))


@pytest.mark.parametrize("layout", ["misaligned", "byte-swapped"])
def test_kernels_read_what_a_machine_does_not(layout):
    x = np.random.default_rng(0).standard_normal((3, 4))
    odd = laid_out(x, layout)
    np.testing.assert_array_equal(MatrixProduct()(odd, odd.T), MatrixProduct()(x, x.T))
    np.testing.assert_array_equal(RELU(odd), RELU(x))


def test_a_result_that_no_memory_could_hold_is_an_error():
    tall = np.broadcast_to(np.float32(1), (1 << 40, 1))
    with pytest.raises(
        tape.SizeError, match=f"matmul: an array .* takes {1 << 82} bytes, more than"
    ):
        tape.asarray(tall) @ tape.asarray(tall.T)
    with pytest.raises(
        tape.SizeError, match=f"linear: an array .* takes {1 << 82} bytes, more than"
    ):
        tape.linear(tape.asarray(tall), tape.asarray(tall))


@pytest.mark.parametrize("isa", ISAS)
def test_threads_do_not_change_a_bit(isa):
    table.use(isa)
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal(s).astype("float32") for s in [(300, 700), (700, 333)])
    x, w = (rng.standard_normal(s).astype("float32") for s in [(5, 20, 23, 19), (40, 20, 3, 3)])
    geometry = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    g = rng.standard_normal((5, 40, 23, 19)).astype("float32")
    results = []
    for threads in (1, 2, 3, 5):
        tape.set_num_threads(threads)
        results.append(
            [
                product(a, b),
                product(np.stack([a[:50]] * 7), b),
                conv.conv2d(x, w, *geometry),
                conv.conv2d_image(g, w, 23, 19, *geometry),
                conv.conv2d_window(g, x, 3, 3, *geometry),
            ]
        )
    for other in results[1:]:
        for y, first in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(y, first)


@pytest.mark.parametrize("isa", ISAS)
def test_an_image_does_not_depend_on_the_rest_of_the_batch(isa):
    table.use(isa)
    rng = np.random.default_rng(2)
    x, w = (rng.standard_normal(s).astype("float32") for s in [(4, 3, 17, 13), (21, 3, 3, 2)])
    with tape.reuse(False):
        whole = tape.conv2d(x, w, stride=(2, 1), padding=1).numpy()
        for i in range(4):
            np.testing.assert_array_equal(
                tape.conv2d(x[i : i + 1], w, stride=(2, 1), padding=1).numpy()[0], whole[i]
            )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("activation", [None, tape.relu])
def test_a_channel_does_not_depend_on_the_others_or_on_the_width(isa, activation):
    table.use(isa)
    rng = np.random.default_rng(2)
    x, w = (rng.standard_normal(s).astype("float32") for s in [(2, 300, 5, 40), (33, 300, 3, 3)])
    settings = {"padding": 1, "activation": activation}
    with tape.reuse(False):
        whole = tape.conv2d(x, w, **settings).numpy()
        for n in (1, 2, 16, 17):
            np.testing.assert_array_equal(tape.conv2d(x, w[:n], **settings).numpy(), whole[:, :n])
            narrow = tape.conv2d(x[..., : n + 1], w, **settings).numpy()
            np.testing.assert_array_equal(narrow[..., :n], whole[..., :n])


def test_a_window_may_be_as_large_as_one_likes():
    rng = np.random.default_rng(6)
    x, w = (
        tape.tensor(rng.integers(-3, 4, s).astype("float32"), requires_grad=True)
        for s in [(2, 2, 70, 66), (3, 2, 70, 65)]
    )
    y = tape.conv2d(x, w)
    assert y.shape == (2, 3, 1, 2)
    wide = [np.einsum("nchw,ochw->no", x.numpy()[..., i : i + 65], w.numpy()) for i in (0, 1)]
    np.testing.assert_array_equal(y.numpy()[:, :, 0], np.stack(wide, -1))
    dx, dw = tape.grad(y.sum(), [x, w])
    np.testing.assert_array_equal(dx.numpy()[0, :, :, 0], w.numpy().sum(0)[:, :, 0])
    np.testing.assert_array_equal(dw.numpy()[0], (x.numpy()[..., :65] + x.numpy()[..., 1:]).sum(0))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    "activation", [tape.relu, tape.leaky_relu, tape.tanh, tape.sigmoid, tape.gelu]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_activation_in_the_product_gives_the_bits_of_the_one_after_it(isa, activation, dtype):
    table.use(isa)
    rng = np.random.default_rng(3)
    x, w, b = (rng.standard_normal(s).astype(dtype) * 2 for s in [(37, 600), (70, 600), (70,)])
    x[3, 0], x[4, 0], x[5, 0] = np.nan, np.inf, -np.inf
    with np.errstate(all="ignore"):
        apart = activation(tape.linear(x, w, b))
        np.testing.assert_array_equal(tape.linear(x, w, b, activation), apart)
        images, kernel = x[:6, :300].reshape(2, 3, 15, 20), w[:8, :27].reshape(8, 3, 3, 3)
        apart = activation(tape.conv2d(images, kernel, b[:8]))
        np.testing.assert_array_equal(
            tape.conv2d(images, kernel, b[:8], activation=activation), apart
        )


def test_an_activation_in_the_product_is_one_node_with_the_same_gradients():
    rng = np.random.default_rng(4)
    x, w, b = (
        tape.tensor(rng.standard_normal(s), requires_grad=True) for s in [(5, 7), (3, 7), (3,)]
    )
    for activation in (tape.relu, tape.leaky_relu, tape.tanh, tape.sigmoid, tape.gelu):
        with tape.Tape() as t:
            y = tape.linear(x, w, b, activation)
        assert t.evaluations == (2 if activation is tape.gelu else 1)
        want = tape.grad(activation(tape.linear(x, w, b)).sum(), [x, w, b])
        for g, h in zip(tape.grad(y.sum(), [x, w, b]), want, strict=True):
            np.testing.assert_allclose(g, h, rtol=1e-12)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("rows", [1, 3, 37])
@pytest.mark.parametrize(
    "activation", [None, tape.relu, tape.leaky_relu, tape.tanh, tape.sigmoid, tape.gelu]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_residual_in_the_product_gives_the_bits_of_one_added_after_it(
    isa, rows, activation, dtype
):
    table.use(isa)
    rng = np.random.default_rng(5)
    shapes = [(rows, 600), (70, 600), (70,), (rows, 70)]
    x, w, b, r = (rng.standard_normal(s).astype(dtype) for s in shapes)
    with np.errstate(all="ignore"):
        for residual in (r, r[:1], r[:, :1], r[0], r[::-1]):
            apart = tape.linear(x, w, b) + residual
            apart = apart if activation is None else activation(apart)
            np.testing.assert_array_equal(tape.linear(x, w, b, activation, residual), apart)


def test_a_residual_is_part_of_one_node_with_the_same_gradients():
    rng = np.random.default_rng(6)
    x, w, b, r = (
        tape.tensor(rng.standard_normal(s), requires_grad=True)
        for s in [(5, 7), (3, 7), (3,), (5, 1)]
    )
    for activation in (None, tape.relu, tape.leaky_relu, tape.tanh, tape.sigmoid):
        with tape.Tape() as t:
            y = tape.linear(x, w, b, activation, residual=r)
        assert t.evaluations == 1
        apart = tape.linear(x, w, b) + r
        apart = apart if activation is None else activation(apart)
        want = tape.grad(apart.sum(), [x, w, b, r])
        for g, h in zip(tape.grad(y.sum(), [x, w, b, r]), want, strict=True):
            np.testing.assert_allclose(g, h, rtol=1e-12)


def test_an_activation_may_be_given_by_its_name():
    x, w = np.float32([[1, -2]]), np.float32([[1, 1], [1, 0]])
    assert tape.linear(x, w, None, "relu").tolist() == [[0, 1]]
    for wrong in ("ReLU", 3):
        with pytest.raises(ValueError, match=f"linear: activation is {wrong!r}, expected None, a"):
            tape.linear(x, w, None, wrong)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("strict", [False, True])
def test_signs_of_a_linear_layer_are_those_of_its_result(isa, dtype, strict):
    table.use(isa)
    rng = np.random.default_rng(7)
    for m, k, n in [(1, 600, 70), (500, 40, 33), (3, 5, 1000), (0, 4, 5), (5, 0, 3), (5, 4, 0)]:
        x, w, b = (rng.integers(-2, 3, s).astype(dtype) for s in [(m, k), (n, k), (n,)])
        x[:1, :1] = np.nan
        for bias in (b, None):
            with np.errstate(all="ignore"):
                want = tape.pack_bits(tape.linear(x, w, bias), -1, strict)
                bits = tape.linear_bits(x, w, bias, strict)
            assert (bits.shape, bits.axis, bits.border) == (want.shape, want.axis, want.border)
            np.testing.assert_array_equal(bits.words, want.words)


def test_signs_of_a_linear_layer_take_no_room_for_the_numbers():
    import tracemalloc

    rng = np.random.default_rng(8)
    x, w = (rng.standard_normal(s).astype("float32") for s in [(20000, 8), (256, 8)])
    tape.linear_bits(x[:1000], w)
    tracemalloc.start()
    bits = tape.linear_bits(x, w)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < bits.nbytes + (1 << 20) < 20000 * 256 * 4 / 8


@pytest.mark.parametrize("isa", ISAS)
def test_nan_and_infinity_pass_and_nothing_leaks_from_beyond_the_edge(isa):
    table.use(isa)
    for n in range(1, 40):
        a, b = np.ones((n, 3), "float32"), np.ones((3, n), "float32")
        b[:, -1] = np.inf
        a[-1, 0] = 0
        y = product(a, b)
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(y, a.astype("float64") @ b.astype("float64"))


def test_a_product_over_nothing_is_zero_or_the_bias():
    assert product(np.ones((3, 0), "float32"), np.ones((0, 4), "float32")).tolist() == [[0] * 4] * 3
    y = tape.linear(
        np.ones((2, 0), "float32"), np.ones((3, 0), "float32"), tape.tensor([1, 2, 3.0])
    )
    assert y.tolist() == [[1, 2, 3]] * 2
    assert tape.conv2d(
        np.ones((1, 0, 3, 3), "float32"), np.ones((2, 0, 2, 2), "float32"), np.float32([1, 2])
    ).tolist() == [[[[v] * 2] * 2 for v in (1, 2)]]


@pytest.mark.skipif(sys.platform != "linux", reason="needs mprotect")
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_is_read_beyond_the_end(isa, dtype):
    table.use(isa)
    rng = np.random.default_rng(5)
    for m, k, n in [(1, 1, 1), (6, 5, 17), (7, 33, 63), (30, 64, 65), (13, 520, 31), (1, 1024, 17)]:
        a, b = (beside_a_guard(rng.standard_normal(s).astype(dtype)) for s in [(m, k), (k, n)])
        w = beside_a_guard(rng.standard_normal((n, k)).astype(dtype))
        assert close_enough(product(a, b), a, b)
        assert close_enough(product(a, w.T), a, w.T)
        assert close_enough(product(b.T, a.T), b.T, a.T)
    for c, h, w_, o, r in [(1, 5, 5, 3, 3), (3, 7, 9, 17, 2), (2, 4, 31, 33, 4)]:
        x = beside_a_guard(rng.standard_normal((2, c, h, w_)).astype(dtype))
        w = beside_a_guard(rng.standard_normal((o, c, r, r)).astype(dtype))
        y = conv.conv2d(x, w, (1, 1), ((0, 0), (0, 0)), (1, 1), 1)
        g = beside_a_guard(y)
        conv.conv2d_image(g, w, h, w_, (1, 1), ((0, 0), (0, 0)), (1, 1), 1)
        conv.conv2d_window(g, x, r, r, (1, 1), ((0, 0), (0, 0)), (1, 1), 1)


FORK = """
import os
import numpy as np
import tape
tape.set_num_threads(4)
a = np.random.default_rng(0).standard_normal((300, 300)).astype("float32")
first = (tape.asarray(a) @ tape.asarray(a)).numpy()
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        same = np.array_equal((tape.tensor(a) @ tape.tensor(a)).numpy(), first)
        os._exit(0 if same and tape.get_num_threads() == 4 else 1)
    assert os.waitpid(pid, 0)[1] == 0
assert np.array_equal((tape.tensor(a) @ tape.tensor(a)).numpy(), first)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_multiplies_with_threads_of_its_own():
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=60)


def innermost_loops(lines):
    """Bodies of loops without a jump inside, as lists of lines of a disassembly."""
    at = {}
    for i, line in enumerate(lines):
        if found := re.match(r"\s+([0-9a-f]+):", line):
            at[found[1]] = i
    for i, line in enumerate(lines):
        found = re.search(r"\sj\w+\s+([0-9a-f]+)", line)
        if found and at.get(found[1], i) < i:
            body = lines[at[found[1]] : i]
            if not any(re.search(r"\sj\w+\s", other) for other in body):
                yield body


@needs_objdump
@needs_avx512
def test_the_inner_loops_of_products_keep_their_sums_in_registers():
    loops = [
        body
        for body in innermost_loops(disassembly())
        if sum("vfmadd" in line and "zmm" in line for line in body) >= 4
    ]
    assert len(loops) > 200
    spilled = r"[xyz]mm.*\(%rsp|\(%rsp.*[xyz]mm"
    assert not [line for body in loops for line in body if re.search(spilled, line)]


NO_MEMORY = """
import os, resource
import numpy as np
import tape
tape.set_num_threads(3)
a = np.random.default_rng(0).standard_normal((600, 600)).astype("float32")
first = (tape.asarray(a) @ tape.asarray(a)).numpy()
pages = int(open("/proc/self/statm").read().split()[0])
for more in [*range(0, 1 << 18, 1 << 14), *range(1 << 18, 1 << 25, 1 << 20)]:
    pid = os.fork()
    if pid == 0:
        room = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
        try:
            same = np.array_equal((tape.tensor(a) @ tape.tensor(a)).numpy(), first)
        except MemoryError:
            same = True
        os._exit(0 if same else 1)
    assert os.waitpid(pid, 0)[1] == 0, more
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on memory")
def test_threads_without_memory_are_an_error_or_do_the_work():
    subprocess.run([sys.executable, "-c", NO_MEMORY], check=True, timeout=60)


def imported_with(**variables):
    code = "from tape._kernels import table; print(table.used(), table.get_num_threads())"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("isa", ISAS)
def test_the_environment_chooses_kernels_and_threads(isa):
    assert imported_with(TAPE_ISA=isa, OMP_NUM_THREADS="3").stdout.split() == [isa, "3"]


def test_kernels_that_are_not_there_are_refused():
    failed = imported_with(TAPE_ISA="mmx")
    assert failed.returncode
    assert "TAPE_ISA: 'mmx' was not built; it may be" in failed.stderr
    for wrong in (0, 257, 1.0, True, "2"):
        with pytest.raises(ValueError, match="set_num_threads: n must be an integer from 1 to 256"):
            tape.set_num_threads(wrong)


def test_subnormal_numbers_stay():
    tiny = np.finfo("float32").smallest_subnormal
    assert product(np.array([[tiny]]), np.ones((1, 1), "float32")).item() == tiny
    assert np.float32(tiny) * np.float32(1) != 0
