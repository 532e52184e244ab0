"""What the compressors of fields are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from captures import Cameras, Capture, Similarity

from ..conversion.viewpoints import viewpoints
from ..rays import Rays, pixel_rays
from ..scene import FieldScene

_VIEWS, _SIZE = 24, 256
_RAYS = 4096


@dataclass(frozen=True)
class Task:
    """A file of a field that shall become smaller."""

    source: Path
    """The file, an asset."""
    output: Path
    """Where the small one goes; it may be replaced."""
    target_size: int
    """Most bytes."""
    capture: Capture | None = None
    """Where the field comes from: its training cameras say what matters, and with `steps` the field
    is fitted to its photos again. None looks from all around."""
    steps: int = 0
    """Training steps on the photos while numbers are rounded."""
    seed: int = 0
    """Of everything random."""

    def refuse_steps(self, kind: str) -> None:
        """For kinds of fields that are not fitted to photos again.

        Raises:
            ValueError: There are steps.
        """
        if self.steps:
            raise ValueError(f"{kind} fields are not fitted again; give --refine-steps 0.")

    def cameras(self, scene: FieldScene) -> Cameras:
        """Those that matter, in the scene's frame."""
        cameras = viewpoints(scene, self.capture, count=_VIEWS, width=_SIZE, height=_SIZE)
        return cameras if self.capture is None else cameras[list(self.capture.train)]

    def rays(self, scene: FieldScene) -> Callable[[], Rays]:
        """Batches of random rays of the cameras that matter, in the frame of the scene's field."""
        cameras = scene.T_scene_field.inverse().apply_to_cameras(self.cameras(scene))
        random = torch.Generator().manual_seed(self.seed)
        size = torch.tensor([cameras.width, cameras.height])

        def batch() -> Rays:
            chosen = torch.randint(len(cameras), (_RAYS,), generator=random)
            pixels = torch.rand(_RAYS, 2, generator=random) * size
            return pixel_rays(cameras, chosen, pixels)

        return batch

    def require_frame(self, T_source_field: Similarity) -> None:
        """Refuse to train a field on photos whose frame is not the field's.

        Raises:
            ValueError: There is no capture, or one with another frame.
        """
        if self.capture is None:
            raise ValueError("`steps` needs photos; name their folder with --data.")
        mine, theirs = T_source_field.matrix(), self.capture.T_source_capture.matrix()
        if not torch.allclose(mine, theirs, rtol=1e-5, atol=1e-7):
            raise ValueError(
                f"{self.source} was trained in another frame than that of {self.capture.source}; "
                "take the --data and --downscale of its training, or --refine-steps 0."
            )
