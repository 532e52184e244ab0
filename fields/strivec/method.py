"""`fieldwright train strivec`: local tensors from posed photos."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from splats.formats import load

from ..contraction import contract
from ..grids import GridField, GridMethod, load_grid_scene
from ..grids.contracted import ContractedGrid
from ..scene import FieldScene
from ..tensorf import TensorfConfig, TensorfField
from ..training import Hull
from .config import StrivecConfig
from .field import StrivecField

_COARSE_NODES, _COARSE_RANK = 64, 8

logger = logging.getLogger(__name__)


class StrivecMethod(GridMethod):
    """Trains a `StrivecField` on one capture; see `GridMethod`.

    Tensors are placed along points: those of a file, or the cells that hold something once a small
    TensoRF has been trained for a moment.
    """

    Config = StrivecConfig
    Field = StrivecField
    _begun: float | None = None

    def start(self, hull: Hull, unit: float) -> GridField:
        """See `GridMethod`."""
        box = torch.stack([hull.low, hull.low + hull.side])
        if self.config.points is not None:
            return self._along(self._given_points(self.config.points), box, unit)
        coarse = TensorfConfig(
            density_rank=_COARSE_RANK,
            color_rank=_COARSE_RANK,
            features=self.config.features,
            width=self.config.width,
            first_nodes=_COARSE_NODES,
            nodes=_COARSE_NODES,
            sparsity=0.0,
        )
        return TensorfField.drawn(coarse, box, unit, generator=self.random)

    def _given_points(self, path: Path) -> Float[Tensor, "P 3"]:
        """The points of a file in the frame of the grid."""
        points = load(path).means
        if len(points) == 0:
            raise ValueError(f"`points` {path} holds no point; expected at least one.")
        points = self.capture.T_source_capture.inverse().apply(points.float())
        return contract(points) if isinstance(self.sampler, ContractedGrid) else points

    def _along(self, points: Tensor, box: Tensor, unit: float) -> StrivecField:
        field = StrivecField.along(points, self.config, box, unit, generator=self.random)
        counts = ", ".join(str(len(scale.cells)) for scale in field.each())
        logger.info("%d points, covered by %s tensors.", len(points), counts)
        return field

    def reshape(self, progress: float) -> None:
        """See `GridMethod`; the coarse stage ends with the tensors' beginning."""
        if self._begun is None:
            self._begun = progress
        # Counted from the first step: loading may take a share of a budget in seconds.
        coarse = progress < max(self._begun + self.config.coarse_until, self.next_look)
        if isinstance(self.field, TensorfField) and not coarse and self.look(progress):
            points = self.sampler.dense_points()
            self.take(self._along(points, self.field.box, self.field.unit))
            self.since = progress
        if isinstance(self.field, StrivecField):
            super().reshape(progress)

    def state_dict(self) -> dict[str, Any]:
        """See `GridMethod`."""
        return super().state_dict() | {"begun": self._begun}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `GridMethod`."""
        self.Field = TensorfField if "decomposition" in state["description"] else StrivecField
        super().load_state_dict(state)
        self._begun = state["begun"]


def load_scene(path: str | Path, *, device: torch.device | str = "cpu") -> FieldScene:
    """See `load_grid_scene`."""
    return load_grid_scene(StrivecField, path, device=device)
