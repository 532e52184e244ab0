"""The asset file `.fwa` with the latent of a shape inside (kind "shape")."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vq.asset import AssetError, AssetWriter, Coded, RawCodec, open_asset
from vq.entropy.rans import RansCodec
from vq.scalar import DeadZoneCodec

from .models import ShapeAutoEncoder
from .models.coding import Latent
from .normalization import Normalization

KIND = "shape"
STEP = 1 / 16
"""Width of the cells that continuous latents are rounded to; their variance is about 1."""


@dataclass(frozen=True)
class ShapeFile:
    """What an asset of kind "shape" says."""

    latent: Latent
    """The latent; codes are looked up in the model."""
    digest: str
    """Which model it belongs to."""
    facts: dict[str, Any]
    """Family, floats, bottleneck and provenance."""
    num_bytes: int
    """Size of the file."""


def latent_asset(
    latent: Latent,
    model: ShapeAutoEncoder,
    *,
    digest: str,
    step: float | None = STEP,
    source: str = "",
) -> AssetWriter:
    """A latent as an asset.

    Codes are stored without loss. Continuous latents are rounded to cells of width `step` and
    coded with contexts, or kept to the last bit where `step` is None.

    Args:
        latent: What `encode_shape` returned.
        model: Its model.
        digest: Of the model's file; reading with another model fails.
        step: See above.
        source: Name of the mesh, for provenance.
    """
    config, normalization = model.config, latent.normalization
    writer = AssetWriter(
        KIND,
        frame={"axes": "source"},
        properties={
            "model": digest,
            "family": config.family,
            "floats": model.layout.floats,
            "bottleneck": config.bottleneck,
            "center": list(normalization.center),
            "scale": normalization.scale,
        },
        provenance={"program": f"fieldwright {version('fieldwright')}", "source": source},
    )
    for i, part in enumerate(model.layout.parts):
        leaf: Coded
        if latent.indices is not None:
            codes = latent.indices[i].numpy()
            kind = np.uint8 if codes.max(initial=0) < 256 else np.uint16
            leaf = writer.encode(part.name, codes.astype(kind), RansCodec())
        else:
            values = latent.values[i].numpy()
            codec = RawCodec() if step is None else DeadZoneCodec(step)
            leaf = writer.encode(part.name, values, codec)
        writer.array(part.name, leaf)
    return writer


def load_latent(path: Path | bytes, model: ShapeAutoEncoder, *, digest: str) -> ShapeFile:
    """Read a latent with the model that made it.

    Raises:
        AssetError: The file is damaged.
        ValueError: It holds something else, or the latent of another model.
    """
    name = path if isinstance(path, Path) else "the latent"
    with open_asset(path) as asset:
        header = asset.header
        if header.kind != KIND:
            raise ValueError(f"{name} holds {header.kind!r}, expected the latent of a shape.")
        facts = dict(header.properties)
        if facts.get("model") != digest:
            raise ValueError(
                f"{name} was made by model {facts.get('model')} ({facts.get('family')}, "
                f"{facts.get('floats')} floats), the given one is {digest}; pass its file as "
                "--model, or encode the mesh again."
            )
        arrays = asset.arrays()
        size = asset.num_bytes
    parts = model.layout.parts
    missing = [part.name for part in parts if part.name not in arrays]
    if missing:
        raise ValueError(f"{name} lacks {', '.join(missing)}.")
    stored = [torch.from_numpy(arrays[part.name].copy()) for part in parts]
    indices = None
    if model.quantizers():
        indices = tuple(codes.long() for codes in stored)
        stored = model.latents_of(indices)
    for part, values in zip(parts, stored, strict=True):
        if tuple(values.shape) != (part.tokens, part.channels):
            raise ValueError(f"{name}: `{part.name}` has shape {list(values.shape)}.")
    try:
        x, y, z = (float(value) for value in facts["center"])
        normalization = Normalization((x, y, z), float(facts["scale"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name} has no valid normalization: {error}.") from error
    return ShapeFile(Latent(tuple(stored), indices, normalization), digest, facts, size)


__all__ = ["KIND", "STEP", "AssetError", "ShapeFile", "latent_asset", "load_latent"]
