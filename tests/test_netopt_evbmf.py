"""EVBMF: planted ranks come back, whatever the scale, the shape and the order of axes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape.netopt import ranks
from tape.netopt.factorization.evbmf import evbmf_rank


def planted(m, n, rank, noise, seed):
    """A product of normal (m, rank) and (rank, n) matrices with normal noise."""
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
    return signal + noise * rng.standard_normal((m, n))


def rank_of(w):
    return evbmf_rank(np.linalg.svd(w, compute_uv=False), w.shape)


@pytest.mark.parametrize(
    ("m", "n", "rank", "noise"),
    [
        (100, 200, 5, 0.5),
        (200, 100, 10, 1.0),
        (150, 150, 20, 0.3),
        (120, 300, 0, 1.0),
        (256, 64, 25, 0.1),
        (64, 576, 7, 0.7),
    ],
)
def test_planted_ranks_are_recovered_exactly(m, n, rank, noise):
    for seed in range(5):
        assert rank_of(planted(m, n, rank, noise, seed)) == rank


@given(
    st.integers(60, 120),
    st.integers(60, 240),
    st.integers(0, 12),
    st.sampled_from([1e-6, 1.0, 1e6]),
    st.integers(0, 99),
)
def test_the_rank_does_not_depend_on_scale_or_order_of_axes(m, n, rank, scale, seed):
    w = planted(m, n, rank, 0.2, seed)
    assert rank_of(w) == rank_of(scale * w) == rank_of(w.T) == rank


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 30), st.integers(0, 99))
def test_without_noise_it_is_the_numerical_rank(m, n, rank, seed):
    rank = min(m, n, rank) // 2
    assert rank_of(planted(m, n, rank, 0.0, seed)) == rank


def test_nothing_is_no_signal():
    assert evbmf_rank(np.zeros(4), (4, 9)) == 0
    assert evbmf_rank([], (0, 3)) == 0
    assert evbmf_rank([2.0], (1, 1)) in (0, 1)


def test_a_weakened_rule_goes_towards_full_rank():
    w = planted(60, 90, 6, 0.3, 0)
    assert ranks.evbmf()(w) == 6
    assert ranks.evbmf(weaken=0.5)(w) == 33
    assert ranks.evbmf(weaken=1.0)(w) == 60
    assert ranks.evbmf()(np.zeros((3, 3))) == 1
    assert repr(ranks.evbmf(0.5)) == "ranks.evbmf(0.5)"
    with pytest.raises(ValueError, match=r"weaken must be in \[0, 1\]"):
        ranks.evbmf(weaken=2)
