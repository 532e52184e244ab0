"""Damaged files, by the million: a reader must return what was stored, or refuse.

Worker processes read numbered cases; the parent sees in shared memory which case each works on, so
that a crash or a hang is counted, attributed and survived.
"""

from __future__ import annotations

import importlib
import multiprocessing
import resource
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .damage import case_random, damaged

SECONDS_PER_CASE = 10.0
"""A reader that takes longer hangs."""
MEMORY_BYTES = 1 << 30
"""A worker may map this much more than it had after reading every undamaged file."""
OUTCOMES = ("refused", "same", "other", "wrong", "crash")


@dataclass(frozen=True)
class Target:
    """What to damage and how to read it."""

    files: tuple[bytes, ...]
    """Valid files."""
    read: Callable[[bytes], object]
    """Reads a whole file; returns what identifies its content (compared with ==)."""
    refusals: tuple[type[Exception], ...]
    """Exceptions that are an answer; any other is a crash."""
    split: Callable[[bytes], list[bytes]] | None = None
    """Takes a valid file apart into what checksums, lengths or compression protect. Of every two
    cases one then damages a part or exchanges two, and `join`s them again."""
    join: Callable[[list[bytes]], bytes] | None = None
    """Makes a file with valid checksums and lengths of any parts, so that the damage is read."""
    checked: bool = False
    """Whether checksums cover every byte: then damage behind them that is read as other content is
    "wrong"."""


@dataclass
class Report:
    """What became of the damaged files."""

    cases: int
    """How many were read."""
    outcomes: Counter[str]
    """Counts of "refused", "same" content, "other" content, "wrong" (other content where checksums
    should have told), "crash" (another exception, or the end of the process) and "hang"."""
    failures: list[tuple[int, str]]
    """Case number and what happened, for wrong, crash and hang."""
    peak_bytes: int
    """Largest growth of a worker's resident memory over reading the undamaged files."""
    seconds: float
    """Wall time."""


def mutant(target: Target, case: int, seed: int = 0) -> tuple[bytes, int, bool]:
    """The damaged file of a case, the index of its original, and whether it was joined of parts."""
    rng = case_random(seed, case)
    index = rng.randrange(len(target.files))
    data = target.files[index]
    if target.split is None or target.join is None or case % 2 == 0:
        return damaged(data, rng, target.files), index, False
    parts = target.split(data)
    place = rng.randrange(len(parts)) if rng.random() < 0.8 else 0
    if rng.random() < 0.05:
        other = rng.randrange(len(parts))
        parts[place], parts[other] = parts[other], parts[place]
    else:
        others = target.split(rng.choice(target.files))
        parts[place] = damaged(parts[place], rng, others)
    return target.join(parts), index, True


def read_case(target: Target, originals: Sequence[object], case: int, seed: int) -> tuple[str, str]:
    """Outcome of one case, and what was raised."""
    data, index, joined = mutant(target, case, seed)
    try:
        content = target.read(data)
    except target.refusals as error:
        return "refused", repr(error)
    except Exception as error:  # every other exception is what this program looks for
        return "crash", repr(error)
    if content == originals[index]:
        return "same", ""
    if target.checked and not joined and content not in originals:
        return "wrong", "damage passed the checksums"
    return "other", ""


def load_target(factory: str) -> Target:
    """The target that "package.module:function" returns."""
    module, name = factory.split(":")
    return getattr(importlib.import_module(module), name)()


def fuzz(
    factory: str,
    num_cases: int,
    *,
    first_case: int = 0,
    seed: int = 0,
    num_processes: int = 1,
    seconds_per_case: float = SECONDS_PER_CASE,
    memory_bytes: int = MEMORY_BYTES,
) -> Report:
    """Read `num_cases` damaged files.

    Args:
        factory: "package.module:function" that returns the `Target`; called in every worker.
        num_cases: How many.
        first_case: Number of the first one.
        seed: Cases of another seed are others.
        num_processes: Workers.
        seconds_per_case: A case that takes longer counts as a hang.
        memory_bytes: How much more a worker may map than reading undamaged files took; beyond,
            the system refuses memory, which is a crash unless the reader refuses the file.
    """
    start = time.perf_counter()
    plan = _Plan(factory, seed, memory_bytes, multiprocessing.get_context("spawn"))
    stop = first_case + num_cases
    share = max(1, -(-num_cases // num_processes))
    workers = [_Worker(plan, at, min(at + share, stop)) for at in range(first_case, stop, share)]
    running = workers
    while running:
        time.sleep(0.02)
        running = [worker for worker in running if worker.watch(seconds_per_case)]
    failures = [failure for worker in workers for failure in worker.failures]
    outcomes = Counter[str]()
    for worker in workers:
        outcomes.update(dict(zip(OUTCOMES, worker.shared[_COUNTS:], strict=True)))
    outcomes.update(detail.split(":")[0] for _, detail in failures if _ENDED in detail)
    return Report(
        cases=outcomes.total(),
        outcomes=+outcomes,
        failures=sorted(failures),
        peak_bytes=max((worker.shared[_PEAK] for worker in workers), default=0),
        seconds=time.perf_counter() - start,
    )


_CASE, _PEAK, _COUNTS = 0, 1, 2  # places in a worker's shared memory
_ENDED = "the process was ended"
_DONE = -2


@dataclass(frozen=True)
class _Plan:
    """What all workers share."""

    factory: str
    seed: int
    memory_bytes: int
    context: Any


@dataclass
class _Worker:
    """One process at a time that reads a range of cases, started again behind a fatal one."""

    plan: _Plan
    begin: int
    stop: int
    failures: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shared = self.plan.context.Array("q", _COUNTS + len(OUTCOMES), lock=False)
        self.queue = self.plan.context.SimpleQueue()
        self._start(self.begin)

    def _start(self, begin: int) -> None:
        self.shared[_CASE] = self._seen = -1
        self._since = time.monotonic()
        plan = self.plan
        arguments = (plan.factory, plan.seed, plan.memory_bytes, begin, self.stop)
        self.process = self.plan.context.Process(
            target=_work, args=(self.shared, self.queue, *arguments), daemon=True
        )
        self.process.start()

    def watch(self, seconds_per_case: float) -> bool:
        """Note failures and go on behind a fatal case; False once all cases were read."""
        while not self.queue.empty():
            self.failures.append(self.queue.get())
        alive, case = self.process.is_alive(), self.shared[_CASE]
        if case != self._seen:
            self._seen, self._since = case, time.monotonic()
        if alive and (case < 0 or time.monotonic() - self._since < seconds_per_case):
            return True
        if not alive and case == _DONE:
            return not self.queue.empty()
        if not alive and case < 0:
            raise RuntimeError(f"a fuzzing worker ended early with {self.process.exitcode}.")
        kind = "hang" if alive else "crash"
        self.process.kill()
        self.process.join()
        self.failures.append((case, f"{kind}: {_ENDED} ({self.process.exitcode})"))
        if case + 1 >= self.stop:
            return False
        self._start(case + 1)
        return True


def _work(
    shared: Any, queue: Any, factory: str, seed: int, memory_bytes: int, begin: int, stop: int
) -> None:
    """Read cases in a process of its own."""
    target = load_target(factory)
    originals = [target.read(data) for data in target.files]
    _limit_memory(memory_bytes)
    before = _reset_resident_peak()
    for case in range(begin, stop):
        shared[_CASE] = case
        outcome, detail = read_case(target, originals, case, seed)
        shared[_COUNTS + OUTCOMES.index(outcome)] += 1
        if outcome in ("crash", "wrong"):
            queue.put((case, f"{outcome}: {detail:.500}"))
        if case % 256 == 0 or case == stop - 1:
            shared[_PEAK] = max(shared[_PEAK], _resident_peak() - before)
    shared[_CASE] = _DONE


def _reset_resident_peak() -> int:
    """Forget the largest resident memory so far; returns what it is now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _resident_peak()


def _resident_peak() -> int:
    """Bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def _limit_memory(more_bytes: int) -> None:
    """Let this process map only so much more than it does now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    mapped = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + more_bytes, mapped + more_bytes))
