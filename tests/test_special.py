"""Special functions: identities, tails, and what they refuse."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tape

BIG = st.floats(0.01, 100.0)


@given(st.floats(-5.5, 5.5))
def test_erfinv_undoes_erf_in_the_middle_and_in_the_tails(x):
    y = math.erf(x)
    assert tape.erf(tape.erfinv(tape.tensor(y, dtype="float64"))).item() == pytest.approx(
        y, rel=1e-14
    )


def test_erfinv_keeps_its_digits_next_to_1():
    y = tape.tensor(np.nextafter(1.0, 0.0))
    assert tape.erfinv(y).item() == pytest.approx(5.863584748755168, rel=1e-15)  # in 40 digits
    assert tape.erfinv(tape.tensor([1.0, -1.0])).tolist() == [math.inf, -math.inf]
    assert math.isnan(tape.erfinv(1.5).item())


@given(BIG)
def test_lgamma_digamma_and_trigamma_obey_the_recurrence(x):
    x = tape.tensor(x, dtype="float64")
    assert (tape.lgamma(x + 1) - tape.lgamma(x)).item() == pytest.approx(x.log().item(), abs=1e-12)
    for n, step in enumerate([1 / x, -1 / x**2, 2 / x**3]):
        gap = (tape.polygamma(n, x + 1) - tape.polygamma(n, x)).item()
        assert gap == pytest.approx(step.item(), rel=1e-9, abs=1e-11)


def test_lgamma_is_relatively_exact_next_to_its_zeros():
    e = 1e-9
    x = tape.tensor([1 + e, 2 + e], dtype="float64").numpy() - [1, 2]
    y = tape.lgamma(tape.tensor([1 + e, 2 + e], dtype="float64")).numpy()
    np.testing.assert_allclose(
        y, [-0.5772156649015329 * x[0], 0.42278433509846713 * x[1]], rtol=1e-8
    )


def test_polygamma_knows_its_values_and_refuses_other_orders():
    y = [tape.polygamma(n, tape.tensor(0.5, dtype="float64")).item() for n in (0, 1, 2)]
    zeta_3 = 1.2020569031595942
    truth = [-0.5772156649015329 - 2 * math.log(2), math.pi**2 / 2, -14 * zeta_3]
    assert y == pytest.approx(truth, rel=1e-14)
    with pytest.raises(ValueError, match="polygamma: n is -1, not a whole number"):
        tape.polygamma(-1, 1.0)


def test_all_derivatives_of_sinc_are_right_at_0_and_beside_it():
    def derivatives(at):
        x = tape.tensor(at, dtype="float64", requires_grad=True)
        y, found = tape.sinc(x), []
        for _ in range(4):
            y = tape.grad(y, x, create_graph=True)
            found.append(y.item())
        return found

    at_0 = [0.0, -(math.pi**2) / 3, 0.0, math.pi**4 / 5]
    assert derivatives(0.0) == pytest.approx(at_0, rel=1e-14, abs=1e-14)
    assert derivatives(1e-12) == pytest.approx(at_0, rel=1e-9, abs=1e-9)


@given(st.floats(0.5, 300.0))
def test_scaled_bessel_functions_obey_the_recurrence(x):
    x = tape.tensor(x, dtype="float64")
    i0, i1 = tape.i0e(x).item(), tape.i1e(x).item()
    assert tape.i0(x).item() == pytest.approx(i0 * math.exp(x.item()), rel=1e-12)
    assert tape.i1(-x).item() == pytest.approx(-i1 * math.exp(x.item()), rel=1e-12)
    assert i0 > i1 > 0


def test_i0_neither_overflows_early_nor_loses_its_curvature_at_0():
    assert math.isfinite(tape.i0(tape.tensor(713.0, dtype="float64")).item())
    x = tape.tensor(0.0, dtype="float64", requires_grad=True)
    slope = tape.grad(tape.i0(x), x, create_graph=True)
    assert (slope.item(), tape.grad(slope, x).item()) == (0.0, 0.5)
    with pytest.raises(tape.DTypeError, match="i0: "):
        tape.i0("one")


def test_zero_times_the_logarithm_of_zero_is_zero_with_its_gradient():
    x = tape.tensor([0.0, 0.0, 2.0], dtype="float64", requires_grad=True)
    y = tape.xlogy(x, tape.tensor([0.0, 3.0, 0.0]))
    assert y.tolist() == [0.0, 0.0, -math.inf]
    assert tape.grad(y.sum(), x).tolist() == pytest.approx([0.0, math.log(3), -math.inf])


def test_a_number_beside_float64_is_not_rounded_to_float32():
    x = tape.tensor([1.0], dtype="float64", requires_grad=True)
    y = tape.xlogy(x, 0.1)
    assert y.item() == math.log(0.1)
    assert tape.grad(y, x).item() == math.log(0.1)


def test_logit_undoes_sigmoid_and_has_no_value_outside():
    x = tape.tensor([-20.0, 0.0, 3.0], dtype="float64")
    np.testing.assert_allclose(tape.logit(tape.sigmoid(x)).numpy(), x.numpy(), rtol=1e-12)
    y = tape.logit(tape.tensor([0.0, 1.0, 2.0]))
    assert y.tolist()[:2] == [-math.inf, math.inf]
    assert math.isnan(y.tolist()[2])
