"""Meshes to training samples, one file each, resumable and in parallel."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from runs.files import write_json

from .health import Examined, Health, examine
from .mesh import TriangleMesh, load_mesh
from .procedural import procedural_samples
from .samples import ShapeSamples, octree_of
from .sampling import Counts, near_points, sharp_points, surface_points, volume_points
from .signed_distance import Mode

_TRAINING_RESOLUTION = 64


@dataclass(frozen=True)
class Options:
    """How meshes are prepared."""

    mode: Mode | Literal["auto"] = "auto"
    """Sign of the distances: "solid" trusts winding numbers, "shell" thickens the surface; auto
    decides by the health report."""
    counts: Counts = field(default_factory=Counts)
    """Points per shape."""
    seed: int = 0
    """Of every random choice."""


@dataclass(frozen=True)
class Prepared:
    """What became of one mesh."""

    source: Path
    """The mesh."""
    output: Path
    """Its samples, whether or not they were written."""
    health: dict[str, Any] | None
    """The report, None after an error."""
    error: str | None
    """Why there are no samples."""
    skipped: bool = False
    """Whether the samples were there already."""


def prepare_mesh(
    mesh: TriangleMesh, *, options: Options | None = None, name: str = "mesh"
) -> tuple[ShapeSamples, Health]:
    """Samples of one mesh and its health report.

    Raises:
        MeshError: The mesh holds no surface.
    """
    options = options or Options()
    examined = examine(mesh, mode=options.mode, name=name, seed=options.seed)
    return sample(examined, options, name=name), examined.health


def sample(examined: Examined, options: Options, *, name: str) -> ShapeSamples:
    """Samples of a mesh that was examined.

    Surface points of a shell lie on the mesh itself, in the middle of the shell.
    """
    counts, seed = options.counts, options.seed
    mesh, distance = examined.mesh, examined.distance
    surface, normals, _ = surface_points(mesh, counts.surface, seed=seed)
    sharp, sharp_normals = sharp_points(mesh, examined.topology, counts.sharp, seed=seed + 1)
    near, sigma = near_points(surface, counts.near, seed=seed + 2)
    volume = volume_points(counts.volume, seed=seed + 3)
    keys, features = octree_of(
        np.concatenate([surface, sharp]), np.concatenate([normals, sharp_normals])
    )
    return ShapeSamples(
        surface=surface,
        surface_normals=normals,
        sharp=sharp,
        sharp_normals=sharp_normals,
        near=near,
        near_sdf=distance(near),
        near_sigma=sigma,
        volume=volume,
        volume_sdf=distance(volume),
        octree_keys=keys,
        octree_features=features,
        normalization=examined.normalization,
        facts={
            "name": name,
            "mode": distance.mode,
            "eps": distance.eps,
            "seed": seed,
            "health": examined.health.to_json(),
            "fieldwright": version("fieldwright"),
        },
    )


def prepare(
    sources: Sequence[Path],
    out: Path,
    *,
    options: Options | None = None,
    processes: int = 2,
    overwrite: bool = False,
) -> Generator[Prepared, None, None]:
    """Prepare every mesh into `out`/NAME.npz, as they get done.

    Meshes whose file is there already are skipped, so an interrupted call goes on where it stopped.

    Args:
        sources: Mesh files; equal names get their parent folder's name in front.
        out: Folder.
        options: Same for all.
        processes: How many work at once; 1 works in this process.
        overwrite: Make files that are there again.
    """
    options = options or Options()
    out.mkdir(parents=True, exist_ok=True)
    waiting = []
    for source, name in zip(sources, unique_names(sources), strict=True):
        target = out / f"{name}.npz"
        report = out / f"{name}.health.json"
        if target.exists() and report.exists() and not overwrite:
            health = json.loads(report.read_text())
            yield Prepared(source, target, health, None, skipped=True)
        else:
            waiting.append((source, target, options))
    if processes == 1 or len(waiting) < 2:
        for task in waiting:
            yield _prepare_file(*task)
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        futures: list[Future[Prepared]] = [pool.submit(_prepare_file, *task) for task in waiting]
        try:
            for future in futures:
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


TRAINING_COUNTS = Counts(surface=12_288, sharp=4_096, near=8_192, volume=8_192)
"""Points per procedural shape: many shapes teach more than many points of each."""


def prepare_procedural(
    seeds: Sequence[int], out: Path, *, counts: Counts = TRAINING_COUNTS, processes: int = 1
) -> Iterator[Prepared]:
    """Samples of the procedural shapes of `seeds`, `out`/shape-SEED.npz; resumable as `prepare`.

    Args:
        seeds: Which shapes.
        out: Folder.
        counts: Points per shape.
        processes: How many work at once.
    """
    out.mkdir(parents=True, exist_ok=True)
    targets = [(seed, out / f"shape-{seed:06d}.npz") for seed in seeds]
    waiting = [task for task in targets if not task[1].exists()]
    yield from (
        Prepared(Path(f"procedural {seed}"), target, None, None, skipped=True)
        for seed, target in targets
        if target.exists()
    )
    if processes == 1 or len(waiting) < 2:
        for seed, target in waiting:
            yield _prepare_seed(seed, target, counts)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        futures = [pool.submit(_prepare_seed, *task, counts) for task in waiting]
        try:
            for future in futures:
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _prepare_seed(seed: int, target: Path, counts: Counts) -> Prepared:
    source = Path(f"procedural {seed}")
    try:
        procedural_samples(seed, counts=counts, resolution=_TRAINING_RESOLUTION).save(target)
    except ValueError as error:  # a solid that its own cuts removed
        return Prepared(source, target, None, str(error))
    return Prepared(source, target, None, None)


def load_for_encoding(path: Path, *, seed: int = 0) -> tuple[ShapeSamples, Health]:
    """What an encoder sees of a mesh, without any distances, and the health report.

    Raises:
        FileNotFoundError: No such file.
        MeshError: The file holds no surface.
    """
    # A shell would cost a flood; encoders look at the surface alone.
    examined = examine(load_mesh(path), mode="solid", name=str(path), seed=seed)
    options = Options(counts=Counts(near=0, volume=0), seed=seed)
    return sample(examined, options, name=path.name), examined.health


def unique_names(sources: Sequence[Path]) -> list[str]:
    """File names without suffix, lengthened by suffix and parent folder where they repeat."""
    names = [path.stem for path in sources]
    if len(set(names)) < len(names):
        names = [path.name if names.count(path.stem) > 1 else path.stem for path in sources]
    if len(set(names)) < len(names):
        names = [f"{path.parent.name}-{path.name}" for path in sources]
    if len(set(names)) < len(names):
        names = [f"{i:04d}-{path.name}" for i, path in enumerate(sources)]
    return names


def _prepare_file(source: Path, target: Path, options: Options) -> Prepared:
    """One mesh; what is wrong with it becomes part of the result."""
    try:
        samples, health = prepare_mesh(load_mesh(source), options=options, name=str(source))
    except (ValueError, OSError) as error:
        return Prepared(source, target, None, str(error))
    samples.save(target)
    write_json(target.with_name(target.stem + ".health.json"), health.to_json())
    return Prepared(source, target, health.to_json(), None)
