"""Any representation into any other, with the loss of the file that was written.

All go by the same way: the source is rendered from cameras, and pictures, silhouettes and depths
make the target. Only a mesh gives its surface to Gaussians directly.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from captures import Cameras, Renderable, load_capture
from runs import METHODS, RunDirectory, load_plugin
from splats.formats import save
from splats.formats.contract import refuse_existing
from splats.formats.conversion import size_of

from ..meshes.cleaning import decimated
from ..meshes.depth_views import depth_views
from ..meshes.files import save_mesh
from ..meshes.from_scene import MeshOptions, mesh_of_scene
from ..meshes.mesh import Mesh
from ..meshes.scene import MeshScene
from ..variation.mesh_signals import denoised_colors, denoised_shape
from .kinds import Kind, kind_of_scene, open_scene, require_writable, scene_file
from .loss import Loss, Pictures, measure, render_pictures
from .surface_splats import splats_on_mesh, splats_on_views
from .teaching import Progress, rendered_capture, taught_splats
from .viewpoints import split, viewpoints

Denoising = Literal["none", "colors", "shape", "both"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Across:
    """How one representation becomes another; the defaults work unedited."""

    data: Path | None = None
    """Capture whose cameras look at the source; None takes that of a run, or automatic ones."""
    cameras: int = 48
    """Automatic cameras."""
    size: int = 512
    """Their width and height in pixels."""
    steps: int | None = None
    """Steps in which the target learns from renders of the source; None: 400 for splats, 1500 for
    fields. 0 leaves splats as their surface gives them."""
    count: int = 60_000
    """Gaussians on a surface that becomes splats."""
    mesh: MeshOptions = field(default_factory=MeshOptions)
    """How a mesh is made."""
    denoise: Denoising = "none"
    """What to take noise off in a mesh, keeping edges: the colors, the shape or both."""
    method: str = "trivec"
    """Training method of the field that is made."""

    def __post_init__(self) -> None:
        if self.cameras < 2 or self.size < 16 or self.count < 1:
            raise ValueError(
                "`cameras` must be at least 2, `size` 16 pixels and `count` 1, got "
                f"{self.cameras}, {self.size} and {self.count}."
            )
        if self.steps is not None and self.steps < 0:
            raise ValueError(f"`steps` must be 0 or more, got {self.steps}.")


@dataclass(frozen=True)
class Crossing:
    """What was written, and how it compares with its source."""

    output: Path
    """The file."""
    source_kind: Kind
    """What it was made from."""
    target_kind: Kind
    """What it holds."""
    num_primitives: int
    """Gaussians, triangles, leaves."""
    num_bytes: int
    """On disk, with a texture beside it."""
    source_bytes: int
    """Of the source."""
    seconds: float
    """Time to convert and write."""
    loss: Loss
    """On cameras that were not used."""
    pictures: tuple[Pictures, Pictures] = field(repr=False)
    """Of source and file from those cameras."""

    def summary(self) -> dict[str, Any]:
        """The keys of `fieldwright convert --json`."""
        return {
            "num_bytes": self.num_bytes,
            "source_bytes": self.source_bytes,
            "num_primitives": self.num_primitives,
            "render_psnr": self.loss.psnr,
            "encode_seconds": self.seconds,
            "decode_seconds": self.loss.decode_seconds,
            "output": str(self.output),
            "kind": self.target_kind,
            "source_kind": self.source_kind,
            "silhouette_iou": self.loss.silhouette,
            "depth_error": self.loss.depth_error,
        }


def convert_across(
    path: Path,
    output: Path,
    target: Kind,
    *,
    options: Across | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Crossing:
    """Write the scene in `path` as another representation, in the same units and axes.

    Args:
        path: A splat, mesh or field file, or a run folder.
        output: Where to; its ending tells the format.
        target: What it shall hold.
        options: None takes the defaults.
        seed: Of every random choice.
        overwrite: Replace an existing output.
        progress: Told the share done of a target that learns.

    Raises:
        FileExistsError: `output` exists and `overwrite` is False.
        ValueError: A source that cannot be read or shows no surface; an output that cannot hold
            the target.
    """
    options = options or Across()
    require_writable(output, target)
    refuse_existing(output, overwrite=overwrite)
    if output.exists() and output.resolve() == path.resolve():
        raise ValueError(f"`output` is the input {path}; choose another name.")
    scene = open_scene(path)
    train, test = split(_cameras(path, scene, options))
    before = render_pictures(scene, test)
    start = time.perf_counter()
    if target == "mesh":
        mesh = _mesh(scene, train, options)
        count, num_bytes = len(mesh.faces), save_mesh(mesh, output, overwrite=overwrite)
    elif target == "splats":
        count = _write_splats(scene, train, output, options, seed, overwrite, progress)
        num_bytes = size_of(output)
    else:
        count = _write_field(scene, train, output, options, seed, progress)
        num_bytes = size_of(output)
    seconds = time.perf_counter() - start
    loss, after = measure(before, output, test)
    return Crossing(
        output=output,
        source_kind=kind_of_scene(scene),
        target_kind=target,
        num_primitives=count,
        num_bytes=num_bytes,
        source_bytes=size_of(scene_file(path)),
        seconds=seconds,
        loss=loss,
        pictures=(before, after),
    )


def _cameras(path: Path, scene: Renderable, options: Across) -> Cameras:
    """Of the capture that is named or that the run was trained on, else automatic ones."""
    data, downscale = options.data, None
    if data is None and (path / "config.json").is_file():
        settings = RunDirectory.open(path).config
        data, downscale = settings.get("data"), settings.get("downscale")
    if data is not None and not Path(data).exists():
        logger.warning("The capture %s is gone; automatic cameras are taken instead.", data)
        data = None
    capture = None if data is None else load_capture(Path(data), downscale=downscale)
    size = options.size
    return viewpoints(scene, capture, count=options.cameras, width=size, height=size)


def _mesh(scene: Renderable, cameras: Cameras, options: Across) -> Mesh:
    """A mesh is kept as it is; of all else the surface is taken. Both are denoised as asked."""
    if isinstance(scene, MeshScene):
        mesh = scene.mesh
        if options.mesh.faces is not None and len(mesh.faces) > options.mesh.faces:
            mesh = decimated(mesh, options.mesh.faces)
    else:
        mesh = mesh_of_scene(scene, cameras, options.mesh)
    if options.denoise in ("shape", "both"):
        mesh = denoised_shape(mesh)
    if options.denoise in ("colors", "both"):
        mesh = denoised_colors(mesh)
    return mesh


def _write_splats(
    scene: Renderable,
    cameras: Cameras,
    output: Path,
    options: Across,
    seed: int,
    overwrite: bool,
    progress: Progress | None,
) -> int:
    if isinstance(scene, MeshScene):
        gaussians = splats_on_mesh(scene.mesh, options.count, seed=seed)
    else:
        gaussians = splats_on_views(list(depth_views(scene, cameras)), options.count, seed=seed)
    steps = 400 if options.steps is None else options.steps
    if steps:
        pictures = render_pictures(scene, cameras)
        gaussians = taught_splats(
            gaussians, pictures, cameras, steps=steps, seed=seed, progress=progress
        )
    save(gaussians, output, overwrite=overwrite)
    return len(gaussians)


def _write_field(
    scene: Renderable,
    cameras: Cameras,
    output: Path,
    options: Across,
    seed: int,
    progress: Progress | None,
) -> int:
    """A field that learns from renders of the scene like from photos."""
    method = load_plugin(METHODS, options.method)
    capture = rendered_capture(scene, cameras)
    trainee = method.create(method.Config(), capture, device=torch.device("cpu"), seed=seed)
    steps = 1500 if options.steps is None else max(1, options.steps)
    for step in range(steps):
        trainee.step(step, step / steps)
        if progress is not None:
            progress((step + 1) / steps)
    trainee.save_scene(output)
    return trainee.num_primitives
