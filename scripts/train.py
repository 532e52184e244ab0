"""Fit a scene to a capture within a budget, then score the written file in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from captures import Capture, load_capture
from runs import (
    METHODS,
    Budget,
    Cadence,
    RunDirectory,
    RunError,
    Summary,
    WatchableTrainee,
    config_from_json,
    list_plugins,
    load_plugin,
    make_progress,
    read_metrics,
    train,
)

from . import STARTED_AT
from .common import Common, console, resolve_device

if TYPE_CHECKING:
    from viewer import LiveViewer

DEFAULT_STEPS = 7000
"""Length of a run that names no limit; the shorter of the two usual 3DGS schedules."""

_LIMITS = ("max_steps", "max_seconds")


@dataclass(frozen=True, kw_only=True)
class Train(Common):
    """Flags of every method; those of the method itself follow."""

    out: Path
    """Folder of the run."""
    data: Path | None = None
    """Folder of the capture; only a resumed run may leave it out."""
    max_steps: int | None = None
    """Stop after this many steps; 7000 where neither limit is given."""
    max_seconds: float | None = None
    """Stop after this many seconds of wall time, start-up and loading included."""
    downscale: float | None = None
    """Reduce the photos by this factor."""
    test_every: int = 8
    """Hold out every n-th photo for evaluation."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; None saves one every minute."""
    resume: bool = False
    """Continue the run in `--out` with its saved settings."""
    overwrite: bool = False
    """Delete the run in `--out` and start again."""
    evaluate: bool = True
    """Score the written scene on the held-out photos afterwards."""
    view: bool = False
    """Show the scene in the browser while it trains."""
    port: int = 8080
    """Port of `--view`; the next free one is taken if it is in use."""
    method_name: tyro.conf.Suppress[str] = ""
    """Chosen by the word after `train`."""


@dataclass(frozen=True)
class Settings:
    """What config.json of a run holds."""

    data: Path
    """Folder of the capture."""
    downscale: float | None
    """Factor by which the photos were reduced."""
    test_every: int
    """Every n-th photo is held out."""
    seed: int
    """Seed of every random choice."""
    max_steps: int | None
    """Limit in steps."""
    max_seconds: float | None
    """Limit in seconds."""
    method: Any
    """The method's own `Config`."""


def parse(args: Sequence[str]) -> Train:
    """The flags after `fieldwright train`; the first word names the method."""
    from .main import suggestion

    methods = list_plugins(METHODS)
    if not args or args[0] in ("-h", "--help"):
        sys.stdout.write(
            "usage: fieldwright train METHOD --data DIR --out RUN [options]\n\n"
            f"methods: {', '.join(methods)}\n\n"
            "fieldwright train METHOD --help lists the options of one method.\n"
        )
        raise SystemExit(0 if args else 2)
    name = args[0]
    if name not in methods:
        sys.stderr.write(suggestion("method", name, methods) + "\n")
        raise SystemExit(2)
    config_type = load_plugin(METHODS, name).Config
    method: Any = Annotated[config_type, tyro.conf.OmitArgPrefixes]
    flags: Any = make_dataclass(
        "Train",
        [("method", method, field(default_factory=config_type))],
        bases=(Train,),
        frozen=True,
        kw_only=True,
    )
    default = _saved_flags(flags, config_type, args[1:])
    parsed = tyro.cli(
        flags,
        args=list(args[1:]),
        default=default,
        prog=f"fieldwright train {name}",
        description=__doc__,
    )
    values = {item.name: getattr(parsed, item.name) for item in fields(parsed)}
    return flags(**values | {"method_name": name})


def run(config: Any) -> dict[str, Any]:
    """Train, write the scene and evaluate it; returns the `--json` summary."""
    if config.data is None:
        raise ValueError("`--data` must name the folder of a capture; only --resume may omit it.")
    if config.view:
        from viewer import require_viser

        require_viser()
    device = resolve_device(config)
    settings = Settings(
        data=Path(config.data).resolve(),
        downscale=config.downscale,
        test_every=config.test_every,
        seed=config.seed,
        max_steps=_max_steps(config),
        max_seconds=config.max_seconds,
        method=config.method,
    )
    capture = load_capture(
        settings.data, downscale=settings.downscale, test_every=settings.test_every
    )
    console.print(
        f"Capture: {len(capture)} images ({capture.resolution}), "
        f"{len(capture.train)} to train on, {len(capture.test)} held out"
    )
    directory = RunDirectory.create(
        config.out,
        method=config.method_name,
        config=settings,
        overwrite=config.overwrite,
        resume=config.resume,
        may_change=_LIMITS,
    )
    method = load_plugin(METHODS, config.method_name)
    trainee = method.create(config.method, capture, device=device, seed=config.seed)
    with _watched(trainee, capture, directory, config) as viewer:
        summary = train(
            trainee,
            directory,
            budget=Budget(settings.max_steps, settings.max_seconds),
            cadence=_cadence(config, capture),
            started=STARTED_AT,
            progress=make_progress(console),
            on_step=None if viewer is None else viewer.update,
        )
    console.print(
        f"Trained {summary.steps} steps in {summary.seconds:.1f} s, peak memory "
        f"{summary.peak_memory_bytes / 1e9:.2f} GB. Scene: {summary.scene}"
    )
    scores = {}
    if config.evaluate and capture.test and summary.interrupted_by is None:
        scores = _evaluate_in_fresh_process(directory.path, config)
    return _summary(summary, scores, directory.path, str(device))


@contextmanager
def _watched(
    trainee: WatchableTrainee, capture: Capture, directory: RunDirectory, config: Train
) -> Iterator[LiveViewer | None]:
    """The browser view of a training that asked for one, open while the block runs."""
    if not config.view:
        yield None
        return
    from viewer import LiveViewer

    def newest_scalars() -> dict[str, float]:
        rows = read_metrics(directory.metrics_file)[-20:]
        found = {name: value for row in rows for name, value in row.items() if value is not None}
        return {"psnr" if name == "preview_psnr" else name: found[name] for name in found}

    with LiveViewer(
        capture, trainee.renderable, port=config.port, metrics=newest_scalars
    ) as viewer:
        console.print(f"Open {viewer.url} in a browser to watch the training.")
        yield viewer


def _cadence(config: Train, capture: Capture) -> Cadence:
    preview_every = 500 if capture.test else None
    if config.checkpoint_every is None:
        return Cadence(preview_every=preview_every)
    return Cadence(
        checkpoint_every_steps=config.checkpoint_every,
        checkpoint_every_seconds=None,
        preview_every=preview_every,
    )


def _max_steps(config: Train) -> int | None:
    if config.max_steps is None and config.max_seconds is None:
        return DEFAULT_STEPS
    return config.max_steps


def _saved_flags(flags: Any, config_type: Any, args: Sequence[str]) -> Any:
    """Defaults for a resumed run: its own settings, so that only differing flags conflict."""
    if "--resume" not in args:
        return None
    out = _value_of("--out", args)
    if out is None or not (Path(out) / "config.json").is_file():
        return None
    saved = RunDirectory.open(out).read_config(Settings)
    return flags(
        out=Path(out),
        resume=True,
        data=saved.data,
        downscale=saved.downscale,
        test_every=saved.test_every,
        seed=saved.seed,
        max_steps=saved.max_steps,
        max_seconds=saved.max_seconds,
        method=config_from_json(config_type, saved.method),
    )


def _value_of(flag: str, args: Sequence[str]) -> str | None:
    for index, argument in enumerate(args):
        if argument == flag and index + 1 < len(args):
            return args[index + 1]
        if argument.startswith(flag + "="):
            return argument.removeprefix(flag + "=")
    return None


def _evaluate_in_fresh_process(run_folder: Path, config: Train) -> dict[str, Any]:
    """What `fieldwright eval RUN --json` prints: scores of the file, not of this process."""
    command = [sys.executable, "-m", "scripts.main", "eval", str(run_folder), "--json"]
    command += ["--device", config.device]
    if config.num_threads is not None:
        command += ["--num-threads", str(config.num_threads)]
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RunError(f"the scene is written, but its evaluation failed: {result.stderr.strip()}")
    scores = json.loads(result.stdout.splitlines()[-1])
    console.print(result.stderr.rstrip(), markup=False)
    return scores


def _summary(summary: Summary, scores: dict[str, Any], folder: Path, device: str) -> dict[str, Any]:
    return {
        "psnr": scores.get("psnr"),
        "ssim": scores.get("ssim"),
        "lpips": scores.get("lpips"),
        "num_test_images": scores.get("num_test_images", 0),
        "num_bytes": summary.scene.stat().st_size,
        "num_primitives": summary.num_primitives,
        "steps": summary.steps,
        "seconds": summary.seconds,
        "peak_memory_bytes": summary.peak_memory_bytes,
        "device": device,
        "run": str(folder),
        "scene": str(summary.scene),
        "report": scores.get("report"),
        "interrupted_by": summary.interrupted_by,
    }
