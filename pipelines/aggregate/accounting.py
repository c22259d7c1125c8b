"""Privacy losses of one question and of all of them together, as dp-accounting computes them.

A sum with discrete Gaussian noise of scale σ, which a subject changes by Δ at most, has the
zero-concentrated loss ρ = Δ²/2σ²; losses of several sums and questions add up, whatever later
questions were asked because of earlier answers.
"""

from collections.abc import Iterable

import numpy as np
from dp_accounting import ComposedDpEvent, ZCDpEvent, calibrate_dp_mechanism
from dp_accounting.rdp import RdpAccountant

_ORDERS = 1 + np.geomspace(0.01, 1e6, 400)
"""Rényi orders to choose from; the default ones end at 1,024, with which no ε is under 0.027 at a δ
of 5e-16."""


def rho_of(epsilon: float, delta: float) -> float:
    """Return the largest loss ρ, to 1e-12, that is no more than (ε, δ)."""
    return float(calibrate_dp_mechanism(_accountant, ZCDpEvent, epsilon, delta, tol=1e-12))


def epsilon_of(rhos: Iterable[float], delta: float) -> float:
    """Return ε of questions with these losses ρ, for a δ over all of them."""
    events = [ZCDpEvent(rho) for rho in rhos]
    return float(_accountant().compose(ComposedDpEvent(events)).get_epsilon(delta))


def appearing_epsilon(threshold_delta: float) -> float:
    """Return ε of groups that appear through one subject with this probability, besides that δ.

    Without the subject they never appear. That they did not is then 1/(1 - δ) times as likely as
    with them: an ε of -ln(1 - δ), which is less than 2δ.
    """
    return 2 * threshold_delta


def _accountant() -> RdpAccountant:
    return RdpAccountant(_ORDERS)
