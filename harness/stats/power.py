"""The smallest effects that a measurement shows with a given power.

An effect is shown where the one-sided 95 % interval lies wholly on its side: above zero of a loss or a slope,
above one of a ratio.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtri
from scipy.stats import binom

from harness.core.errors import UsageError
from harness.stats.intervals import z_value

POWER = 0.95
ALPHA = 0.05
_STEPS = 40
#: By the number n of processes: the 95 % quantile of (lowest of n - lowest of another n) / range of the first
#: n, for normal values (simulated, 400,000 each).
FURTHER = {2: 8.19, 3: 2.31, 4: 1.40, 5: 1.06}


def smallest_rate(n: int, *, power: float = POWER) -> float:
    """The share of wrong answers of which `n` compared answers show at least one with this power.

    ``1 - (1 - power)^(1 / n)``: of independent answers none is wrong with probability ``(1 - rate)^n``. It is
    the exact binomial bound of no event in n, about 3 / n ("rule of three": J. Hanley and A. Lippman-Hand,
    JAMA 249 (1983) 1743-1745).
    """
    if n < 1:
        raise UsageError(f"{n} answers show no rate")
    return float(-np.expm1(np.log1p(-power) / n))


def smallest_loss(n: int, flipped: float, *, power: float = POWER, alpha: float = ALPHA) -> float:
    """The loss of accuracy that `n` pairs show with this power, as a fraction; 1 where none does.

    A loss is shown where the lower bound of Tango's interval is above zero, which is McNemar's score test:
    ``(c - b) / sqrt(c + b) > z`` with c harmful and b beneficial flips. Its power is the sum over the
    binomial number of flips, and of the harmful ones among them. A flip is harmful with the probability
    ``flipped / 2 + loss``, and beneficial with ``flipped / 2``.

    Sources: T. Tango, Statistics in Medicine 17 (1998) 891-908; the exact unconditional power of McNemar's
    test: O. Miettinen, "The matched pairs design in the case of all-or-none responses", Biometrics 24 (1968)
    339-352.

    Parameters
    ----------
    n : int
        Pairs.
    flipped : float
        Share of the pairs whose answers differ without the effect, in both directions alike.
    """
    if n < 1 or not 0 <= flipped < 1:
        raise UsageError(f"{n} pairs of which a share of {flipped:g} differs show no loss")
    low, high = 0.0, 1.0 - flipped
    if loss_power(n, flipped, high, alpha=alpha) < power:
        return 1.0
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if loss_power(n, flipped, middle, alpha=alpha) >= power else (middle, high)
    return high


def loss_power(n: int, flipped: float, loss: float, *, alpha: float = ALPHA) -> float:
    """The probability that `n` pairs show a loss; see `smallest_loss`."""
    z, share = z_value(alpha), min(1.0, flipped + loss)
    if not share:
        return 0.0
    most = int(binom.ppf(1 - 1e-9, n, share))
    flips = np.arange(1, most + 1)
    # c - (m - c) > z sqrt(m): the fewest harmful flips that show it.
    fewest = np.floor((flips + z * np.sqrt(flips)) / 2) + 1
    harmful = min(1.0, (flipped / 2 + loss) / share)
    return float(np.sum(binom.pmf(flips, n, share) * binom.sf(fewest - 1, flips, harmful)))


def smallest_ratio(
    value: float, low: float, high: float, *, widen: float = 1.0, power: float = POWER, alpha: float = ALPHA
) -> float:
    """The ratio of a positive quantity that a second run of the same size shows with this power.

    The interval of the ratio of two such runs has, on the logarithm, the half-width ``h = widen sqrt(2) w``,
    with w the half-width of one run (MOVER: G. Y. Zou and A. Donner, Statistics in Medicine 27 (2008)
    1693-1702). A ratio r is shown with this power where ``log r >= h (1 + z_power / z_alpha)``, from the
    normal theory of a one-sided test (J. Fleiss et al., "Statistical methods for rates and proportions", 3rd
    ed. (2003), section 4.2). For intervals from Student's t that is on the safe side.

    Parameters
    ----------
    value, low, high : float
        With the one-sided interval of one run, above zero.
    widen : float
        How much wider the interval between two runs is (``harness.stats.difference.noise_factor``).
    """
    if not 0 < low <= value <= high < math.inf:
        return math.nan
    half = widen * math.sqrt(2) * max(math.log(high / value), math.log(value / low))
    return math.exp(half * _factor(power, alpha))


def smallest_slope(
    value: float, low: float, high: float, limit: float, *, power: float = POWER, alpha: float = ALPHA
) -> float:
    """The slope that a run shows to be above a limit with this power.

    ``limit + h (1 + z_power / z_alpha)``, with h the half-width of the interval of the slope without an
    effect (of Theil and Sen's estimate: P. K. Sen, Journal of the American Statistical Association 63 (1968)
    1379-1389). The value without an effect counts where it is above the limit.

    Parameters
    ----------
    value, low, high : float
        Slope without an effect, with its one-sided interval.
    limit : float
        Slopes up to it pass.
    """
    half = max(high - value, value - low)
    if not math.isfinite(half) or half < 0:
        return math.nan
    return max(limit, value) + half * _factor(power, alpha)


def smallest_of_bound(bound: float, low: float, high: float, limit: float, n: int) -> float:
    """The effect that lifts a bound of a further run above a limit with 95 % power.

    The bound is the lowest of `n` processes, and an effect lifts each by its size. That of a further run lies
    below it by chance, by more than `FURTHER` times the range in 5 % of runs.

    Parameters
    ----------
    bound : float
        Of the healthy run.
    low, high : float
        The range of what it is the lowest of.
    limit : float
        Bounds up to it pass.
    n : int
        Processes; of more than 5, 1 range is on the safe side.

    Returns
    -------
    float
        NaN for a single process, which shows no spread.
    """
    return max(0.0, limit - bound) + FURTHER.get(n, 1.0 if n > 5 else math.nan) * (high - low)


def smallest_ratio_of_bound(bound: float, low: float, high: float, limit: float, n: int) -> float:
    """The same of a ratio, which an effect multiplies; see `smallest_of_bound`."""
    if not (bound > 0 and 0 < low <= high):
        return math.nan
    bound, low, high, limit = (math.log(value) for value in (bound, low, high, limit))
    return math.exp(smallest_of_bound(bound, low, high, limit, n))


def _factor(power: float, alpha: float) -> float:
    return 1 + float(ndtri(power)) / z_value(alpha)
