"""Training through an occupancy grid: the loop that all fields of this folder share."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from captures import Capture
from captures.evaluation import preview_scores

from ..rendering import render_field
from ..samplers import OccupancyGrid
from ..scene import FieldScene
from ..training import Hull, RayBatches, carve, random_background
from .config import GridConfig
from .contract import GridField
from .contracted import ContractedGrid, in_world
from .files import save_grid_field, scene_renderer
from .optimizer import GridOptimizer

_UNITS = 256
"""Lengths that densities are counted in, across the scene's box."""
_LOOK_EVERY = 0.025
"""Share of the budget between two looks at which cells are empty."""
_FIRST_LOOK = 0.04
"""Share of the budget after which cells may be empty."""
_LATEST_FIND = 0.5
"""Share of the budget after which something must have been seen."""
_DECAY = 0.5
"""Of what was seen at the look before."""
_MIN_ALPHA = 0.006
"""Opacity of a step below which a cell is empty: above what cells begin with."""

logger = logging.getLogger(__name__)


class GridMethod(ABC):
    """Trains a `GridField` on one capture; implements `runs.Trainee`.

    A method names its `Config` and its `Field` and says what it begins with.
    """

    Config: ClassVar[type[GridConfig]]
    Field: type[GridField]

    @abstractmethod
    def start(self, hull: Hull, unit: float) -> GridField:
        """The field to begin with, drawn from `self.random`.

        Args:
            hull: Where the content may be; of scenes without end, in the contracted cube.
            unit: Length that densities are counted in.
        """

    @classmethod
    def create(
        cls, config: Any, capture: Capture, *, device: torch.device, seed: int
    ) -> GridMethod:
        """A fresh trainee.

        Raises:
            ValueError: Nothing to train on, or alpha that leaves no space for an object.
        """
        capture.require_training_photos()
        if device.type != "cpu":
            logger.info("Fields on grids are trained on the CPU, whatever the device.")
        return cls(config, capture, seed=seed)

    def __init__(self, config: Any, capture: Capture, *, seed: int) -> None:
        self.config, self.capture = config, capture
        capture.preload(capture.train)
        self._batches = RayBatches(capture, config.rays, seed=seed)
        self.random = torch.Generator().manual_seed(seed + 1)
        hull = carve(capture, config.cells)
        if not hull.bounded:
            hull = replace(hull, low=torch.zeros(3), side=1.0)
        self.sampler = (OccupancyGrid if hull.bounded else ContractedGrid)(
            torch.stack([hull.low, hull.low + hull.side]),
            step=hull.side / config.steps,
            resolution=config.cells,
            min_alpha=_MIN_ALPHA,
            possible=_flags(hull),
            decay=_DECAY,
        )
        self.next_look = _FIRST_LOOK
        """Share of the budget from which on empty cells are looked for again."""
        self._stage, self.since = 0, 0.0
        self.take(self.start(hull, hull.side / _UNITS))

    def take(self, field: GridField) -> None:
        """Train `field` from now on, with fresh moments."""
        self.field = field
        grids = field.grids()
        held = {id(grid) for grid in grids}
        others = [item for item in field.parameters() if id(item) not in held]
        self._optimizer = GridOptimizer(grids, others)

    # ------------------------------------------------------------------------------ training

    def step(self, step: int, progress: float) -> dict[str, float | Tensor]:
        """One batch of rays: draw, compare, descend; now and then more nodes or fewer cells."""
        del step
        self.reshape(progress)
        batch = self._batches.next()
        background = random_background(self.config.background, batch, generator=self.random)
        samples = self.sampler.sample(batch.rays, jitter=self.random)
        found = render_field(in_world(self.field, self.sampler), samples, batch.rays)
        error = (found.over(background) - batch.over(background)).square().mean()
        sparsity = self.field.sparsity()
        (error if sparsity is None else error + sparsity).backward()
        share = self.config.lr_final ** (progress - self.since)
        self._optimizer.step(grids=self.config.lr * share, others=self.config.lr_network * share)
        value = error.detach()
        return {"loss": value, "psnr": -10 * value.clamp(min=1e-10).log10()}

    @torch.no_grad()
    def reshape(self, progress: float) -> None:
        """Look for empty cells, and refine the nodes, when it is time."""
        if progress >= self.next_look:
            self.look(progress)
        due = sum(progress >= share for share in self.config.upsample_at)
        if due > self._stage:
            self._stage, self.since = due, progress
            self.take(self.field.refined(due, self.sampler, self.random))
            count = self.field.num_parameters
            logger.info("%s: %d parameters after refinement %d.", self.field.KIND, count, due)

    def look(self, progress: float) -> bool:
        """Learn which cells are empty; False, and no cell is, where it is too early to tell.

        Raises:
            ValueError: All are empty, and it is late.
        """
        self.next_look = progress + _LOOK_EVERY
        before = self.sampler.state_dict()
        self.sampler.update(self.field.density, generator=self.random)
        if bool(self.sampler.occupied.any()):
            return True
        if progress > _LATEST_FIND:
            raise ValueError(
                "every cell became empty: the photos show nothing in the box that is modelled, or "
                "the budget is too small to find it. Allow more, check the poses, or train on a "
                "background that differs from the object."
            )
        self.sampler.load_state_dict(before)
        return False

    # ------------------------------------------------------------------- what a run asks for

    @property
    def num_primitives(self) -> int:
        """What the field counts itself in."""
        return self.field.num_primitives

    def preview(self) -> dict[str, float]:
        """Mean PSNR over a few held-out views, on the background that `eval` takes."""
        kind = self.config.background
        return preview_scores(self.renderable(), self.capture, setting=kind, views=2)

    def renderable(self) -> FieldScene:
        """The current scene in the capture's frame; it changes as training goes on."""
        return FieldScene(scene_renderer(self.field, self.sampler))

    def save_scene(self, path: Path) -> Path:
        """Write the field as an asset in the frame of the source."""
        similarity = self.capture.T_source_capture
        path = path.with_suffix(".fwa")
        return save_grid_field(
            self.field, self.sampler, path, T_source_field=similarity, overwrite=True
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything the continuation depends on."""
        return {
            "description": self.field.description(),
            "field": dict(self.field.state_dict()),
            "optimizer": self._optimizer.state_dict(),
            "sampler": self.sampler.state_dict(),
            "batches": self._batches.state_dict(),
            "random": self.random.get_state(),
            "next_look": self.next_look,
            "stage": self._stage,
            "since": self.since,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        field = self.Field.blank(state["description"])
        field.load_state_dict(state["field"])
        self.take(field)
        self._optimizer.load_state_dict(state["optimizer"])
        self.sampler.load_state_dict(state["sampler"])
        self._batches.load_state_dict(state["batches"])
        self.random.set_state(state["random"])
        self.next_look, self._stage = state["next_look"], state["stage"]
        self.since = state["since"]


def _flags(hull: Hull) -> Tensor:
    flags = torch.zeros((hull.resolution,) * 3, dtype=torch.bool)
    x, y, z = hull.cells.unbind(1)
    flags[x, y, z] = True
    return flags
