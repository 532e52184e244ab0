"""Shapes: from any mesh to samples, to a latent, and back to a mesh (docs/shapes.md)."""

from .decoding import extract_mesh
from .health import Examined, Health, examine
from .mesh import MeshError, TriangleMesh, find_meshes, load_mesh, write_mesh
from .normalization import Normalization
from .prepare import prepare, prepare_mesh
from .samples import ShapeSamples
from .signed_distance import SignedDistance

__all__ = [
    "Examined",
    "Health",
    "MeshError",
    "Normalization",
    "ShapeSamples",
    "SignedDistance",
    "TriangleMesh",
    "examine",
    "extract_mesh",
    "find_meshes",
    "load_mesh",
    "prepare",
    "prepare_mesh",
    "write_mesh",
]
