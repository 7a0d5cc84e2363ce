"""The probability that a patient's class is named, from hits and compensators of his samples.

Hits alone estimate it by counting. A compensator (`checker.targets.compensator`) estimates it too,
with far less variance where the probability is small and with more where it is near one, and it can
exceed one. So each sample's hit N is corrected by how much more, or less, it was than expected:

    q̂ = (1/S) Σ_s [N_s - (1 - n_s) (N_s - X_s)],

with X the compensator and n_s the share of hits among the *other* samples. The weight 1 - n_s does
not depend on sample s, and N_s - X_s has mean zero, so q̂ is unbiased for any weights; these come
near the best ones (for hazards that do not change, (1 - q) ln(1/(1 - q)) / q) and they keep q̂ in
[0, 1]: with n hits and X_s - N_s at most 1, the sum is at most
n + n (1 - (n-1)/(S-1)) + (S - n) (1 - n/(S-1)) = S. Where nothing was hit it is the compensators'
mean, and where everything was, 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from checker.stats.arrays import FloatArray


def naming_probabilities(
    hits: NDArray[np.bool_], compensators: FloatArray, group: NDArray[np.int64]
) -> FloatArray:
    """Estimate for each prompt how likely a continuation is to name the class.

    Args:
        hits: [R] bool, whether a continuation named it.
        compensators: [R] in [0, 2].
        group: [R] int64 in [0, k), the prompt; every one of them has a continuation.

    Returns:
        [k] float64 in [0, 1]; with one continuation alone it is whether that one hit.

    >>> hits, group = np.zeros(4, dtype=bool), np.zeros(4, dtype=np.int64)
    >>> naming_probabilities(hits, np.array([0.01, 0.03, 0.0, 0.04]), group).round(4).tolist()
    [0.02]
    """
    n = hits.astype(np.float64)
    samples = np.bincount(group)
    others = np.maximum(samples - 1, 1)[group]
    share = (np.bincount(group, weights=n)[group] - n) / others
    weight = np.where(samples[group] > 1, 1.0 - share, 0.0)
    each = n - weight * (n - compensators)
    # compensators are stored as float32, so that the largest sum may exceed one by a rounding
    return np.clip(np.bincount(group, weights=each) / samples, 0.0, 1.0)
