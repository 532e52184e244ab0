"""The moving parts of one training session: position, clock, what is due and what was saved."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from .budget import Budget
from .cadence import Cadence
from .checkpoint import Checkpoint, latest_checkpoint, save_checkpoint
from .directory import RunDirectory
from .errors import NonFiniteLossError
from .files import write_json
from .memory import peak_cuda_memory_bytes, peak_memory_bytes
from .metrics import MetricsLog
from .pace import Pace
from .progress import Progress, Report
from .seeding import preserved_random_state, restore_random_state
from .summary import Summary
from .trainee import Trainee
from .watch import ScalarWatch, find_nan

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 0.5
"""Time between updates of the progress bar."""


class Session:
    """A trainee on its way through a budget; `loop.train` says in which order things happen."""

    def __init__(
        self,
        trainee: Trainee,
        run: RunDirectory,
        budget: Budget,
        cadence: Cadence,
        started: float | None,
        progress: Progress | None,
    ) -> None:
        self.trainee = trainee
        self.run = run
        self.budget = budget
        self.cadence = cadence
        self.progress = progress
        self.step = 0
        self._zero = time.monotonic() if started is None else started
        self._watch = ScalarWatch()
        self._pace = Pace()
        self._speed = 0.0
        self._loss: float | None = None
        self._psnr: float | None = None
        self._has_preview = False
        self._logged_step = 0
        self._refreshed = 0.0
        self._saved_step = -1
        self._saved_at = 0.0
        self._checkpoint: Path | None = None

    @property
    def elapsed(self) -> float:
        """Seconds on the budget's clock."""
        return time.monotonic() - self._zero

    def fraction(self) -> float:
        """Spent share of the budget."""
        return self.budget.progress(self.step, self.elapsed)

    def restore(self) -> int:
        """Go to the newest checkpoint, if any; returns its step."""
        checkpoint = latest_checkpoint(self.run.checkpoints)
        if checkpoint is not None:
            self.trainee.load_state_dict(checkpoint.trainee)
            self.step = self._logged_step = self._saved_step = checkpoint.step
            self._checkpoint = self.run.latest_checkpoint
            self._zero -= checkpoint.elapsed
            restore_random_state(checkpoint.random)
            logger.info("Resuming %s after step %d.", self.run.path, self.step)
        self._saved_at = self.elapsed
        self._speed = self._pace.update(self.elapsed, self.step)
        return self.step

    def advance(self, fraction: float) -> None:
        """Do one step and keep the progress bar moving."""
        self._watch.add(self.trainee.step(self.step, fraction))
        self.step += 1
        if self.progress is not None and self.elapsed - self._refreshed > REFRESH_SECONDS:
            self.progress.refresh(self._report())

    def log_if_due(self, metrics: MetricsLog) -> None:
        """Write a row of metrics every `log_every` steps and with every preview."""
        preview_every = self.cadence.preview_every
        preview_due = preview_every is not None and self.step % preview_every == 0
        if preview_due or self.step % self.cadence.log_every == 0:
            self._log(metrics, preview=preview_due)

    def save_if_due(self, metrics: MetricsLog) -> None:
        """Write a checkpoint when enough steps or seconds have passed since the last."""
        steps, seconds = self.cadence.checkpoint_every_steps, self.cadence.checkpoint_every_seconds
        if (steps is not None and self.step % steps == 0) or (
            seconds is not None and self.elapsed - self._saved_at >= seconds
        ):
            self._save(metrics)

    def finish(self, metrics: MetricsLog, scene_name: str, interrupted_by: str | None) -> Summary:
        """Save everything and sum up."""
        spent = self.fraction() >= 1
        if spent and self._logged_step < self.step:
            self._log(metrics, preview=False)
        checkpoint = self._checkpoint
        if checkpoint is None or self._saved_step != self.step:
            checkpoint = self._save(metrics)
        scene = self.trainee.save_scene(self.run.path / scene_name)
        if interrupted_by is not None and not spent:
            logger.warning(
                "Stopped by %s after step %d, saved %s; repeat the command with --resume to go on.",
                interrupted_by,
                self.step,
                checkpoint,
            )
        summary = Summary(
            steps=self.step,
            seconds=self.elapsed,
            num_primitives=self.trainee.num_primitives,
            peak_memory_bytes=peak_memory_bytes(),
            peak_cuda_memory_bytes=peak_cuda_memory_bytes(),
            checkpoint=checkpoint,
            scene=scene,
            interrupted_by=None if spent else interrupted_by,
        )
        write_json(self.run.summary_file, summary.numbers())
        return summary

    def _log(self, metrics: MetricsLog, *, preview: bool) -> None:
        self._require_finite_loss()
        values = self._watch.values()
        self._loss = values.get("loss", self._loss)
        if not self._has_preview:
            self._psnr = values.get("psnr", self._psnr)
        values["num_primitives"] = self.trainee.num_primitives
        if preview:
            with preserved_random_state():
                held_out = self.trainee.preview()
            values |= {f"preview_{name}": value for name, value in held_out.items()}
            if "psnr" in held_out:
                self._psnr, self._has_preview = held_out["psnr"], True
        metrics.write(self.step, values)
        self._logged_step = self.step
        report = self._report()
        logger.info("%s", report)
        if self.progress is not None:
            self.progress.log(report)

    def _save(self, metrics: MetricsLog) -> Path:
        self._require_finite_loss()
        with preserved_random_state() as random:
            state = self.trainee.state_dict()
            if (name := find_nan(state)) is not None:
                raise NonFiniteLossError(self._explain(f"{name} holds NaN after step {self.step}"))
            metrics.sync()
            checkpoint = Checkpoint(self.step, self.elapsed, state, random)
            keep = self.cadence.keep_checkpoints
            self._checkpoint = save_checkpoint(self.run.checkpoints, checkpoint, keep=keep)
        self._saved_step, self._saved_at = self.step, self.elapsed
        return self._checkpoint

    def _require_finite_loss(self) -> None:
        bad = self._watch.steps_since_finite()
        if bad:
            step = self.step - bad + 1
            raise NonFiniteLossError(self._explain(f"the loss is not finite in step {step}"))

    def _explain(self, problem: str) -> str:
        last = self.run.latest_checkpoint
        where = f"the last finite checkpoint is {last}" if last else "there is no checkpoint yet"
        return f"{problem}; {where}. Lower the learning rates or look for bad input."

    def _report(self) -> Report:
        elapsed = self._refreshed = self.elapsed
        self._speed = self._pace.update(elapsed, self.step)
        return Report(
            step=self.step,
            fraction=self.budget.progress(self.step, elapsed),
            steps_per_second=self._speed,
            remaining_seconds=self.budget.remaining_seconds(self.step, elapsed, self._speed),
            num_primitives=self.trainee.num_primitives,
            loss=self._loss,
            psnr=self._psnr,
        )
