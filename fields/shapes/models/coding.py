"""Shapes to latents and latents to meshes, with a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..decoding import Distance, extract_mesh
from ..mesh import TriangleMesh
from ..normalization import Normalization
from ..samples import ShapeSamples
from .autoencoder import ShapeAutoEncoder
from .batch import batch_of

RESOLUTION = 128
"""Cells per side that decoding takes unless told otherwise."""
SLACK = 1.5
"""Learned distances exaggerate: cells count as near up to this many diagonals."""
_CHUNK = 16_384


@dataclass(frozen=True)
class Latent:
    """One shape as a model sees it."""

    values: tuple[Tensor, ...]
    """Each part of the latent, [tokens, channels], as the decoder takes it."""
    indices: tuple[Tensor, ...] | None
    """Codes [tokens, stages] of a quantized bottleneck, from which `values` follow."""
    normalization: Normalization
    """From the source into the box."""

    @property
    def floats(self) -> int:
        """Numbers in all."""
        return sum(part.numel() for part in self.values)

    def vector(self) -> Float[Tensor, "d"]:
        """All numbers in one row."""
        return torch.cat([part.flatten() for part in self.values])


@torch.no_grad()
def encode_shape(model: ShapeAutoEncoder, shape: ShapeSamples) -> Latent:
    """The latent of a prepared shape; equal shapes give equal latents."""
    device = next(model.parameters()).device
    squeezed = model.encode(batch_of([shape], model.config.num_points).to(device))
    codes = [part.indices for part in squeezed]
    return Latent(
        values=tuple(part.values[0].cpu() for part in squeezed),
        indices=None
        if any(found is None for found in codes)
        else tuple(found[0].cpu() for found in codes if found is not None),
        normalization=shape.normalization,
    )


@torch.no_grad()
def distance_of(model: ShapeAutoEncoder, values: Sequence[Tensor]) -> Distance:
    """The signed distance of a latent, as numpy takes it; the latent is decoded once."""
    device = next(model.parameters()).device
    fields = model.decode([part[None].to(device) for part in values])

    @torch.no_grad()
    def distance(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        rows = torch.from_numpy(points.astype(np.float32))
        parts = [fields.distances(chunk[None].to(device))[0].cpu() for chunk in rows.split(_CHUNK)]
        return torch.cat(parts).numpy() if parts else np.zeros(0, np.float32)

    return distance


def decode(
    model: ShapeAutoEncoder,
    latent: Latent,
    *,
    resolution: int = RESOLUTION,
    in_source: bool = True,
) -> TriangleMesh:
    """The mesh of a latent.

    Args:
        model: The one that made it.
        latent: The shape.
        resolution: Cells per side of the lattice, 32 to 63 times a power of two; the field itself
            has none.
        in_source: Undo the normalization; False stays in the box.

    Raises:
        MeshError: The field has no surface.
    """
    mesh = extract_mesh(distance_of(model, latent.values), resolution, slack=SLACK)
    if not in_source:
        return mesh
    return mesh.placed(latent.normalization.to_source(mesh.vertices))
