"""Triangle meshes: files, rendering, fusion of depth maps, textures, distances."""

from .cleaning import decimated, without_small_pieces
from .distances import SurfaceDistance, sample_surface, surface_distance, visible_from
from .files import load_mesh, save_mesh
from .from_scene import MeshOptions, mesh_of_scene
from .mesh import Mesh
from .scene import MeshScene

__all__ = [
    "Mesh",
    "MeshOptions",
    "MeshScene",
    "SurfaceDistance",
    "decimated",
    "load_mesh",
    "mesh_of_scene",
    "sample_surface",
    "save_mesh",
    "surface_distance",
    "visible_from",
    "without_small_pieces",
]
