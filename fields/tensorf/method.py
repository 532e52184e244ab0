"""`fieldwright train tensorf`: one box of factors from posed photos."""

from __future__ import annotations

from pathlib import Path

import torch

from ..grids import GridMethod, load_grid_scene
from ..scene import FieldScene
from ..training import Hull
from .config import TensorfConfig
from .field import TensorfField


class TensorfMethod(GridMethod):
    """Trains a `TensorfField` on one capture; see `GridMethod`."""

    Config = TensorfConfig
    Field = TensorfField

    def start(self, hull: Hull, unit: float) -> TensorfField:
        """See `GridMethod`."""
        box = torch.stack([hull.low, hull.low + hull.side])
        return TensorfField.drawn(self.config, box, unit, generator=self.random)


def load_scene(path: str | Path, *, device: torch.device | str = "cpu") -> FieldScene:
    """See `load_grid_scene`."""
    return load_grid_scene(TensorfField, path, device=device)
