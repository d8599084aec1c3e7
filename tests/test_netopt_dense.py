"""`factor_dense`: dense layers as products of two thin matrices. Acceptance cases 1 to 7."""

import warnings

import numpy as np
import pytest
from trees import values

import tape
from tape import nn, optim
from tape.errors import NumericsError, SettingError, TapeError
from tape.netopt import ranks
from tape.netopt.factorization import FactoredDense, factor_dense, svd_subprojection


def normal(*shape, seed=0, dtype="f"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def is_square(layer):
    n_out, n_in = layer.weight.shape
    return n_out == n_in


def rows(w):
    return w.shape[0]


def simulated(n, seed=0):
    """The two classes of CNTK 102: features of a person, and whether the tumour is malignant."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    x = (rng.standard_normal((n, 2)) + 3) * (labels[:, None] + 1)
    return x.astype(np.float32), labels


@pytest.fixture(scope="module")
def trained():
    """The network 2-50-50-2 with sigmoids, trained on 2000 batches of 25."""
    rng = np.random.default_rng(1)
    net = nn.Sequential(
        nn.Dense(50, 2, tape.sigmoid, rng=rng),
        nn.Dense(50, 50, tape.sigmoid, rng=rng),
        nn.Dense(2, 50, rng=rng),
    )
    optimizer = optim.SGD(net.parameters(), lr=0.5)
    for step in range(2000):
        x, labels = simulated(25, seed=100 + step)
        loss = tape.cross_entropy(net(tape.tensor(x)), tape.tensor(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def test_case_01_singular_values_give_known_factors():
    w = np.array([[1, 0, 0, 0, 2], [0, 0, 3, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 2, 0]])
    root = np.sqrt(5)
    for dtype in (np.float32, np.float64, np.int64):
        w1, w2 = svd_subprojection(w.astype(dtype), 4)
        np.testing.assert_array_equal(w1, [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])
        expected = [[0, 0, 3, 0, 0], [1, 0, 0, 0, 2], [0, 0, 0, 2, 0], [0, 0, 0, 0, 0]]
        np.testing.assert_allclose(w2, expected, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(w2, axis=1), [3, root, 2, 0], rtol=1e-6)


def test_case_02_neither_rank_nor_factor_function_is_an_error():
    net = nn.Sequential(nn.Dense(2, 2))
    with pytest.raises(ValueError, match=r"needs a rank, a projection_function .* or a factor_f"):
        factor_dense(net)


def test_case_03_square_layers_at_full_rank_give_the_same(trained):
    new = factor_dense(
        trained, projection_function=rows, filter_function=is_square, only_cheaper=False
    )
    factored = [module for module in new.modules() if isinstance(module, FactoredDense)]
    assert factored == [new[1]]
    assert new[1].first.shape[::-1] == (50, 50)
    assert new[1].second.shape[::-1] == (50, 50)
    x = tape.tensor(simulated(500, seed=7)[0])
    np.testing.assert_allclose(new(x).numpy(), trained(x).numpy(), rtol=1e-5, atol=1e-5)


def test_case_04_four_fifths_of_the_rank_keep_the_predictions(trained):
    new = factor_dense(
        trained,
        projection_function=lambda w: int(0.8 * w.shape[0]),
        filter_function=is_square,
        only_cheaper=False,
    )
    assert new[1].first.shape[::-1] == (50, 40)
    assert new[1].second.shape[::-1] == (40, 50)
    assert new[1].activation is tape.sigmoid
    x, labels = simulated(2000, seed=8)
    before, after = (m(tape.tensor(x)).numpy() for m in (trained, new))
    assert np.max(np.abs(before - after)) < 0.05
    hits = [np.mean(y.argmax(axis=1) == labels) for y in (before, after)]
    assert hits[0] > 0.85
    assert abs(hits[0] - hits[1]) <= 0.01


def test_case_05_what_would_become_larger_stays_and_is_reported():
    def rank(w):
        return int(min(w.shape) * 0.6)

    net = nn.Sequential(nn.Dense(50, 50), nn.Dense(200, 784))
    new, report = factor_dense(net, rank, return_report=True)
    assert isinstance(new[0], nn.Dense)
    assert report["0"].action == "kept: SVD rank 30 has 12,200 bytes, the layer 10,200"
    assert not report["0"].is_changed
    assert new[1].rank == 120
    assert report["1"].parameters == (157_000, 118_280)
    assert [row.path for row in report.changed] == ["1"]
    with pytest.warns(UserWarning, match=r"left 1 layers as they are.*\(0: SVD rank 30 has 12,200"):
        factor_dense(net, rank)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert factor_dense(net, rank, only_cheaper=False)[0].rank == 30


def test_case_06_layers_without_bias_and_bad_ranks_and_factors():
    net = nn.Sequential(nn.Dense(40, 30, tape.tanh, bias=False), nn.Dense(3, 40))
    x = tape.tensor(normal(5, 30))
    new = factor_dense(net, rank=1.0, only_cheaper=False)
    assert new[0].bias is None
    np.testing.assert_allclose(new(x).numpy(), net(x).numpy(), rtol=1e-4, atol=1e-5)
    before = values(net)
    for rank in (0, -1, 4):
        with pytest.raises(ValueError, match=rf"1 \(40, 3\): rank {rank} must be from 1 to 3"):
            factor_dense(net, rank=rank, filter_function="1")
    with pytest.raises(ValueError, match=r"1 \(40, 3\): rank 40 must be from 1 to 3"):
        factor_dense(net, rows)
    wrong = r"0 \(30, 40\): factor_function gave factors \(30, 4\) and \(4, 40\), rank 5 needs "
    with pytest.raises(ValueError, match=wrong + r"\(30, 5\) and \(5, 40\)"):
        factor_dense(
            net, rank=5, filter_function="0", factor_function=lambda w, k: svd_subprojection(w, 4)
        )
    with pytest.raises(ValueError, match=r"0 .* must give \(W1, W2\), got None"):
        factor_dense(net, factor_function=lambda w, k: None)
    assert values(net) == before


def test_case_07_a_layer_used_twice_gets_one_pair_of_factors():
    shared = nn.Dense(20, 20, tape.tanh)
    net = nn.Sequential(shared, nn.Dense(20, 20), shared)
    new = factor_dense(net, rank=3)
    assert new[0] is new[2]
    assert isinstance(new[0], FactoredDense)
    x = tape.tensor(normal(4, 20))
    new(x).sum().backward()
    apart = factor_dense(nn.Sequential(*(layer.clone() for layer in net)), rank=3)
    apart(x).sum().backward()
    total = apart[0].first.grad.numpy() + apart[2].first.grad.numpy()
    np.testing.assert_allclose(new[0].first.grad.numpy(), total, rtol=1e-4, atol=1e-6)


def test_layers_that_share_a_weight_share_its_factors():
    net = nn.Sequential(nn.Dense(20, 20), nn.Dense(20, 20))
    net[1].weight = net[0].weight
    new = factor_dense(net, rank=3)
    assert new[0].first is new[1].first
    assert new[0].second is new[1].second
    assert new[0].bias is not new[1].bias
    left, report = factor_dense(net, rank=3, filter_function="0", return_report=True)
    assert left[0].weight is left[1].weight
    assert report["0"].action == "kept: its 0.weight is also 1.weight, which stays"


# -- What the functions see, and what stays ------------------------------------------------------


def test_functions_see_the_weight_as_inputs_by_outputs_and_cannot_change_it():
    net = nn.Sequential(nn.Dense(40, 30))
    seen = []

    def factors(w, k):
        seen.append((w.shape, k, w.flags.writeable))
        return svd_subprojection(w, k)

    factor_dense(net, lambda w: seen.append(w.shape) or 7, factor_function=factors)
    factor_dense(net, factor_function=factors, only_cheaper=False)
    assert seen == [(30, 40), ((30, 40), 7, False), ((30, 40), 30, False)]


def test_the_filter_sees_the_layers_of_the_original_and_only_dense_ones():
    net = nn.Sequential(nn.Conv2d(40, 3, n_in=2), nn.Flatten(), nn.Dense(40, 40), nn.Dense(40, 40))
    seen = []
    new = factor_dense(net, rank=3, filter_function=lambda m: seen.append(m) or m is not net[2])
    assert seen == [net[2], net[3]]
    assert [type(m).__name__ for m in new] == ["Conv2d", "Flatten", "Dense", "FactoredDense"]


def test_names_modes_frozen_state_and_ties_stay():
    net = nn.Sequential(nn.Dense(30, 30, tape.tanh), nn.Dropout(), nn.Dense(30, 30)).eval()
    net.freeze("0")
    new = factor_dense(net, rank=2)
    assert list(new.state_dict()) == [
        *("0.first", "0.second", "0.bias", "2.first", "2.second", "2.bias")
    ]
    assert [(m.training, m.is_frozen) for m in new] == [(m.training, m.is_frozen) for m in net]
    assert [p.requires_grad for p in new.parameters()] == [False] * 3 + [True] * 3


def test_an_optimizer_keeps_the_state_of_what_stays():
    net = nn.Sequential(nn.Dense(30, 30), nn.Dense(1, 30))
    optimizer = optim.Adam(net.parameters(), lr=1e-3)
    net(tape.tensor(normal(4, 30))).sum().backward()
    optimizer.step()
    new = factor_dense(net, rank=2, filter_function="0", optimizer=optimizer)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in new.parameters()]


def test_training_is_called_once_and_what_it_returns_is_used_if_it_is_a_model():
    net = nn.Sequential(nn.Dense(30, 30))
    seen = []
    new = factor_dense(net, rank=2, train=lambda m: seen.append(m) or 0.5)
    assert seen == [new]
    other = nn.Sequential(FactoredDense(30, 2, 30))
    assert factor_dense(net, rank=2, train=lambda m: other) is other


def test_kinds_that_are_not_supported_are_named_and_left_alone():
    class Odd(nn.Dense):
        def forward(self, x):
            return super().forward(x) * 2

    net = nn.Sequential(nn.Conv2d(2, 1, n_in=2), nn.Flatten(), Odd(20, 20), nn.Dense(20, 20))
    new, report = factor_dense(net, rank=2, return_report=True)
    assert report["0"].action == "kept: Conv2d is not supported"
    assert report["2"].action == "kept: has a forward of its own"
    assert [type(m).__name__ for m in new] == ["Conv2d", "Flatten", "Odd", "FactoredDense"]


def test_factored_layers_save_and_load(tmp_path):
    new = factor_dense(nn.Sequential(nn.Dense(30, 30, tape.tanh)), rank=2)
    tape.save(tmp_path / "net.safetensors", new)
    again = nn.Sequential(FactoredDense(30, 2, activation=tape.tanh))
    tape.load(tmp_path / "net.safetensors", again)
    x = tape.tensor(normal(3, 30))
    np.testing.assert_array_equal(again(x).numpy(), new(x).numpy())


# -- Ranks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rank", "expected"),
    [
        (3, 3),
        (np.int64(3), 3),
        (0.5, 10),
        (1e-9, 1),
        (1.0, 20),
        (ranks.energy(0.8), 2),
        (ranks.error(0.0), 20),
        (ranks.error(1.0), 1),
        (lambda w: 7, 7),
    ],
)
def test_a_rank_is_a_number_a_share_or_a_rule(rank, expected):
    s = np.geomspace(1, 1e-6, 20)
    s[:2] = 4, 3
    q = np.linalg.qr(normal(20, 20, dtype="d"))[0]
    net = nn.Sequential(nn.Dense(30, 20, dtype="float64"))
    w = np.zeros((20, 30))
    w[:, :20] = q * s
    net[0].weight = nn.Parameter(w.T.copy())
    assert factor_dense(net, rank=rank, only_cheaper=False)[0].rank == expected


def test_ranks_by_path_leave_other_layers_alone():
    net = nn.Sequential(nn.Dense(30, 30), nn.Dense(30, 30))
    new, report = factor_dense(net, rank={"1": 4}, return_report=True)
    assert new[1].rank == 4
    assert report["0"].action == "kept: not in the plan"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"rank": 2, "projection_function": rows}, SettingError, "rank or projection_function"),
        ({"rank": 1.5}, SettingError, r"0 \(3, 3\): rank 1.5 as a share .* must be in \(0, 1\]"),
        ({"rank": 0.0}, SettingError, "as a share"),
        ({"rank": float("nan")}, SettingError, "as a share"),
        ({"rank": True}, TypeError, "must be a whole number, got True"),
        ({"rank": "half"}, TypeError, r"a rule such as ranks.evbmf\(\), got 'half'"),
        ({"projection_function": lambda w: 2.0}, TypeError, r"0 \(3, 3\): .* got 2.0"),
        ({"projection_function": 3}, TypeError, "3 is no function"),
        ({"factor_function": 3}, TypeError, "3 is no function"),
        ({"rank": 2, "filter_function": lambda m: False}, TapeError, r"2 Dense layers \(0, 1\) no"),
        ({"rank": 2, "filter_function": "2"}, TapeError, "FactorDense: '2' names no module"),
        ({"rank": 2, "filter_function": 3}, TypeError, "path, a pattern or a function"),
        ({"rank": 2, "data_aware": True}, SettingError, "data_aware needs x"),
        ({"rank": 2, "train": 3}, TypeError, "train is a function of a model"),
        (
            {"rank": 2, "balanced": True, "factor_function": svd_subprojection},
            SettingError,
            "factor_function makes the factors",
        ),
    ],
)
def test_bad_calls_are_refused_and_leave_the_model_alone(options, error, words):
    net = nn.Sequential(nn.Dense(3, 3), nn.Dense(3, 3))
    before = values(net)
    with pytest.raises(error, match=words):
        factor_dense(net, **options)
    assert values(net) == before


def test_weights_that_are_no_numbers_and_layers_without_sizes_are_named():
    net = nn.Sequential(nn.Dense(3, 3), nn.Dense(3, 3))
    with tape.no_grad():
        net[1].weight[0, 1] = np.nan
    with pytest.raises(NumericsError, match=r"1 \(3, 3\): 1 of 9 numbers are NaN or infinite"):
        factor_dense(net, rank=2)
    with pytest.raises(TapeError, match=r"no sizes yet for 0\.weight \(3, \?\): call the model"):
        factor_dense(nn.Sequential(nn.Dense(3)), rank=2)
    with pytest.raises(TapeError, match="FactorDense: Sequential has no Dense layers"):
        factor_dense(nn.Sequential(nn.Flatten()), rank=2)
    with pytest.raises(TypeError, match="takes a module, got a int"):
        factor_dense(3, rank=2)


def test_nothing_is_left_behind(nothing_left):
    net = nn.Sequential(nn.Dense(30, 30, tape.tanh), nn.Dense(30, 30))
    x = tape.tensor(normal(4, 30))
    new, report = factor_dense(
        net, rank=2, x=x, data_aware=True, only_cheaper=False, return_report=True
    )
    assert report.drift > 0
    new(x).sum().backward()
    del net, new, report, x


def test_a_layer_whose_weight_is_read_by_another_still_has_one():
    net = nn.TransformerEncoderLayer(16, 2, 64)
    x = tape.tensor(normal(2, 5, 16))
    net(x)
    new = factor_dense(net, rank=1.0, filter_function="linear1", only_cheaper=False)
    np.testing.assert_allclose(new.eval()(x).numpy(), net.eval()(x).numpy(), rtol=1e-4, atol=1e-4)
    new(x).sum().backward()
    assert new.linear1.first.grad is not None


def test_factors_that_are_no_numbers_and_layers_without_any():
    net = nn.Sequential(nn.Dense(3, 3))
    for factors, words in [
        (lambda w, k: (w * 1j, w), "gave complex64 and float32 numbers"),
        (lambda w, k: ([[1], [1, 2]], w), "gave no matrix"),
        (lambda w, k: (w + np.nan, w), "NaN or infinite"),
    ]:
        with pytest.raises(TapeError, match=rf"0 \(3, 3\).*{words}"):
            factor_dense(net, factor_function=factors)
    empty = nn.Sequential(nn.Dense(0, 3), nn.Dense(2, 0))
    _, report = factor_dense(empty, rank=1.0, return_report=True)
    assert [row.action for row in report.rows] == ["kept: has no numbers"] * 2


def test_weights_near_the_end_of_the_range_are_factored_or_named():
    layer = nn.Dense(30, 30, init=nn.init.constant(1e30))
    new = factor_dense(layer, rank=1)
    np.testing.assert_allclose(new.weight.numpy(), layer.weight.numpy(), rtol=1e-4)
    x = np.full((3, 30), 1e30, "f")
    with tape.no_grad():
        layer.weight[...] = 1e38
    with pytest.raises(NumericsError, match=r"\(30, 30\): its factors: 30 of 30 numbers are"):
        factor_dense(layer, rank=1)
    assert factor_dense(nn.Dense(30, 30), rank=1, x=tape.tensor(x), data_aware=True, only_cheaper=0)


def test_an_open_scope_does_not_name_the_factors():
    net = nn.Sequential(nn.Dense(30, 30), nn.Dense(30, 30))
    with nn.scope("outer"):
        new = factor_dense(net, rank=2)
    assert new[0].first is not new[1].first
    assert [p.size for p in new.parameters()] == [60, 60, 30] * 2
