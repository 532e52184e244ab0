"""The training loop: budget, logging, checkpoints, exact resume and clean stops."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext

from .budget import Budget
from .cadence import Cadence
from .directory import RunDirectory
from .metrics import MetricsLog
from .progress import Progress
from .session import Session
from .stopping import stop_on_signals
from .summary import Summary
from .trainee import Trainee

logger = logging.getLogger(__name__)


def train(
    trainee: Trainee,
    run: RunDirectory,
    *,
    budget: Budget,
    cadence: Cadence | None = None,
    started: float | None = None,
    progress: Progress | None = None,
    on_step: Callable[[int], None] | None = None,
    scene_name: str = "scene.ply",
) -> Summary:
    """Train until the budget is spent, from the newest checkpoint of `run` if it has one.

    With a budget in steps alone, an interrupted and resumed run equals an uninterrupted one bit for
    bit (on the CPU): state, files and random numbers. After Ctrl-C or SIGTERM the current step is
    finished and a checkpoint written; a second Ctrl-C raises KeyboardInterrupt at once.

    Args:
        trainee: What to train, freshly created with the same settings as in earlier sessions.
        run: Where everything goes.
        budget: When to stop.
        cadence: How often to save, log and preview; default `Cadence()`.
        started: `time.monotonic()` at which the budget's clock started in this session, so that
            start-up and loading count; now by default.
        progress: Where to show progress; made by scripts.
        on_step: Called with the number of steps done after each step, for a live viewer. Must not
            draw from the global random generators. If it fails, the error is logged and it is not
            called again; training goes on.
        scene_name: File name proposed to `Trainee.save_scene`.

    Raises:
        NonFiniteLossError: The loss or the state is not finite; the last checkpoint is finite.
        CheckpointError: A checkpoint cannot be written (full disk) or none of them can be read.
    """
    session = Session(trainee, run, budget, cadence or Cadence(), started, progress)
    shown = progress if progress is not None else nullcontext()
    with run.logging(), stop_on_signals() as stop:
        step = session.restore()
        with MetricsLog(run.metrics_file, last_step=step) as metrics, shown:
            while (fraction := session.fraction()) < 1 and not stop.requested:
                session.advance(fraction)
                if on_step is not None:
                    on_step = _call_viewer(on_step, session.step)
                session.log_if_due(metrics)
                session.save_if_due(metrics)
            return session.finish(metrics, scene_name, stop.signal.name if stop.signal else None)


def _call_viewer(on_step: Callable[[int], None], step: int) -> Callable[[int], None] | None:
    """Call `on_step`; None in its place once it has failed: a viewer must not end a training."""
    try:
        on_step(step)
    except Exception:
        logger.exception("The live view failed after step %d and is switched off.", step)
        return None
    return on_step
