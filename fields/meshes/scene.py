"""A mesh as something to look at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from captures import Cameras, Channel, RenderOutput

from .files import load_mesh
from .mesh import Mesh, unit_rows
from .rasterizer import Fragments, rasterize_triangles

_NEAR_SHARE = 1e-3  # of the mesh's diagonal; nearer surfaces are cut away
_AMBIENT = 0.25


@dataclass(frozen=True, eq=False)
class MeshScene:
    """A mesh that renders itself on the CPU; a `captures.Renderable`.

    Colors are shown as they are, without light: a capture's colors contain its light. A mesh
    without colors is shaded gray by a lamp at the camera, so that its shape is seen.
    """

    mesh: Mesh
    """In the frame that the cameras must be in."""
    samples: int = 2
    """Rays per pixel along each side; 1 leaves jagged edges."""
    path: Path | None = None
    """The file it came from."""

    @property
    def num_primitives(self) -> int:
        """Number of triangles."""
        return len(self.mesh.faces)

    @property
    def num_bytes(self) -> int:
        """Size of the file, or of the arrays where there is none."""
        return self.mesh.num_bytes if self.path is None else self.path.stat().st_size

    def bounds(self) -> Float[Tensor, "2 3"]:
        """Corners of the box around all vertices that faces use."""
        used = self.mesh.vertices[self.mesh.faces.reshape(-1)]
        if not len(used):
            return torch.zeros(2, 3)
        return torch.from_numpy(np.stack([used.min(0), used.max(0)])).float()

    def render(
        self,
        cameras: Cameras,
        *,
        channels: Sequence[Channel] = ("rgb", "alpha", "depth"),
        background: Float[Tensor, "3"] | None = None,
    ) -> RenderOutput:
        """Images from pinhole `cameras` over `background` (black when None); see `Renderable`."""
        if cameras.model != "pinhole":
            raise ValueError(f"meshes are drawn by pinhole cameras, got model {cameras.model!r}.")
        behind = np.zeros(3, np.float32) if background is None else background.cpu().numpy()
        pictures = [
            self._picture(cameras, index, channels, behind) for index in range(len(cameras))
        ]
        stacked = {
            name: torch.from_numpy(np.stack([p[name] for p in pictures])) for name in channels
        }
        return RenderOutput(stacked.get("rgb"), stacked.get("alpha"), stacked.get("depth"))

    def _picture(
        self, cameras: Cameras, index: int, channels: Sequence[Channel], behind: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Channels [H, W, D] of one camera, averaged over the rays of each pixel."""
        fine = cameras[[index]].resized(cameras.width * self.samples, cameras.height * self.samples)
        fragments = self.fragments(fine)
        hit = np.flatnonzero(fragments.faces >= 0)
        shape = (fine.height, fine.width)
        found = {"alpha": (fragments.faces >= 0).astype(np.float32)[..., None]}
        cover = self._averaged(found["alpha"])
        if "rgb" in channels:
            image = np.zeros((fine.height * fine.width, 3), np.float32)
            image[hit] = self._shade(fragments, hit, fine)
            found["rgb"] = self._averaged(image.reshape(*shape, 3)) + (1 - cover) * behind
        if "depth" in channels:
            depth = np.zeros(shape, np.float32).reshape(-1)
            depth[hit] = 1 / fragments.inverse_depths.reshape(-1)[hit]
            mean = self._averaged(depth.reshape(*shape, 1)) / np.where(cover > 0, cover, 1)
            found["depth"] = mean.astype(np.float32)
        found["alpha"] = cover
        return {name: found[name].astype(np.float32) for name in channels}

    def _averaged(self, image: np.ndarray) -> np.ndarray:
        """Means over squares of `samples` pixels."""
        height, width, depth = image.shape
        side = self.samples
        return image.reshape(height // side, side, width // side, side, depth).mean((1, 3))

    def fragments(self, camera: Cameras) -> Fragments:
        """What the pixels of a single camera see, one ray through each center."""
        viewmat, K = camera.viewmats[0].numpy(), camera.Ks[0].numpy()
        local = self.mesh.vertices @ viewmat[:3, :3].T + viewmat[:3, 3]
        corners, parents, shares = _clipped(local[self.mesh.faces], self._near)
        z = corners[..., 2]
        places = np.einsum("fcj,ij->fci", corners, K)[..., :2] / z[..., None]
        found = rasterize_triangles(places, 1 / z, width=camera.width, height=camera.height)
        if shares is None:
            return found
        hit = found.faces >= 0
        pieces = found.faces[hit]
        weights = found.weights.copy()
        weights[hit] = np.einsum("nc,ncd->nd", found.weights[hit], shares[pieces])
        faces = found.faces.copy()
        faces[hit] = parents[pieces]
        return Fragments(faces, weights, found.inverse_depths)

    def _shade(self, fragments: Fragments, hit: np.ndarray, camera: Cameras) -> np.ndarray:
        """sRGB of the pixels `hit`."""
        faces = fragments.faces.reshape(-1)[hit].astype(np.int64)
        weights = fragments.weights.reshape(-1, 3)[hit]
        if self.mesh.colors is not None or self.mesh.texture is not None:
            return self.mesh.face_colors_at(faces, weights)
        normals = unit_rows(np.einsum("nc,ncd->nd", weights, self._normals[self.mesh.faces[faces]]))
        points = np.einsum("nc,ncd->nd", weights, self.mesh.corners()[faces])
        toward = unit_rows(camera.positions[0].numpy() - points)
        cosine = np.abs((normals * toward).sum(1, keepdims=True))
        return np.repeat(_AMBIENT + (0.9 - _AMBIENT) * cosine, 3, axis=1).astype(np.float32)

    @cached_property
    def _normals(self) -> np.ndarray:
        return self.mesh.vertex_normals()

    @cached_property
    def _near(self) -> float:
        low, high = self.bounds().numpy()
        return _NEAR_SHARE * float(np.linalg.norm(high - low)) or 1e-6


def _clipped(corners: np.ndarray, near: float) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Triangles [F, 3, 3] cut at z = near: pieces, their faces, and corner weights if any was cut.

    Where one corner lies in front a triangle remains, where two do a quadrilateral, cut in two.
    """
    front = corners[..., 2] >= near
    count = front.sum(1)
    whole = np.flatnonzero(count == 3)
    if len(whole) == len(corners):
        return corners, whole, None
    pieces, parents = [np.broadcast_to(np.eye(3), (len(whole), 3, 3))], [whole]
    for inside in (1, 2):
        cut = np.flatnonzero(count == inside)
        # Turn each triangle until its odd corner comes first.
        odd = (front[cut] if inside == 1 else ~front[cut]).argmax(1)
        turned = (odd[:, None] + np.arange(3)) % 3
        z = np.take_along_axis(corners[cut, :, 2], turned, 1)
        basis = np.eye(3)[turned]
        edges = []
        for other in (1, 2):
            t = ((near - z[:, 0]) / (z[:, other] - z[:, 0]))[:, None]
            edges.append((1 - t) * basis[:, 0] + t * basis[:, other])
        if inside == 1:
            pieces.append(np.stack([basis[:, 0], *edges], 1))
            parents.append(cut)
        else:
            pieces.append(np.stack([edges[0], basis[:, 1], basis[:, 2]], 1))
            pieces.append(np.stack([edges[0], basis[:, 2], edges[1]], 1))
            parents += [cut, cut]
    shares, faces = np.concatenate(pieces), np.concatenate(parents)
    return np.einsum("pcd,pdj->pcj", shares, corners[faces]), faces, shares


_MESHES_ONLY = (".obj", ".stl", ".off", ".gltf")
_FACES = re.compile(rb"element (face|tristrips) [1-9]")


def is_mesh_file(path: Path) -> bool:
    """Whether a file holds triangles, from its name and its first kilobytes.

    .glb files count unless they declare Gaussians, .ply files if their header announces faces, .obj
    files if a line does.
    """
    suffix = path.suffix.lower()
    if not path.is_file() or suffix not in (*_MESHES_ONLY, ".ply", ".glb"):
        return False
    with path.open("rb") as file:
        start = file.read(1 << 16)
    if suffix == ".obj":
        return b"\nf " in path.read_bytes()
    if suffix == ".ply":
        return _FACES.search(start.partition(b"end_header")[0]) is not None
    return b"KHR_gaussian_splatting" not in start


def load_scene(path: str | Path, *, device: torch.device | str = "cpu") -> MeshScene:
    """The mesh in a file, drawn on the CPU whatever `device` is.

    Raises:
        ValueError: Not a mesh.
    """
    del device
    path = Path(path)
    if not is_mesh_file(path):
        raise ValueError(f"{path} holds no triangles; expected a mesh file such as scene.obj.")
    return MeshScene(load_mesh(path), path=path)
