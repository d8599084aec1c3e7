"""Factors by singular values, plain, balanced and with regard to data; rules for their rank."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tape
from tape import nn
from tape.netopt import ranks
from tape.netopt.factorization import factor_dense, svd_subprojection
from tape.netopt.factorization.svd import balanced, data_projection


def normal(*shape, seed=0, dtype="f"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@st.composite
def matrices(draw):
    """A matrix of up to 12 by 12 and a rank."""
    m, n = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    return normal(m, n, seed=draw(st.integers(0, 99)), dtype="d"), draw(st.integers(1, min(m, n)))


@given(matrices())
def test_the_error_is_the_tail_of_the_spectrum(drawn):
    w, k = drawn
    tail = np.sqrt(np.sum(np.linalg.svd(w, compute_uv=False)[k:] ** 2))
    for w1, w2 in (svd_subprojection(w, k), balanced(*svd_subprojection(w, k))):
        assert w1.shape == (w.shape[0], k)
        assert w2.shape == (k, w.shape[1])
        assert np.linalg.norm(w - w1 @ w2) == pytest.approx(tail, rel=1e-9, abs=1e-12)


@given(matrices())
def test_signs_do_not_depend_on_those_of_the_library(drawn):
    w, k = drawn
    w1, _ = svd_subprojection(w, k)
    for column in w1.T:
        assert column[np.argmax(np.abs(column))] > 0 or np.isclose(-column.min(), column.max())
    order = np.asfortranarray(w)
    np.testing.assert_allclose(svd_subprojection(order, k)[0], w1, atol=1e-7)


@given(matrices())
def test_balanced_factors_have_the_same_norms(drawn):
    w, k = drawn
    w1, w2 = balanced(*svd_subprojection(w, k))
    np.testing.assert_allclose(
        np.linalg.norm(w1, axis=0), np.linalg.norm(w2, axis=1), rtol=1e-6, atol=1e-9
    )


@given(matrices(), st.integers(1, 30), st.integers(0, 99))
def test_factors_that_know_the_data_are_the_best_for_it(drawn, n, seed):
    w, k = drawn
    x = normal(n, w.shape[0], seed=seed, dtype="d") * np.geomspace(1, 1e-2, w.shape[0])
    w1, w2 = data_projection(w, x, k)
    assert (w1.shape, w2.shape) == ((w.shape[0], k), (k, w.shape[1]))
    best = np.sqrt(np.sum(np.linalg.svd(x @ w, compute_uv=False)[k:] ** 2))
    found = np.linalg.norm(x @ w - x @ w1 @ w2)
    assert found <= best + 2e-3 * np.linalg.norm(x @ w)
    plain = np.linalg.norm(x @ (w - np.matmul(*svd_subprojection(w, k))))
    assert found <= plain + 2e-3 * np.linalg.norm(x @ w)


@given(st.integers(1, 8), st.integers(1, 8), st.sampled_from(["float32", "float64"]))
def test_full_rank_gives_the_same_outputs(n_in, n_out, dtype):
    layer = nn.Dense(n_out, n_in, tape.tanh, init=nn.init.normal(), dtype=dtype)
    x = tape.tensor(normal(6, n_in, dtype=dtype))
    for options in ({}, {"balanced": True}, {"data_aware": True, "x": x}):
        new = factor_dense(layer, rank=1.0, only_cheaper=False, **options)
        assert {p.dtype.name for p in new.parameters()} == {dtype}
        np.testing.assert_allclose(new(x).numpy(), layer(x).numpy(), rtol=1e-4, atol=1e-4)


@given(matrices(), st.floats(0, 1))
def test_rules_give_the_fewest_components_that_do(drawn, bound):
    w, _ = drawn
    s2 = np.linalg.svd(w, compute_uv=False) ** 2
    k = ranks.energy(bound)(w)
    assert s2[:k].sum() >= bound * s2.sum() * (1 - 1e-9)
    assert k == 1 or s2[: k - 1].sum() < bound * s2.sum()
    k = ranks.error(bound)(w)
    assert s2[k:].sum() <= bound**2 * s2.sum() + 1e-9 * s2.sum()
    assert k == 1 or s2[k - 1 :].sum() > bound**2 * s2.sum()
