"""Shapes: prepare meshes, train auto-encoders, encode, decode and compare."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.table import Table

from fields.shapes.models.training import ShapeConfig

from . import STARTED_AT
from .common import Common, console, resolve_device


@dataclass(frozen=True, kw_only=True)
class Prepare(Common):
    """Meshes, or procedural shapes, to training samples with a health report each."""

    meshes: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Mesh files and folders, then the output folder; with --procedural the folder alone."""
    procedural: int = 0
    """Make so many procedural shapes, of seeds --seed, --seed + 1, ..."""
    mode: Literal["auto", "solid", "shell"] = "auto"
    """Sign: solid by winding numbers, shell thickens the surface; auto decides by the report."""
    processes: int = 2
    """Meshes that are prepared at once."""
    overwrite: bool = False
    """Prepare again what is there."""


@dataclass(frozen=True, kw_only=True)
class Train(Common):
    """Fit an auto-encoder to prepared shapes."""

    data: Path
    """Folder of `shape prepare`."""
    out: Path
    """Folder of the run."""
    max_steps: int | None = None
    """Stop after this many steps; 2000 where neither limit is given."""
    max_seconds: float | None = None
    """Stop after this many seconds of wall time."""
    session_seconds: float | None = None
    """Checkpoint and leave this session after so many seconds; --resume goes on."""
    resume: bool = False
    """Continue the run in --out."""
    overwrite: bool = False
    """Start again."""
    method: Annotated[ShapeConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=ShapeConfig)
    """The model and its training."""


@dataclass(frozen=True, kw_only=True)
class Encode(Common):
    """A mesh to a latent."""

    mesh: Annotated[Path, tyro.conf.Positional]
    """Any mesh file."""
    output: Annotated[Path, tyro.conf.Positional]
    """Latent, .fwa."""
    model: Path | None = None
    """Model file or run; None takes the shipped one."""
    step: float = 1 / 16
    """Width of the cells that a continuous latent is rounded to; 0 keeps every bit."""
    overwrite: bool = False
    """Replace an existing file."""


@dataclass(frozen=True, kw_only=True)
class Decode(Common):
    """A latent to a mesh."""

    latent: Annotated[Path, tyro.conf.Positional]
    """File of `shape encode`."""
    output: Annotated[Path, tyro.conf.Positional]
    """Mesh, .glb, .obj, .ply, .stl or .off."""
    model: Path | None = None
    """Model file or run; None takes the shipped one."""
    resolution: int = 128
    """Cells per side of the lattice, 32 to 63 times a power of two."""
    overwrite: bool = False
    """Replace an existing file."""


@dataclass(frozen=True, kw_only=True)
class Compare(Common):
    """Scores of shapes against a mesh, with the ceiling of the lattice beside them."""

    truth: Annotated[Path, tyro.conf.Positional]
    """The true mesh."""
    others: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Meshes or latents; none encodes and decodes the true mesh itself."""
    model: Path | None = None
    """Model of the latents; None takes the shipped one."""
    resolution: int = 128
    """Cells per side for latents and for the ceiling."""
    points: int = 100_000
    """Points per surface."""


COMMANDS: dict[str, Any] = {
    "prepare": Prepare,
    "train": Train,
    "encode": Encode,
    "decode": Decode,
    "compare": Compare,
}
"""Flags of each word after `fieldwright shape`."""


def parse(args: Sequence[str]) -> Common:
    """The flags after `fieldwright shape`; the first word names the command."""
    from .main import suggestion

    if not args or args[0] in ("-h", "--help"):
        lines = [f"  {name:<8} {kind.__doc__}" for name, kind in COMMANDS.items()]
        sys.stdout.write("usage: fieldwright shape COMMAND [options]\n\n" + "\n".join(lines) + "\n")
        raise SystemExit(0 if args else 2)
    if args[0] not in COMMANDS:
        sys.stderr.write(suggestion("command", args[0], COMMANDS) + "\n")
        raise SystemExit(2)
    kind = COMMANDS[args[0]]
    return tyro.cli(
        kind, args=list(args[1:]), prog=f"fieldwright shape {args[0]}", description=kind.__doc__
    )


def run(config: Common) -> dict[str, Any]:
    """Do what the command says; returns the `--json` summary."""
    if isinstance(config, Prepare):
        return _prepare(config)
    if isinstance(config, Train):
        return _train(config)
    if isinstance(config, Encode):
        return _encode(config)
    if isinstance(config, Decode):
        return _decode(config)
    assert isinstance(config, Compare)
    return _compare(config)


def _prepare(config: Prepare) -> dict[str, Any]:
    from rich.progress import Progress

    from fields.shapes.mesh import find_meshes
    from fields.shapes.prepare import Options, prepare, prepare_procedural

    if not config.meshes or (not config.procedural and len(config.meshes) < 2):
        raise ValueError("name the meshes and then the output folder: shape prepare MESHES OUT.")
    *inputs, out = config.meshes
    sources = [path for given in inputs for path in find_meshes(given)]
    options = Options(mode=config.mode, seed=config.seed)
    jobs = prepare(
        sources, out, options=options, processes=config.processes, overwrite=config.overwrite
    )
    if config.procedural:
        seeds = range(config.seed, config.seed + config.procedural)
        jobs = prepare_procedural(seeds, out, processes=config.processes)
    total = config.procedural or len(sources)
    done, failed = 0, {}
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("prepare", total=total)
        for made in jobs:
            bar.advance(task)
            if made.error is not None:
                failed[str(made.source)] = made.error
                console.print(f"{made.source}: {made.error}")
                continue
            done += 1
            health = made.health
            if health is not None:
                console.print(
                    f"{made.source.name}: {health['num_faces']:,} faces, {health['mode']} "
                    f"({health['reason']}), sign disagreement {health['sign_disagreement']:.2%}"
                    + (", already there" if made.skipped else "")
                )
    console.print(f"Wrote {done} of {total} shapes to {out}.")
    if done == 0:
        raise ValueError(f"none of the {total} shapes could be prepared.")
    return {"prepared": done, "failed": failed, "output": str(out)}


def _train(config: Train) -> dict[str, Any]:
    from fields.shapes.models.training import ShapeMethod, load_shapes
    from runs import Budget, Cadence, RunDirectory, make_progress, train

    device = resolve_device(config)
    steps = 2000 if config.max_steps is None and config.max_seconds is None else config.max_steps
    directory = RunDirectory.create(
        config.out,
        method="shape",
        config={
            "data": str(config.data.resolve()),
            "seed": config.seed,
            "max_steps": steps,
            "max_seconds": config.max_seconds,
            "method": config.method,
        },
        overwrite=config.overwrite,
        resume=config.resume,
        may_change=("max_steps", "max_seconds"),
    )
    trainee = ShapeMethod(config.method, load_shapes(config.data), device=device, seed=config.seed)
    console.print(
        f"{config.method.model.family}, {trainee.num_primitives} floats, "
        f"{trainee.model.num_parameters:,} parameters, {len(trainee.train_shapes)} shapes, "
        f"{len(trainee.test_shapes)} held out"
    )
    summary = train(
        trainee,
        directory,
        budget=Budget(steps, config.max_seconds),
        cadence=Cadence(log_every=50, preview_every=250 if trainee.test_shapes else None),
        started=STARTED_AT,
        progress=make_progress(console),
        on_step=_leave_after(config.session_seconds),
        scene_name="scene.safetensors",
    )
    console.print(f"Wrote {summary.scene}")
    return {
        **trainee.preview(),
        "steps": summary.steps,
        "seconds": summary.seconds,
        "num_primitives": summary.num_primitives,
        "num_bytes": summary.scene.stat().st_size,
        "peak_memory_bytes": summary.peak_memory_bytes,
        "run": str(directory.path),
        "model": str(summary.scene),
        "interrupted_by": summary.interrupted_by,
    }


def _leave_after(seconds: float | None) -> Any:
    """Ask this process to stop as Ctrl-C would, once so many seconds have passed."""
    if seconds is None:
        return None
    import os
    import signal

    def check(step: int) -> None:
        if time.monotonic() - STARTED_AT > seconds:
            os.kill(os.getpid(), signal.SIGTERM)

    return check


def _encode(config: Encode) -> dict[str, Any]:
    from fields.shapes.latent_file import latent_asset
    from fields.shapes.models.coding import encode_shape
    from fields.shapes.models.weights import load_model
    from fields.shapes.prepare import load_for_encoding

    start = time.perf_counter()
    loaded = load_model(config.model, device=resolve_device(config))
    shape, health = load_for_encoding(config.mesh, seed=config.seed)
    latent = encode_shape(loaded.model, shape)
    asset = latent_asset(
        latent,
        loaded.model,
        digest=loaded.digest,
        step=config.step or None,
        source=config.mesh.name,
    )
    path = asset.write(config.output, overwrite=config.overwrite)
    size, seconds = path.stat().st_size, time.perf_counter() - start
    console.print(
        f"{config.mesh.name}: {health.num_faces:,} faces, "
        f"{'watertight' if health.watertight else 'not watertight'}, sign disagreement "
        f"{health.sign_disagreement:.2%}\nWrote {path}, {size:,} bytes, in {seconds:.1f} s."
    )
    return {
        "num_bytes": size,
        "floats": latent.floats,
        "encode_seconds": seconds,
        "health": health.to_json(),
        "output": str(path),
    }


def _decode(config: Decode) -> dict[str, Any]:
    from fields.shapes.latent_file import load_latent
    from fields.shapes.mesh import write_mesh
    from fields.shapes.models.coding import decode
    from fields.shapes.models.weights import load_model

    start = time.perf_counter()
    loaded = load_model(config.model, device=resolve_device(config))
    stored = load_latent(config.latent, loaded.model, digest=loaded.digest)
    mesh = decode(loaded.model, stored.latent, resolution=config.resolution)
    path = write_mesh(mesh, config.output, overwrite=config.overwrite)
    seconds = time.perf_counter() - start
    console.print(f"Wrote {path}: {len(mesh.faces):,} faces, in {seconds:.1f} s.")
    return {
        "num_bytes": path.stat().st_size,
        "num_primitives": len(mesh.faces),
        "decode_seconds": seconds,
        "output": str(path),
    }


def _compare(config: Compare) -> dict[str, Any]:
    from fields.shapes.comparison import Comparison
    from fields.shapes.models.weights import load_model

    comparison = Comparison.of(
        config.truth, resolution=config.resolution, points=config.points, seed=config.seed
    )
    rows = {"ceiling of the lattice": comparison.ceiling()}
    needs_model = not config.others or any(p.suffix == ".fwa" for p in config.others)
    loaded = load_model(config.model, device=resolve_device(config)) if needs_model else None
    if loaded is not None and not config.others:
        rows[f"encoded and decoded ({loaded.model.config.family})"] = comparison.coded(loaded)
    for path in config.others:
        rows[path.name] = comparison.file(path, loaded)
    table = Table("shape", "Chamfer-L1", "F@1 %", "F@2 %", "normals", "sharp F", "IoU", "bytes")
    for name, row in rows.items():
        scores = row.surface
        table.add_row(
            name,
            f"{scores.chamfer_l1:.5f}",
            f"{scores.f_score:.3f}",
            f"{scores.f_score_2:.3f}",
            f"{scores.normal_consistency:.3f}",
            "-" if scores.sharp_f is None else f"{scores.sharp_f:.3f}",
            f"{row.iou:.3f}",
            "-" if row.num_bytes is None else f"{row.num_bytes:,}",
        )
    console.print(table)
    console.print(
        f"Distances in units of the box [-1, 1]; the lattice has {config.resolution} cells per "
        f"side ({2 / config.resolution:.4f}). {comparison.health.mode}: {comparison.health.reason}."
    )
    return {
        "health": comparison.health.to_json(),
        "rows": {name: asdict(row) for name, row in rows.items()},
    }
