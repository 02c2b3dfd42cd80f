"""The smallest difference that a number of questions can show: what "no difference was found" is worth.

80 of 100 such studies find a true difference of this size (two-sided test at 5 %). Sources:
Fleiss, Levin, Paik (2003), Statistical Methods for Rates and Proportions, chapter 4 (unpaired, as in statsmodels);
Connor (1987), Biometrics 43, 207-211 (paired).
"""

import math

ALPHA, POWER = 0.05, 0.8


def detectable_unpaired(n: int, base: float = 0.25) -> float:
    """The smallest rise above the share `base` that two sets of `n` different questions can show; nan if none."""
    from scipy.optimize import brentq
    from statsmodels.stats.proportion import power_proportions_2indep

    if n < 2 or not 0 < base < 1:
        return math.nan

    def missing(rise: float) -> float:
        return power_proportions_2indep(rise, base, n, alpha=ALPHA, return_results=False) - POWER

    most = 1 - base - 1e-9
    return float(brentq(missing, 1e-9, most)) if missing(most) > 0 else math.nan


def detectable_paired(n: int, discordant: float) -> float:
    """The smallest paired difference (a share) that `n` questions can show; nan if none.

    `discordant` is the share of questions that only one of the two conditions gets right. The smaller it is, the
    smaller the differences that can be shown, but no difference can exceed it. The solution for d of Connor's condition
    sqrt(n) d = a sqrt(discordant) + b sqrt(discordant - d²), where a and b are normal quantiles.
    """
    from scipy.special import ndtri

    if n < 1 or discordant <= 0:
        return math.nan
    a, b = float(ndtri(1 - ALPHA / 2)), float(ndtri(POWER))
    root = a**2 * n * discordant - (n + b**2) * (a**2 - b**2) * discordant
    if root < 0:
        return math.nan
    found = (a * math.sqrt(n * discordant) + math.sqrt(root)) / (n + b**2)
    return found if found <= discordant else math.nan
