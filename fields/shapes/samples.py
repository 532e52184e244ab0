"""What `shape prepare` writes for one shape: the documented .npz schema (docs/shapes.md)."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from runs.files import replacing

from .normalization import Normalization
from .octree import Level, leaf_features

SCHEMA = "fieldwright shape samples"
VERSION = 1
OCTREE_DEPTH = 6
"""Leaves of 1/32 of the box's half side: about as many as a shape has surface samples to fill."""
_ARRAYS = {
    "surface": 3, "surface_normals": 3, "sharp": 3, "sharp_normals": 3, "near": 3, "near_sdf": 0,
    "near_sigma": 0, "volume": 3, "volume_sdf": 0, "octree_keys": 0, "octree_features": 7,
}  # fmt: skip


@dataclass(frozen=True)
class ShapeSamples:
    """Samples of one shape in the box [-1, 1]^3; distances are negative inside."""

    surface: Float[np.ndarray, "n 3"]
    """Points uniform by area."""
    surface_normals: Float[np.ndarray, "n 3"]
    """Their outward unit normals."""
    sharp: Float[np.ndarray, "s 3"]
    """Points on sharp edges; may be empty."""
    sharp_normals: Float[np.ndarray, "s 3"]
    """Mean of the two normals there."""
    near: Float[np.ndarray, "k 3"]
    """Points about the surface."""
    near_sdf: Float[np.ndarray, "k"]
    """Their signed distances."""
    near_sigma: Int[np.ndarray, "k"]
    """Number of each one's standard deviation in `sampling.SIGMAS`."""
    volume: Float[np.ndarray, "v 3"]
    """Points uniform in the box."""
    volume_sdf: Float[np.ndarray, "v"]
    """Their signed distances."""
    octree_keys: Int[np.ndarray, "m"]
    """Morton keys of the leaves of depth `OCTREE_DEPTH`, sorted."""
    octree_features: Float[np.ndarray, "m 7"]
    """See `octree.leaf_features`."""
    normalization: Normalization
    """From the source into the box."""
    facts: dict[str, Any] = field(default_factory=dict)
    """JSON values: source, health, sign convention, seed, versions."""

    @property
    def level(self) -> Level:
        """The octree's leaves."""
        return Level(OCTREE_DEPTH, torch.from_numpy(self.octree_keys.astype(np.int64)), 1)

    def save(self, path: Path) -> Path:
        """Write the .npz, whole or not at all; an existing one is replaced."""
        facts = {
            "schema": SCHEMA,
            "version": VERSION,
            "sign": "negative inside",
            "octree_depth": OCTREE_DEPTH,
            "center": list(self.normalization.center),
            "scale": self.normalization.scale,
            "facts": self.facts,
        }
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        for name, array in arrays.items():
            kind = {"near_sigma": np.uint8, "octree_keys": np.uint32}.get(name, np.float32)
            arrays[name] = array.astype(kind)
        text = json.dumps(facts, allow_nan=False).encode()
        with replacing(path) as file:
            np.savez_compressed(file, about=np.frombuffer(text, np.uint8), **arrays)
        return path

    @classmethod
    def load(cls, path: Path) -> ShapeSamples:
        """Read what `save` wrote; nothing in the file is run as code.

        Raises:
            FileNotFoundError: No such file.
            ValueError: Damaged, another schema, or arrays that do not fit it.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                about = json.loads(bytes(stored["about"]))
                arrays = {name: stored[name] for name in _ARRAYS}
        except FileNotFoundError:
            raise
        except (OSError, KeyError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise ValueError(
                f"{path} holds no shape samples ({error}); make some with `fieldwright shape "
                "prepare`."
            ) from error
        if about.get("schema") != SCHEMA or about.get("version") != VERSION:
            raise ValueError(
                f"{path} has schema {about.get('schema')!r} version {about.get('version')}, this "
                f"version reads {SCHEMA!r} version {VERSION}; prepare the mesh again."
            )
        for name, width in _ARRAYS.items():
            array = arrays[name]
            if array.ndim != (2 if width else 1) or (width and array.shape[1] != width):
                raise ValueError(f"{path}: `{name}` has shape {list(array.shape)}.")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ValueError(f"{path}: `{name}` is not finite.")
        arrays["octree_keys"] = arrays["octree_keys"].astype(np.int64)
        arrays["near_sigma"] = arrays["near_sigma"].astype(np.int64)
        center = tuple(float(value) for value in about["center"])
        normalization = Normalization((center[0], center[1], center[2]), float(about["scale"]))
        return cls(**arrays, normalization=normalization, facts=about["facts"])

    @property
    def num_bytes(self) -> int:
        """Bytes in memory."""
        return sum(getattr(self, f.name).nbytes for f in fields(self) if f.name in _ARRAYS)


def octree_of(
    surface: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]
) -> tuple[Int[np.ndarray, "m"], Float[np.ndarray, "m 7"]]:
    """Keys and features of the leaves that surface samples lie in."""
    level, features = leaf_features(
        torch.from_numpy(surface.astype(np.float32)),
        torch.from_numpy(normals.astype(np.float32)),
        OCTREE_DEPTH,
    )
    return level.keys.numpy(), features.numpy()
