"""`fieldwright train trivec`: an octree of tri-vector leaves from posed photos."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captures import Capture
from captures.evaluation import preview_scores
from splats.training.kernels import one_torch_thread
from splats.training.optimizer import SelectiveAdam

from ..scene import FieldScene
from ..training import Hull, RayBatches, carve, random_background
from .compaction import OFFSETS, Rounding, compacted, noise_bank
from .config import TrivecConfig
from .field import TrivecField
from .files import save_coded, save_trivec
from .octree import Octree
from .refinement import fresh, joined, missing_neighbors, occupancy_masks, subdivided
from .renderer import TrivecRenderer
from .sensitivity import measure_sensitivity

_PARAMETERS = ("vectors", "densities", "colors")
_ARRAYS = (*_PARAMETERS, "masks", "ranks")
_MASK_EVERY = 0.02
"""Share of the budget between two looks at which cells are empty."""
_FIRST_MASK = 0.03
"""Share of the budget after which cells may be empty."""
_MIN_ALPHA = 0.004
"""Opacity of a node's width below which a cell is empty: one 8-bit step."""
_SCORE_EVERY = 8
"""Steps between those that are counted into the leaves' scores."""
_NEAR_LEAVES = 8
"""Leaves across the innermost cube of captures without alpha."""
_COMPACT_AT = 0.6
"""Share of the budget after which a field is trained for the size of its file."""
_COMPACT_TO = 0.85
"""Share of the file that components are kept for; the rest makes their cells smaller."""
_SIDE_BYTES = 8
"""Bytes of a leaf in a coded file besides its components, about."""
_UNITS = 256
"""Lengths that densities are counted in, across the cube."""

logger = logging.getLogger(__name__)


class TrivecMethod:
    """Trains a field on one capture; implements `runs.Trainee`."""

    Config = TrivecConfig

    @classmethod
    def create(
        cls, config: TrivecConfig, capture: Capture, *, device: torch.device, seed: int
    ) -> TrivecMethod:
        """A fresh trainee.

        Raises:
            ValueError: Nothing to train on, or alpha that leaves no space for an object.
        """
        capture.require_training_photos()
        if device.type != "cpu":
            logger.info("Tri-vector fields are trained on the CPU, whatever the device.")
        return cls(config, capture, seed=seed)

    def __init__(self, config: TrivecConfig, capture: Capture, *, seed: int) -> None:
        self.config, self.capture = config, capture
        capture.preload(capture.train)
        self._batches = RayBatches(capture, config.rays, seed=seed)
        self._random = torch.Generator().manual_seed(seed + 1)
        hull = carve(capture, config.grid)
        tree = first_leaves(hull)
        field = fresh(
            tree,
            rank=config.rank,
            nodes=config.nodes,
            sh_degree=config.sh_degree,
            unit=(hull.side if hull.bounded else 2.0) / _UNITS,
            generator=self._random,
        )
        logger.info("%d leaves to begin with, in a cube of %.3g.", len(tree), hull.side)
        self._next_mask, self._refined = _FIRST_MASK, 0
        self._rounding: Rounding | None = None
        self._bank, self._seed = torch.zeros(0), seed
        self._take(field)

    def _take(self, field: TrivecField) -> None:
        """Train `field` from now on, with fresh moments."""
        held = {name: getattr(field, name).contiguous().requires_grad_() for name in _PARAMETERS}
        self.field = replace(field, **held)
        self.optimizer = SelectiveAdam(
            [{"params": [held[name]], "lr": 0.0} for name in _PARAMETERS],
            betas=(0.9, 0.99),
            eps=1e-15,
        )
        self._scores = torch.zeros(len(field))
        if self._rounding is not None:
            self._bank = noise_bank(field, self._seed + 2)

    def start_from(self, field: TrivecField) -> None:
        """Go on with `field`, which must be in the capture's frame, instead of a fresh one."""
        self._take(field)

    # ------------------------------------------------------------------------------ training

    def step(self, step: int, progress: float) -> dict[str, float | Tensor]:
        """One batch of rays: draw, compare, descend; now and then change the leaves."""
        with one_torch_thread():
            return self._step(step, progress)

    def _step(self, step: int, progress: float) -> dict[str, float | Tensor]:
        self._reshape(progress)
        self._set_learning_rates(progress)
        batch = self._batches.next()
        shares = torch.rand(len(batch.rays), generator=self._random)
        background = random_background(self.config.background, batch, generator=self._random)
        found, seen = self._renderer().trace(batch.rays, shares)
        loss = (found.over(background) - batch.over(background)).square().mean()
        loss.backward()
        if step % _SCORE_EVERY == 0 and self.field.vectors.grad is not None:
            self._scores += self.field.vectors.grad.flatten(1).norm(dim=1)
        self.optimizer.step(seen)
        self.optimizer.zero_grad(set_to_none=True)
        value = loss.detach()
        return {"loss": value, "psnr": -10 * value.clamp(min=1e-10).log10()}

    def _renderer(self) -> TrivecRenderer:
        """Of the current field, with every number moved within its cell once cells are known."""
        field, step = self.field, 1 / (self.config.nodes - 1)
        if self._rounding is None:
            return TrivecRenderer(field, step=step)
        start = int(torch.randint(OFFSETS, (1,), generator=self._random))
        moved = self._rounding.moved(field, self._bank, start)
        return TrivecRenderer(
            replace(field, **dict(zip(_PARAMETERS, moved, strict=True))), step=step
        )

    def _set_learning_rates(self, progress: float) -> None:
        config = self.config
        share = config.lr_final**progress
        rates = (config.lr_vectors, config.lr_densities, config.lr_colors)
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * share

    # ------------------------------------------------------------------------- the set of leaves

    @torch.no_grad()
    def _reshape(self, progress: float) -> None:
        """Mark empty cells; drop, halve and grow leaves when it is time."""
        if progress < self._next_mask:
            return
        self._next_mask = progress + _MASK_EVERY
        masks = occupancy_masks(self.field, min_alpha=_MIN_ALPHA)
        self.field = replace(self.field, masks=masks)
        due = sum(progress >= share for share in self.config.refine_at)
        if due > self._refined:
            self._refined = due
            self._refine()
        size = self.config.target_size
        if size is not None and self._rounding is None and progress >= _COMPACT_AT:
            self._compact(size)

    def _compact(self, target_size: int) -> None:
        """Leave out what will not fit the file, and train the rest for being rounded."""
        before = self.field.num_parameters
        side = _SIDE_BYTES * len(self.field)
        field, self._rounding = compacted(
            self.snapshot(),
            lambda: self._batches.next().rays,
            num_bytes=round(_COMPACT_TO * max(target_size // 2, target_size - round(side))),
            step=1 / (self.config.nodes - 1),
            generator=self._random,
        )
        if len(field) == 0:
            raise ValueError(
                f"`target_size` {target_size} leaves no component of the field; allow more bytes."
            )
        self._take(field)
        logger.info("%d of %d numbers are kept for the file.", self.field.num_parameters, before)

    def _refine(self) -> None:
        """Drop empty leaves, grow into gaps, halve the leaves that the loss pulls at most."""
        field = replace(
            self.field, **{name: getattr(self.field, name).detach() for name in _PARAMETERS}
        )
        keep = field.masks != 0
        if not bool(keep.any()):
            raise ValueError(
                "every leaf became empty: the photos show nothing in the cube that is modelled. "
                "Check the poses, or train on a background that differs from the object."
            )
        field, scores = field.subset(keep), self._scores[keep]
        room = max(0, self.config.max_leaves - len(field)) // 7
        chosen = torch.zeros(len(field), dtype=torch.bool)
        chosen[scores.topk(min(room, len(field))).indices] = True
        grown = missing_neighbors(field)
        dropped, before = int((~keep).sum()), len(field)
        field = subdivided(field, chosen)
        field = replace(field, masks=occupancy_masks(field, min_alpha=_MIN_ALPHA))
        field = field.subset(field.masks != 0)
        if len(field) + len(grown) <= self.config.max_leaves:
            field = joined(field, self._faint(grown))
        field = field.subset(field.octree.morton_order())
        self._rounding = None  # the cells belong to other leaves
        logger.info(
            "%d leaves: %d empty ones dropped, %d of %d halved.",
            len(field),
            dropped,
            int(chosen.sum()),
            before,
        )
        self._take(field)

    def _faint(self, tree: Octree) -> TrivecField:
        config = self.config
        return fresh(
            tree,
            rank=config.rank,
            nodes=config.nodes,
            sh_degree=config.sh_degree,
            unit=self.field.unit,
            generator=self._random,
        )

    # ------------------------------------------------------------------- what a run asks for

    @property
    def num_primitives(self) -> int:
        """Number of leaves."""
        return len(self.field)

    def preview(self) -> dict[str, float]:
        """Mean PSNR over a few held-out views, on the background that `eval` takes."""
        return preview_scores(self.renderable(), self.capture, setting=self.config.background)

    def snapshot(self) -> TrivecField:
        """The current field without gradients; it changes as training goes on."""
        return replace(
            self.field, **{name: getattr(self.field, name).detach() for name in _PARAMETERS}
        )

    def renderable(self) -> FieldScene:
        """A copy of the current scene in the capture's frame."""
        copies = {name: getattr(self.field, name).detach().clone() for name in _PARAMETERS}
        return FieldScene(TrivecRenderer(replace(self.field, **copies)))

    def save_scene(self, path: Path) -> Path:
        """Write the field as an asset in the frame of the source."""
        path = path.with_suffix(".fwa")
        field, similarity = self.snapshot(), self.capture.T_source_capture
        size = self.config.target_size
        if size is None:
            return save_trivec(field, path, T_source_field=similarity, overwrite=True)
        random = torch.Generator().manual_seed(0)
        rays = RayBatches(self.capture, self.config.rays, seed=0)
        sensitivity = measure_sensitivity(
            field,
            lambda: rays.next().rays,
            step=1 / (self.config.nodes - 1),
            generator=random,
        )
        return save_coded(
            field,
            sensitivity,
            path,
            target_size=size,
            T_source_field=similarity,
            overwrite=True,
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything the continuation depends on."""
        tree = self.field.octree
        arrays = {name: getattr(self.field, name).detach() for name in _ARRAYS}
        moments = [self.optimizer.state.get(getattr(self.field, name)) for name in _PARAMETERS]
        return {
            "tree": {
                "low": tree.low,
                "side": tree.side,
                "levels": tree.levels,
                "cells": tree.cells,
            },
            "arrays": arrays,
            "moments": [None if not held else dict(held) for held in moments],
            "scores": self._scores,
            "next_mask": self._next_mask,
            "refined": self._refined,
            "rounding": None if self._rounding is None else dict(vars(self._rounding)),
            "batches": self._batches.state_dict(),
            "random": self._random.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        tree = Octree(**state["tree"])
        arrays = {name: state["arrays"][name].clone() for name in _ARRAYS}
        rounding = state["rounding"]
        self._rounding = None if rounding is None else Rounding(**rounding)
        self._take(replace(self.field, octree=tree, **arrays))
        for name, held in zip(_PARAMETERS, state["moments"], strict=True):
            if held is not None:
                moments = {key: value.clone() for key, value in held.items()}
                self.optimizer.state[getattr(self.field, name)] = moments
        self._scores = state["scores"].clone()
        self._next_mask, self._refined = state["next_mask"], state["refined"]
        self._batches.load_state_dict(state["batches"])
        self._random.set_state(state["random"])


def first_leaves(hull: Hull) -> Octree:
    """Leaves to begin with.

    With alpha, the cells of the hull. Without, the innermost cube (within the cameras' distance of
    the origin) in equal leaves and everything beyond in leaves that grow with their distance.
    """
    if hull.bounded:
        level = hull.resolution.bit_length() - 1
        levels = torch.full((len(hull.cells),), level)
        return Octree(hull.low, hull.side, levels, hull.cells)
    smallest = 2.0 / _NEAR_LEAVES
    cells = torch.cartesian_prod(*[torch.arange(2)] * 3)
    levels, found, level = [], [], 1
    while len(cells):
        side = hull.side / 2**level
        low = hull.low + cells * side
        # Distance of the nearest point of the node from the origin, by the largest coordinate.
        nearest = torch.maximum(low, -(low + side)).clamp(min=0).amax(1)
        split = side > torch.clamp(nearest / 2, min=smallest) * 1.001
        levels.append(torch.full((int((~split).sum()),), level))
        found.append(cells[~split])
        inner = cells[split].repeat_interleave(8, dim=0)
        octants = torch.cartesian_prod(*[torch.arange(2)] * 3).repeat(int(split.sum()), 1)
        cells, level = 2 * inner + octants, level + 1
    return Octree(hull.low, hull.side, torch.cat(levels), torch.cat(found))
