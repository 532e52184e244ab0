"""Opacities of eight bits, as the published compact methods store them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOGIT_ORIGIN = -5.5
"""Of the smallest opacity: Gaussians below 0.005 are pruned."""
LOGIT_STEP = 13.5 / 255
"""Of the logit; changes an opacity by at most 0.007."""


def logit_steps(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """`logits` on the grid LOGIT_ORIGIN + LOGIT_STEP * [0, 255], what lies outside at its ends."""
    return np.rint(np.clip((logits - LOGIT_ORIGIN) / LOGIT_STEP, 0, 255)).astype(np.uint8)
