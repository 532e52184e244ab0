"""What shape auto-encoders are held against: floors, mesh codecs and costs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from fields.meshes import Mesh, decimated
from fields.shapes.bvh import MeshIndex
from fields.shapes.mesh import TriangleMesh, load_mesh
from fields.shapes.metrics import Surface, surface_scores, volume_iou
from fields.shapes.models import ModelConfig, ShapeAutoEncoder, batch_of
from fields.shapes.samples import ShapeSamples
from fields.shapes.signed_distance import SignedDistance

from .command import real_data
from .metric import Metric
from .shape_trials import Plan, Trial, Truth, score

QUANTIZATION_BITS = (8, 9, 10, 11)


def floors(known: dict[str, list[Truth]], plan: Plan) -> Iterator[Metric]:
    """The ball of each shape's volume: what an auto-encoder must beat to be one."""
    for group, members in known.items():
        rows = []
        for truth in members:
            share = max(float((truth.samples.volume_sdf < 0).mean()), 1e-4)
            radius = (3 * 8 * share / (4 * np.pi)) ** (1 / 3)
            rows.append(score(truth, lambda p, r=radius: np.linalg.norm(p, axis=1) - r, plan))
        for name in ("IoU", "F@1%"):
            value = float(np.mean([row[name] for row in rows]))
            yield Metric(f"{group}, floor (a ball of equal volume): {name}", value, "")


def mesh_codec_rows(
    known: dict[str, list[Truth]], trials: Sequence[Trial], plan: Plan
) -> Iterator[Metric]:
    """Draco on decimated meshes at the bytes of the hybrid's latents: often the better choice for a
    single shape, and the rows say so."""
    try:
        import DracoPy
    except ImportError:
        return
    for floats in sorted({t.config["floats"] for t in trials}):
        wanted = {"floats": floats, "family": "hybrid", "bottleneck": "normalized"}
        ours = [t for t in trials if all(t.config[k] == v for k, v in wanted.items())]
        if not ours or "real" not in known:
            continue
        sizes = np.mean([t.scores["real"]["bits"] for t in ours], axis=0) / 8
        scores, ious = [], []
        for truth, size in zip(known["real"], sizes, strict=True):
            mesh = _within(DracoPy, _mesh_of(truth), float(size))
            predicted = Surface.of(mesh, count=plan.points, seed=7)
            scores.append(surface_scores(truth.surface, predicted).f_score)
            inside = SignedDistance(MeshIndex(mesh), "solid")(truth.samples.volume)
            ious.append(volume_iou(truth.samples.volume_sdf, inside))
        mean = float(np.mean(sizes))
        name = f"real, Draco at the {mean:.0f} bytes of hybrid {floats}"
        yield Metric(f"{name}: F@1%", float(np.mean(scores)), "")
        yield Metric(f"{name}: IoU", float(np.mean(ious)), "")


def _mesh_of(truth: Truth) -> TriangleMesh:
    folder = real_data("meshes")
    assert folder is not None
    mesh = load_mesh(folder / truth.name)
    return mesh.placed(truth.samples.normalization.to_box(mesh.vertices))


def _within(draco: object, mesh: TriangleMesh, size: float) -> TriangleMesh:
    """The decoded mesh of the most faces (by halving) and finest lattice whose file fits `size`."""
    best: TriangleMesh | None = None
    for bits in QUANTIZATION_BITS:
        low, high = 4, min(len(mesh.faces), 60_000)
        for _ in range(8):
            count = round((low * high) ** 0.5)
            found, num_bytes = _draco(draco, mesh, count, bits)
            if num_bytes <= size:
                low = count
                if best is None or len(found.faces) > len(best.faces):
                    best = found
            else:
                high = count
    return best or _draco(draco, mesh, 4, QUANTIZATION_BITS[0])[0]


def _draco(draco, mesh: TriangleMesh, count: int, bits: int) -> tuple[TriangleMesh, int]:
    reduced = decimated(Mesh(mesh.vertices, mesh.faces), max(count, 4))
    data = draco.encode(
        reduced.vertices.astype(np.float32),
        faces=reduced.faces.astype(np.uint32),
        quantization_bits=bits,
        compression_level=10,
    )
    decoded = draco.decode(data)
    faces = np.asarray(decoded.faces, np.int64).reshape(-1, 3)
    return TriangleMesh(np.asarray(decoded.points, np.float64).reshape(-1, 3), faces), len(data)


def costs_of_a_step(shapes: Sequence[ShapeSamples], *, floats: Sequence[int]) -> Iterator[Metric]:
    """Time and memory of a training step of the hierarchy over those of the flat set.

    Memory is what autograd keeps for the backward pass, counted tensor by tensor.
    """
    batch = batch_of(list(shapes[:1]), 1024)
    points = 2 * torch.rand(1, 1024, 3, generator=torch.Generator().manual_seed(0)) - 1
    for budget in floats:
        kept = {}
        models = {
            family: ShapeAutoEncoder(ModelConfig(family=family, floats=budget, set_blocks=24))
            for family in ("vecset", "hierarchy")
        }
        for family, model in models.items():
            kept[family] = _kept_bytes(model, batch, points)
        best = dict.fromkeys(models, float("inf"))
        for _ in range(3):
            for family, model in models.items():
                start = time.process_time()
                model(batch, points)[0].abs().mean().backward()
                best[family] = min(best[family], time.process_time() - start)
        ratio = best["hierarchy"] / best["vecset"]
        name = f"{budget} floats, 24 blocks: hierarchy over flat set"
        yield Metric(f"{name}, time of a step", ratio, "x", "lower", 0.2, 0.75)
        memory = kept["hierarchy"] / kept["vecset"]
        yield Metric(f"{name}, memory of a step", memory, "x", "lower", 0.05, 0.6)


def _kept_bytes(model: ShapeAutoEncoder, batch, points: torch.Tensor) -> int:
    held: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        values, _ = model(batch, points)
        total = sum(held.values())
    del values
    return total
