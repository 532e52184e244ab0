"""The shipped auto-encoder of shapes on every real mesh: what a user's first minute gives."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fields.shapes.comparison import Comparison
from fields.shapes.latent_file import latent_asset, load_latent
from fields.shapes.mesh import MeshError, find_meshes, write_mesh
from fields.shapes.models.coding import decode, encode_shape
from fields.shapes.models.weights import SHIPPED, LoadedModel, load_model
from fields.shapes.prepare import load_for_encoding

from .command import real_data
from .metric import Metric

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Returned:
    """A mesh that was encoded and decoded."""

    seconds: float
    """From file to file."""
    num_bytes: int
    """Of the latent."""
    scores: tuple[float, float, float]
    """F@1%, F@2% and IoU; zeros where nothing came back."""
    ceiling: float
    """F@1% of the true distances on the same lattice."""
    surface: bool
    """Whether anything came back."""


def run(*, quick: bool) -> Iterator[Metric]:
    """Encode and decode every real mesh, as the commands do."""
    folder = real_data("meshes")
    if folder is None or not SHIPPED.exists():
        return
    loaded = load_model()
    resolution = 64 if quick else 128
    paths = find_meshes(folder)[:: 13 if quick else 1]
    found = [_returned(path, loaded, resolution) for path in paths]
    slowest = max(item.seconds for item in found)
    yield Metric("shipped model: slowest encode and decode", slowest, "s", "lower", 0.5, 20.0)
    name = f"shipped model, {len(found)} real meshes"
    lost = sum(not item.surface for item in found)
    yield Metric(f"{name}: decoded to nothing", lost, "", "lower", 0.0)
    for place, score in enumerate(("F@1%", "F@2%", "IoU")):
        values = [item.scores[place] for item in found]
        yield Metric(f"{name}: {score}, mean", float(np.mean(values)), "", "higher", 0.1)
        yield Metric(f"{name}: {score}, median", float(np.median(values)), "", "higher", 0.1)
    mean_bytes = float(np.mean([item.num_bytes for item in found]))
    yield Metric(f"{name}: bytes", mean_bytes, "B", "lower", 0.1)
    ceiling = float(np.mean([item.ceiling for item in found]))
    yield Metric(f"{name}: F@1% of the lattice, mean", ceiling, "")


def _returned(path: Path, loaded: LoadedModel, resolution: int) -> _Returned:
    comparison = Comparison.of(path, resolution=resolution, points=20_000)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        shape, _ = load_for_encoding(path)
        latent = encode_shape(loaded.model, shape)
        asset = latent_asset(latent, loaded.model, digest=loaded.digest)
        file = asset.write(Path(scratch) / "a.fwa", overwrite=True)
        stored = load_latent(file, loaded.model, digest=loaded.digest)
        try:
            mesh = decode(loaded.model, stored.latent)
            write_mesh(mesh, Path(scratch) / "a.glb", overwrite=True)
        except MeshError as error:
            logger.warning("%s: %s", path.name, error)
            mesh = None
    seconds = time.perf_counter() - start
    scores = (0.0, 0.0, 0.0)
    if mesh is not None:
        row = comparison.of_mesh(mesh)
        scores = (row.surface.f_score, row.surface.f_score_2, row.iou)
        logger.info("%s: F@1%% %.2f, IoU %.2f", path.name, scores[0], scores[2])
    ceiling = comparison.ceiling().surface.f_score
    return _Returned(seconds, stored.num_bytes, scores, ceiling, mesh is not None)
