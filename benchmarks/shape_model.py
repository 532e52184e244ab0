"""The shipped auto-encoder of shapes on every real mesh: what a user's first minute gives."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fields.shapes.comparison import Comparison
from fields.shapes.latent_file import latent_asset, load_latent
from fields.shapes.mesh import find_meshes, write_mesh
from fields.shapes.models.coding import decode, encode_shape
from fields.shapes.models.weights import SHIPPED, load_model
from fields.shapes.prepare import load_for_encoding

from .command import real_data
from .metric import Metric


def run(*, quick: bool) -> Iterator[Metric]:
    """Encode and decode every real mesh, as the commands do."""
    folder = real_data("meshes")
    if folder is None or not SHIPPED.exists():
        return
    loaded = load_model()
    slowest, fs, f2s, ious, sizes, ceilings = 0.0, [], [], [], [], []
    paths = find_meshes(folder)
    with tempfile.TemporaryDirectory() as scratch:
        for path in paths[::13] if quick else paths:
            start = time.perf_counter()
            shape, _ = load_for_encoding(path)
            latent = encode_shape(loaded.model, shape)
            asset = latent_asset(latent, loaded.model, digest=loaded.digest)
            file = asset.write(Path(scratch) / "a.fwa", overwrite=True)
            stored = load_latent(file, loaded.model, digest=loaded.digest)
            mesh = decode(loaded.model, stored.latent)
            write_mesh(mesh, Path(scratch) / "a.glb", overwrite=True)
            slowest = max(slowest, time.perf_counter() - start)
            comparison = Comparison.of(path, resolution=64 if quick else 128, points=20_000)
            row = comparison.of_mesh(mesh)
            fs.append(row.surface.f_score)
            f2s.append(row.surface.f_score_2)
            ious.append(row.iou)
            sizes.append(stored.num_bytes)
            ceilings.append(comparison.ceiling().surface.f_score)
    yield Metric("shipped model: slowest encode and decode", slowest, "s", "lower", 0.5, 20.0)
    name = f"shipped model, {len(fs)} real meshes"
    yield Metric(f"{name}: F@1%", float(np.mean(fs)), "", "higher", 0.1)
    yield Metric(f"{name}: F@2%", float(np.mean(f2s)), "", "higher", 0.1)
    yield Metric(f"{name}: IoU", float(np.mean(ious)), "", "higher", 0.1)
    yield Metric(f"{name}: bytes", float(np.mean(sizes)), "B", "lower", 0.1)
    yield Metric(f"{name}: F@1% of the lattice", float(np.mean(ceilings)), "")
