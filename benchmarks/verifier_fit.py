"""Fit what `registration.verification` believes: `python -m benchmarks.verifier_fit`.

Every candidate that an exhaustive search refines on the pairs of `verifier_pairs` is one example.
It is right where it moves the source to within two voxels of the truth, wrong beyond five, and left
out in between. A logistic regression whose weights cannot be negative, so that more evidence never
speaks against a pose, is fitted to all. The threshold is the lowest at which at most one search in
a hundred takes a wrong pose, each group being judged by a fit to the others; of the penalties on
weights that refuse fewest right poses then, and of those that take fewest mirror images, the
strongest is taken, as it depends least on what was sampled. Mirror images are learned from but do
not move the threshold: that of a room of box shape is the room but for its furniture. How many the
evidence alone takes for it is reported; `register` asks of them whether the mirror image fits
better. Writes `registration/belief.py`.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.optimize import minimize

from registration.clouds import as_cloud
from registration.pairwise import LEVELS, Search
from registration.units import measure
from registration.verification import FEATURES

from .command import CHECKOUT
from .kept import kept, source_digest
from .registration_pairs import CONDITIONS, DISJOINT, Pair, harder, moved
from .registration_trials import SEARCH_SOURCES, interval
from .verifier_pairs import Example, examples

_RIGHT, _WRONG = 2.0, 5.0  # voxels
_PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0)  # on squared standardized weights
FALSE_ACCEPTS = 0.01
"""Share of held-out searches that may take a wrong pose."""
_FOLDS = 5
_SOURCES = (*SEARCH_SOURCES, "benchmarks/verifier_pairs.py", "benchmarks/street_scans.py")


@dataclass(frozen=True)
class Table:
    """All examples."""

    features: NDArray[np.float64]
    """[n, features]."""
    right: NDArray[np.bool_]
    """[n]."""
    groups: NDArray[np.int64]
    """[n] what the pair was made from."""
    searches: NDArray[np.int64]
    """[n] which registration it belongs to."""
    last: NDArray[np.bool_]
    """[n] whether it was judged at the last level, where answers are given."""
    mirrored: NDArray[np.bool_]
    """[n] whether a mirror image was searched for."""


@dataclass(frozen=True)
class Answers:
    """The best candidate of each held-out search."""

    scores: NDArray[np.float64]
    """[k] log-odds."""
    right: NDArray[np.bool_]
    """[k]."""
    mirrored: NDArray[np.bool_]
    """[k]."""

    @classmethod
    def of(cls, table: Table, penalty: float) -> Answers:
        """By fits to the groups of other folds."""
        scores = cross_validated(table, penalty)
        best = [
            rows[np.argmax(scores[rows])]
            for search in np.unique(table.searches)
            if len(rows := np.flatnonzero(table.last & (table.searches == search)))
        ]
        return cls(scores[best], table.right[best], table.mirrored[best])

    def threshold(self) -> float:
        """The lowest that lets no more wrong answers pass than allowed."""
        natural = ~self.mirrored
        wrong = np.sort(self.scores[natural & ~self.right])[::-1]
        return float(wrong[int(FALSE_ACCEPTS * natural.sum())])

    def refused(self) -> int:
        """Right answers that it refuses."""
        return int((~self.mirrored & self.right & (self.scores <= self.threshold())).sum())

    def mirrors_taken(self) -> int:
        """Mirror images that it lets pass."""
        return int((self.mirrored & (self.scores > self.threshold())).sum())


class Exhaustive(Search):
    """A search that believes nothing, so that all methods propose, and writes everything down."""

    def __init__(self, units, *, with_scale: bool) -> None:
        super().__init__(units, with_scale=with_scale)
        self.seen: list[tuple[list[float], list[list[float]], float, bool]] = []

    def _believed(self, margin: float) -> bool:
        return False

    def _consider(self, poses, origin: str) -> None:
        super()._consider(poses, origin)
        voxel, last = self.levels[-1].target.voxel, len(self.levels) == len(LEVELS)
        for item in self.candidates:
            matrix = self._matrix(item.pose).tolist()
            self.seen.append((item.evidence.features.tolist(), matrix, voxel, last))


def main() -> None:
    """Gather, fit, report and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="report without writing")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    table = gather()
    tried = {penalty: Answers.of(table, penalty) for penalty in _PENALTIES}
    penalty = min(tried, key=lambda p: (tried[p].refused(), tried[p].mirrors_taken(), -p))
    answers = tried[penalty]
    weights, bias = fit(table.features, table.right, penalty)
    report(answers)
    if not options.dry_run:
        write(weights, bias, answers.threshold())


def gather() -> Table:
    """Evidence of all candidates of all pairs, each under two conditions; kept between runs."""
    digest = source_digest(_SOURCES)
    found = list(examples())
    rows: list[tuple[list[float], bool, str, int, bool, bool]] = []
    for number, example in enumerate(track(found, "Searching")):
        for turn in range(2):
            name = f"{number} {example.pair.name} {turn}"
            seen = kept("verifier", digest, name, partial(_search, example, number, turn))
            search = 2 * number + turn
            rows += [
                (features, right, example.group, search, last, example.mirrored)
                for features, right, last in seen
            ]
    names = sorted({row[2] for row in rows})
    return Table(
        np.array([row[0] for row in rows]),
        np.array([row[1] for row in rows]),
        np.array([names.index(row[2]) for row in rows]),
        np.array([row[3] for row in rows]),
        np.array([row[4] for row in rows]),
        np.array([row[5] for row in rows]),
    )


def _search(example: Example, number: int, turn: int) -> list[tuple[list[float], bool, bool]]:
    """(features, right, last level) of the candidates of one registration."""
    choices = (*CONDITIONS, DISJOINT)
    condition = choices[(2 * number + turn + number // len(choices)) % len(choices)]
    pair, _ = harder(example.pair, condition, 10_000 + number)
    with_scale = number % 4 == 3
    if with_scale:
        pair = _rescaled(pair, float(10 ** np.random.default_rng(number).uniform(-1, 1)))
    units = (measure(as_cloud(pair.source).points), measure(as_cloud(pair.target).points))
    search = Exhaustive(units, with_scale=with_scale)
    search.run()
    related = example.related and condition != DISJOINT
    return list(_labeled(search, pair, related=related))


def _rescaled(pair: Pair, scale: float) -> Pair:
    truth = pair.T_target_source.copy()
    truth[:3, :3] /= scale
    return Pair(pair.name, pair.source * scale, pair.target, truth, pair.limit, pair.noise)


def _labeled(
    search: Exhaustive, pair: Pair, *, related: bool
) -> Iterator[tuple[list[float], bool, bool]]:
    sample = pair.source[:: max(1, len(pair.source) // 2000)]
    true = moved(sample, pair.T_target_source)
    for features, matrix, voxel, last in search.seen:
        off = moved(sample, np.array(matrix)) - true
        length = float(np.sqrt((off**2).sum(axis=1).mean())) / voxel
        if not related and length > _WRONG:
            yield features, False, last
        elif length < _RIGHT and related:
            yield features, True, last
        elif length > _WRONG:
            yield features, False, last


def fit(
    features: NDArray[np.float64], right: NDArray[np.bool_], penalty: float
) -> tuple[NDArray[np.float64], float]:
    """Non-negative weights and bias of a logistic regression, both classes weighing alike."""
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-9
    x = np.concatenate([(features - mean) / spread, np.ones((len(features), 1))], axis=1)
    signs = np.where(right, 1.0, -1.0)
    shares = np.where(right, 0.5 / right.sum(), 0.5 / (~right).sum()) * len(right)

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        odds = signs * (x @ w)
        value = float(shares @ np.logaddexp(0, -odds)) + penalty * float(w[:-1] @ w[:-1])
        slope = -x.T @ (shares * signs / (1 + np.exp(np.clip(odds, -500, 500))))
        slope[:-1] += 2 * penalty * w[:-1]
        return value, slope

    bounds = [(0.0, None)] * features.shape[1] + [(None, None)]
    start = np.zeros(x.shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    weights = found[:-1] / spread
    return weights, float(found[-1] - weights @ mean)


def cross_validated(table: Table, penalty: float) -> NDArray[np.float64]:
    """[n] log-odds of every example by a fit to the groups of other folds."""
    scores = np.zeros(len(table.right))
    folds = table.groups % _FOLDS
    for fold in range(_FOLDS):
        inside = folds == fold
        weights, bias = fit(table.features[~inside], table.right[~inside], penalty)
        scores[inside] = table.features[inside] @ weights + bias
    return scores


def report(answers: Answers) -> None:
    """What the threshold keeps and lets pass, on searches whose group was not fitted to."""
    log = logging.getLogger(__name__)
    taken = answers.scores > answers.threshold()
    natural = ~answers.mirrored
    right, wrong = natural & answers.right, natural & ~answers.right
    low, high = interval(int((taken & wrong).sum()), int(natural.sum()))
    log.info("threshold %.2f", answers.threshold())
    log.info("right answers taken: %d of %d", (taken & right).sum(), right.sum())
    log.info("wrong answers taken: %d of %d searches (%.1f to %.1f %%)",
             (taken & wrong).sum(), natural.sum(), 100 * low, 100 * high)  # fmt: skip
    log.info("mirror images taken: %d of %d", (taken & ~natural).sum(), (~natural).sum())


def write(weights: NDArray[np.float64], bias: float, threshold: float) -> None:
    """The module that the verifier reads."""
    lines = [f'    "{n}": {w:.4g},' for n, w in zip(FEATURES, weights, strict=True)]
    text = [
        '"""What evidence weighs. Written by `python -m benchmarks.verifier_fit`, not by hand."""',
        "",
        "WEIGHTS = {",
        *lines,
        "}",
        '"""Log-odds per unit of each feature of `verification.Evidence`, none negative."""',
        f"BIAS = {bias:.4g}",
        '"""Log-odds without any evidence, both answers being as likely beforehand."""',
        f"CONVINCING = {threshold:.4g}",
        '"""Log-odds from which clouds are called aligned: at most 1 of 100 held-out searches took '
        "a",
        'wrong pose."""',
        "",
    ]
    (CHECKOUT / "registration" / "belief.py").write_text("\n".join(text))


if __name__ == "__main__":
    main()
