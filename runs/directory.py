"""The folder of one run: where everything lies, and when it may be reused."""

from __future__ import annotations

import json
import logging
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .checkpoint import latest_checkpoint_path
from .config import config_from_json, config_to_json
from .environment import describe_environment
from .errors import RunError
from .files import TEMPORARY_SUFFIX, write_json
from .logs import logging_to

FORMAT = "fieldwright run"
CONFIG_VERSION = 1

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class RunDirectory:
    """A run's folder; made by `create`, found again by `open`."""

    path: Path
    """The folder itself."""
    method: str
    """Name of the training method, for `plugins.load_plugin(METHODS, method)`."""
    config: dict[str, Any]
    """The configuration as plain JSON; `read_config` rebuilds the dataclass."""

    @classmethod
    def create(
        cls,
        path: Path | str,
        *,
        method: str,
        config: Any,
        overwrite: bool = False,
        resume: bool = False,
        may_change: tuple[str, ...] = (),
    ) -> RunDirectory:
        """Make the folder of a new run, or take over that of an earlier one.

        Args:
            path: Folder; missing parents are made. An empty folder is used as it is.
            method: Name of the training method.
            config: Dataclass of settings (nested ones, too), written to config.json.
            overwrite: Start again in the folder of an earlier run. What that run wrote is deleted,
                other files stay.
            resume: Continue the run in the folder; where there is none yet, start it.
            may_change: Dotted fields of `config`, for example "budget.max_steps", that may differ
                from the earlier session when resuming; config.json then takes the new values.

        Raises:
            FileExistsError: The folder has content and neither option allows its use, or the
                content is not a run.
            RunError: `resume` with another method or other settings than the run was started with.
        """
        if overwrite and resume:
            raise ValueError("`overwrite` and `resume` exclude each other, got both.")
        path = Path(path)
        run = cls(path, method, config_to_json(config))
        if path.exists() and not path.is_dir():
            raise FileExistsError(f"{path} must be a folder, found a file; choose another one.")
        if path.exists() and any(file.suffix != TEMPORARY_SUFFIX for file in path.iterdir()):
            if not (overwrite or resume):
                raise FileExistsError(
                    f"{path} is not empty; choose another folder, resume the run in it with "
                    "--resume or delete that run and start again with --overwrite."
                )
            earlier = cls._open_for_reuse(path)
            if resume:
                earlier._check_same(run, may_change)
            else:
                earlier._delete()
        path.mkdir(parents=True, exist_ok=True)
        run._write_config()
        if not run.environment_file.exists():
            write_json(run.environment_file, describe_environment())
        return run

    @classmethod
    def open(cls, path: Path | str) -> RunDirectory:
        """The run in an existing folder; nothing is changed.

        Raises:
            FileNotFoundError: There is no config.json.
            RunError: config.json is not that of a run or has an unknown version.
        """
        file = Path(path) / "config.json"
        if not file.is_file():
            raise FileNotFoundError(f"{path} is not a run: {file.name} is missing.")
        try:
            stored = json.loads(file.read_bytes())
        except ValueError as error:
            raise RunError(f"{file} is not readable as JSON: {error}.") from error
        if not isinstance(stored, dict) or stored.get("format") != FORMAT:
            raise RunError(f'{file} is not that of a run: it lacks "format": "{FORMAT}".')
        if stored.get("version") != CONFIG_VERSION:
            raise RunError(
                f"{file} has version {stored.get('version')}, this version of fieldwright reads "
                f"{CONFIG_VERSION}."
            )
        return cls(Path(path), stored["method"], stored["config"])

    def read_config(self, kind: type[T]) -> T:
        """The configuration as the dataclass `kind`; ValueError names a field that does not fit."""
        return config_from_json(kind, self.config)

    def logging(self) -> AbstractContextManager[None]:
        """A context in which everything logged is also written to train.log."""
        return logging_to(self.log_file)

    @property
    def config_file(self) -> Path:
        """Method and settings."""
        return self.path / "config.json"

    @property
    def environment_file(self) -> Path:
        """What the first session ran on."""
        return self.path / "environment.json"

    @property
    def metrics_file(self) -> Path:
        """One JSON row per logged step."""
        return self.path / "metrics.jsonl"

    @property
    def summary_file(self) -> Path:
        """How the newest session ended, see `read_summary`."""
        return self.path / "summary.json"

    def read_summary(self) -> dict[str, Any]:
        """Steps, seconds and memory of the training so far; empty before its first end."""
        return json.loads(self.summary_file.read_bytes()) if self.summary_file.is_file() else {}

    @property
    def log_file(self) -> Path:
        """Messages of all sessions."""
        return self.path / "train.log"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def eval_folder(self) -> Path:
        """Folder for the evaluation: images and report.html."""
        return self.path / "eval"

    @property
    def scene_file(self) -> Path | None:
        """The deliverable, `scene` with any suffix (.fwa first); None before the first save."""
        found = sorted(
            path for path in self.path.glob("scene.*") if path.suffix != TEMPORARY_SUFFIX
        )
        return next((path for path in found if path.suffix == ".fwa"), next(iter(found), None))

    @property
    def latest_checkpoint(self) -> Path | None:
        """The newest checkpoint file, None before the first."""
        return latest_checkpoint_path(self.checkpoints)

    @classmethod
    def _open_for_reuse(cls, path: Path) -> RunDirectory:
        try:
            return cls.open(path)
        except (FileNotFoundError, RunError) as error:
            raise FileExistsError(
                f"{path} is not empty and holds no run, so it is neither resumed nor overwritten "
                f"({error}); choose another folder."
            ) from error

    def _write_config(self) -> None:
        write_json(
            self.config_file,
            {
                "format": FORMAT,
                "version": CONFIG_VERSION,
                "method": self.method,
                "config": self.config,
            },
        )

    def _check_same(self, other: RunDirectory, may_change: tuple[str, ...]) -> None:
        """Refuse settings that would make the resumed run another one."""
        if other.method != self.method:
            raise RunError(f"{self.path} is a run of `{self.method}`, not of `{other.method}`.")
        before, now = _flat(self.config), _flat(other.config)
        changed = [
            f"{name}: {before.get(name)!r} became {now.get(name)!r}"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name) and name not in may_change
        ]
        if changed:
            raise RunError(
                f"{self.path} cannot be resumed with other settings ({'; '.join(changed)}); "
                "repeat the first ones or start a new run."
            )

    def _delete(self) -> None:
        """Remove what a run writes and nothing else; config.json is replaced afterwards."""
        for folder in (self.checkpoints, self.eval_folder):
            if folder.is_dir():
                shutil.rmtree(folder)
        for file in (
            *self.path.glob("scene.*"),
            self.metrics_file,
            self.summary_file,
            self.log_file,
            self.environment_file,
        ):
            file.unlink(missing_ok=True)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted names."""
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for name, item in value.items():
        flat |= _flat(item, f"{prefix}.{name}" if prefix else name)
    return flat
