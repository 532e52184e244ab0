"""The minimum of 1/2 ||u - f||^2 + beta TV(u) with a certificate of how close it is.

The dual problem has one vector p_k per term of the variation, |p_k| <= beta w_k, and gives the
solution as u = f - M^-1 D^T p. It is solved by the accelerated primal-dual method with diagonal
steps; the difference of primal and dual value bounds the error:
1/2 ||u - u*||^2 <= gap.

Reference: Chambolle and Pock, "A first-order primal-dual algorithm for convex problems", 2011,
algorithm 2; Pock and Chambolle, "Diagonal preconditioning for first order primal-dual algorithms",
2011; for finite elements see the package.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .elements import Variation

_CHECK_EVERY = 10


@dataclass(frozen=True, eq=False)
class Denoised:
    """A solution and how good it is."""

    signal: Float[np.ndarray, "N C"]
    """u."""
    energy: float
    """1/2 ||u - f||^2 + beta TV(u)."""
    gap: float
    """The energy exceeds the least possible one by no more than this."""
    iterations: int
    """Steps taken."""
    dual: Float[np.ndarray, "K D"]
    """p, from which a solution for another strength may start."""


def denoise(
    signal: Float[np.ndarray, "N C"],
    variation: Variation,
    *,
    strength: float,
    tolerance: float = 1e-4,
    max_iterations: int = 2000,
    start: Denoised | None = None,
) -> Denoised:
    """TV-L2 (Rudin-Osher-Fatemi) denoising on a finite-element space.

    Args:
        signal: f, one row per unknown.
        variation: The space.
        strength: beta, in units of the signal times length: jumps that enclose less than about
            2 beta / jump of a surface's width are removed, edges between large regions stay.
        tolerance: Stop at a gap of this share of the energy of f.
        max_iterations: Stop at the latest then; the gap says how far it came.
        start: A solution of the same problem for another strength.

    Raises:
        ValueError: Values that are not finite, or of another number, or a negative strength.
    """
    _check(signal, variation, strength)
    f = np.asarray(signal, np.float64)
    p = np.zeros((len(variation.weights), variation.rows * f.shape[1]))
    if strength == 0 or not len(p):
        return Denoised(f.copy(), 0.0, 0.0, 0, p)
    problem = _PrimalDual(f, variation, strength)
    return problem.run(p if start is None else start.dual, tolerance, max_iterations)


class _PrimalDual:
    """State of the iteration."""

    def __init__(self, f: np.ndarray, variation: Variation, strength: float) -> None:
        self.f, self.variation, self.strength = f, variation, strength
        self.mass = variation.masses[:, None]
        self.limit = (strength * variation.weights)[:, None]
        self.transposed = variation.operator.T.tocsr()
        # With S = diag(s), s_k <= 1 / max over the lines of term k of sum_i |D_i| |D|_i / m_i, the
        # norm of S^1/2 D M^-1/2 is at most 1 (Pock and Chambolle, lemma 2, for steps per term).
        size = abs(variation.operator)
        column = np.asarray(size.sum(axis=0)).reshape(-1)
        bound = size @ (column / variation.masses)
        bound = bound.reshape(len(self.limit), variation.rows).max(1)[:, None]
        self.steps = 1 / np.maximum(bound, 1e-300)

    def run(self, p: np.ndarray, tolerance: float, max_iterations: int) -> Denoised:
        """Iterate from the dual variables `p` until the gap closes."""
        operator = self.variation.operator
        tau, sigma = 1.0, 1.0
        scale = max(self.energy(self.f), 1e-300)
        p = self.feasible(p)
        best = self.certify(p)
        u = ahead = best.signal
        for step in range(1, max_iterations + 1):
            p = p + sigma * self.steps * (operator @ ahead).reshape(p.shape)
            p = self.feasible(p)
            back = (self.transposed @ self._lines(p)) / self.mass
            last, u = u, (u - tau * back + tau * self.f) / (1 + tau)
            theta = 1 / np.sqrt(1 + 2 * tau)
            tau, sigma = theta * tau, sigma / theta
            ahead = u + theta * (u - last)
            if step % _CHECK_EVERY == 0 or step == max_iterations:
                best = min(best, self.certify(p, step), key=lambda found: found.gap)
                if best.gap <= tolerance * scale:
                    break
        return best

    def feasible(self, p: np.ndarray) -> np.ndarray:
        """The nearest dual variables within their limits."""
        lengths = np.sqrt(np.einsum("kd,kd->k", p, p))[:, None]
        return p * np.minimum(1, self.limit / np.maximum(lengths, 1e-300))

    def certify(self, p: np.ndarray, iterations: int = 0) -> Denoised:
        """The primal solution of dual variables, and the gap between them."""
        u = self.f - (self.transposed @ self._lines(p)) / self.mass
        energy = self.energy(u)
        dual = 0.5 * float((self.mass * (self.f**2 - u**2)).sum())
        return Denoised(u, energy, max(0.0, energy - dual), iterations, p)

    def energy(self, u: np.ndarray) -> float:
        fit = 0.5 * float((self.mass * (u - self.f) ** 2).sum())
        return fit + self.strength * self.variation.value(u)

    def _lines(self, p: np.ndarray) -> np.ndarray:
        return p.reshape(-1, self.f.shape[1])


def _check(signal: np.ndarray, variation: Variation, strength: float) -> None:
    if signal.ndim != 2 or len(signal) != variation.size:
        raise ValueError(
            f"`signal` must be [{variation.size}, C], one row per unknown, "
            f"got {list(signal.shape)}."
        )
    if not np.isfinite(signal).all():
        raise ValueError("`signal` must be finite; replace or drop the cells with NaN first.")
    if not (0 <= strength < np.inf):
        raise ValueError(f"`strength` must be 0 or more and finite, got {strength}.")
