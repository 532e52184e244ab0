"""Outcomes of registrations from random starts, kept between runs, and how sure they are."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from rich.console import Console
from rich.progress import track

from registration import register
from registration.kernels import kernels
from registration.units import measure

from .kept import kept, source_digest
from .registration_pairs import CONDITIONS, DISJOINT, Pair, harder, pose_error, real_pairs
from .registration_rivals import Claim, Register, rivals, within

STARTS, QUICK_STARTS = 200, 2
"""Random starts of ours per pair and condition."""
RIVAL_STARTS, QUICK_RIVAL_STARTS = 3, 1
"""The first of those, on which rivals are tried too: they take several seconds each."""
RIVAL_SECONDS = 30
"""What a rival may take for one start, dozens of times what ours does."""
OURS = "ours"

SEARCH_SOURCES = (
    "registration/csrc",
    *(f"registration/{name}.py" for name in (
        "hypotheses", "matching", "pairwise", "preparation", "refinement", "ume", "units",
        "verification",
    )),
    "benchmarks/registration_pairs.py",
)  # fmt: skip
"""What a registration of arrays depends on, but for what evidence weighs."""
OURS_SOURCES = (*SEARCH_SOURCES, "registration/belief.py")
"""All that it depends on."""
_RIVALS_SOURCES = ("benchmarks/registration_rivals.py", "benchmarks/registration_pairs.py")

_WRONG_DEG, _WRONG_LIMITS = 5.0, 5.0
_NORMAL = 1.96  # two-sided 95 %
_Found = tuple[bool, bool, bool]
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """One registration."""

    strict: bool
    """Pose within 1 degree and the pair's translation limit."""
    wrong: bool
    """Called aligned though beyond 5 degrees or five limits, or though nothing is shared."""
    credited: bool = True
    """Called aligned; rivals are credited with any pose that they return."""


@dataclass(frozen=True)
class Trials:
    """All starts of one method on one pair under one condition."""

    pair: str
    """Name of the pair."""
    condition: str
    """How it was made harder."""
    method: str
    """Ours or a rival."""
    outcomes: tuple[Outcome, ...]
    """By start, the same starts for all methods."""

    @property
    def group(self) -> str:
        """Pairs of one data set are counted together."""
        return self.pair.split()[0]


def all_trials(*, quick: bool) -> Iterator[Trials]:
    """Every pair, condition and method; finished ones are read from `kept.FOLDER`."""
    methods: dict[str, Register] = {OURS: _ours} | rivals()
    work = [
        (pair, condition, name)
        for pair in real_pairs(refined=True)
        for condition in (*CONDITIONS, DISJOINT)
        for name in methods
    ]
    # Fresh processes, as forks of this one would inherit locks of libraries' threads.
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(os.cpu_count(), context, initializer=one_thread) as pool:
        for pair, condition, name in track(work, "Registering", console=Console(stderr=True)):
            ours = name == OURS
            starts = _starts(ours=ours, quick=quick)
            run = partial(_trial, methods[name], pair, condition, ours=ours)
            # Rivals run one by one: they use all cores, and their time is limited.
            compute = partial(_listed, pool.map if ours else map, run, range(starts))
            digest = source_digest(OURS_SOURCES if ours else _RIVALS_SOURCES)
            label = f"{pair.name} {condition} {name} {starts}"
            found = kept("registration", digest, label, compute)
            yield Trials(pair.name, condition, name, tuple(Outcome(*item) for item in found))


def one_thread() -> None:
    """Where every core has a process of its own; poses do not depend on it."""
    kernels().set_num_threads(1)


def _listed(
    mapped: Callable[..., Iterable[_Found]], run: Callable[[int], _Found], seeds: range
) -> list[_Found]:
    return list(mapped(run, seeds))


def _starts(*, ours: bool, quick: bool) -> int:
    if ours:
        return QUICK_STARTS if quick else STARTS
    return QUICK_RIVAL_STARTS if quick else RIVAL_STARTS


def _ours(source: np.ndarray, target: np.ndarray, voxel: float) -> Claim:
    found = register(source, target)
    return Claim(found.T_target_source, found.converged)


def _trial(method: Register, pair: Pair, condition: str, seed: int, *, ours: bool) -> _Found:
    """The fields of an `Outcome`."""
    moved, motion = harder(pair, condition, seed)
    try:
        inputs = (moved.source, moved.target, common_voxel(moved))
        claim = method(*inputs) if ours else within(RIVAL_SECONDS, method, *inputs)
    except (RuntimeError, ValueError, IndexError) as error:
        _logger.warning("%s failed: %s", method.__name__, error)
        claim = Claim(np.eye(4), False)
    error = pose_error(claim.pose, moved, motion)
    far = error.degrees > _WRONG_DEG or error.length > _WRONG_LIMITS * pair.limit
    wrong = claim.accepted and (far or condition == DISJOINT)
    return bool(error.strict(pair)), bool(wrong), bool(claim.accepted or not ours)


def common_voxel(pair: Pair) -> float:
    """The voxel size that ours would choose for both clouds."""
    units = (measure(pair.source), measure(pair.target))
    return float(np.sqrt(units[0].voxel() * units[1].voxel()))


def interval(count: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `count` in `total`."""
    share, z = count / total, _NORMAL
    middle = share + z**2 / (2 * total)
    width = z * float(np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2)))
    return (middle - width) / (1 + z**2 / total), (middle + width) / (1 + z**2 / total)
