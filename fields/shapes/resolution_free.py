"""Does a model see functions or samples? Scores of latents and fields across discretizations.

A variational auto-encoding neural operator (Seidman et al., ICML 2023) maps a function, not its
samples, to a latent, and back to a function that can be asked anywhere. Decoders that answer point
queries are such operators by construction; whether the encoder is one has to be measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from .models.autoencoder import TRUNCATION, ShapeAutoEncoder
from .models.batch import batch_of
from .samples import ShapeSamples, octree_of


@dataclass(frozen=True)
class Invariance:
    """One discretization of the input against the finest."""

    num_points: int
    """Surface points that the encoder saw."""
    latent_change: float
    """|z - z_finest| / |z_finest|; 0 for a true operator. Sets of vectors have no order across
    discretizations, so for them only the field counts."""
    field_change: float
    """Mean |f - f_finest| over the probes, box units."""
    sign_agreement: float
    """Share of probes on the same side."""


@torch.no_grad()
def resolution_invariance(
    model: ShapeAutoEncoder,
    shape: ShapeSamples,
    *,
    counts: Sequence[int] = (512, 1024, 2048, 4096),
    probes: int = 4096,
    seed: int = 0,
) -> list[Invariance]:
    """Encode one shape from fewer and fewer surface points and compare with the finest.

    The octree is built again from the points of each count, so both kinds of encoders are tested.

    Args:
        model: In evaluation mode.
        shape: Prepared.
        counts: Numbers of surface points; the largest is the reference.
        probes: Points of the volume where fields are compared.
        seed: Of the subsets.
    """
    largest = max(counts)
    if largest > len(shape.surface):
        raise ValueError(f"`counts` must be at most {len(shape.surface)}, got {largest}.")
    order = np.random.default_rng(seed).permutation(len(shape.surface))
    points = torch.from_numpy(shape.volume[:probes].astype(np.float32))[None]
    found = {count: _encoded(model, _thinned(shape, order[:count]), points) for count in counts}
    latent, field = found[largest]
    return [
        Invariance(
            num_points=count,
            latent_change=float((z - latent).norm() / latent.norm().clamp(min=1e-12)),
            field_change=float((f - field).abs().mean()) * TRUNCATION,
            sign_agreement=float(((f < 0) == (field < 0)).float().mean()),
        )
        for count, (z, f) in sorted(found.items())
    ]


def _encoded(
    model: ShapeAutoEncoder, shape: ShapeSamples, points: Float[torch.Tensor, "1 q 3"]
) -> tuple[torch.Tensor, torch.Tensor]:
    batch = batch_of([shape], len(shape.surface))
    values = [part.values for part in model.encode(batch)]
    latent = torch.cat([part.flatten() for part in values])
    return latent, model.decode(values).query(points)[0].clamp(-1, 1)


def _thinned(shape: ShapeSamples, rows: np.ndarray) -> ShapeSamples:
    surface, normals = shape.surface[rows], shape.surface_normals[rows]
    keys, features = octree_of(surface, normals)
    return replace(
        shape,
        surface=surface,
        surface_normals=normals,
        octree_keys=keys,
        octree_features=features,
    )
