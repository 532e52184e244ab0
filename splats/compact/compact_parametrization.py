"""Gaussians that are rounded to the grids of their file while they are trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from captures import Similarity
from vq.quantizers.gradients import straight_through

from ..gaussians import Gaussians
from ..training.parameters import Parameters
from ..training.parametrization import Activation, Attributes, Pinhole
from .averaging import RunningAverage
from .grid import Grid
from .precision import Precision, dead_zone

REFRESH_EVERY = 25
"""Steps between roundings of the harmonics; in between their rounding errors stay what they are."""

_AVERAGE_EVERY, _AVERAGE_POWER = 5, 4.0
"""Steps between the scenes that are averaged, and what their weights grow with."""


class QuantizedActivation(Activation):
    """`Activation` until `begin`, then straight-through rounding of every attribute.

    What is rendered is on the grids; gradients pass to the parameters unchanged. Harmonics are
    rounded in the directions of their variance every `REFRESH_EVERY` steps, and those that the
    photos do not ask for shrink towards zero, where they cost no bits (a proximal step on the sum
    of their magnitudes, which the code length of small integers follows).

    The scene so far is, from `begin` on, the average of late steps, rounded.
    """

    def __init__(self, sh_degree: int, *, to_file: Similarity, shrink: float) -> None:
        super().__init__(sh_degree)
        self._to_file, self._shrink = to_file, shrink
        self._grid: Grid | None = None
        self.calibration = 1.0
        """Bytes that the file coder spends per byte of entropy."""
        self.estimated_bytes: float | None = None
        """Of the file, as of the last refresh."""
        self._sh_error: Tensor | None = None
        self._average = RunningAverage(_AVERAGE_POWER)

    def begin(self, params: Parameters, optimizer: Optimizer, precision: Precision) -> None:
        """Round from now on; ellipsoids take the names that the file gives their axes."""
        first = self._grid is None
        self._grid = Grid(precision, self._to_file)
        if first:
            with torch.no_grad():
                canonical = self._grid.canonical(params.detached())
                params["quats"].copy_(canonical.quats)
                params["log_scales"].copy_(canonical.log_scales)
            for name in ("quats", "log_scales"):
                params.reset_moments(name, optimizer)
        self._refresh(params, shrink=0.0)

    @property
    def precision(self) -> Precision | None:
        """The steps; None until `begin`."""
        return None if self._grid is None else self._grid.precision

    def attributes(self, params: Parameters, *, view: Pinhole, progress: float) -> Attributes:
        """See `Parametrization`."""
        plain = super().attributes(params, view=view, progress=progress)
        if self._grid is None:
            return plain
        rounded = self._grid.rounded(params.detached())
        sh_rest = plain.sh_rest
        if self._sh_error is not None:
            sh_rest = params["shN"] + self._sh_error
        return replace(
            plain,
            means=straight_through(params["means"], rounded.means),
            quats=straight_through(params["quats"], rounded.quats),
            scales=straight_through(params["log_scales"], rounded.log_scales).exp(),
            opacities=straight_through(
                params["logit_opacities"], rounded.logit_opacities
            ).sigmoid(),
            colors=straight_through(params["sh0"], rounded.sh0),
            sh_rest=sh_rest,
        )

    def step(self, params: Parameters, optimizer: Optimizer, *, step: int, progress: float) -> None:
        """Refresh the rounding of the harmonics and the average when they are due."""
        if self._grid is None:
            return
        if (step + 1) % REFRESH_EVERY == 0:
            self._refresh(params, shrink=self._shrink)
        if (step + 1) % _AVERAGE_EVERY == 0:
            self._average.update(vars(params.detached()))

    @torch.no_grad()
    def _refresh(self, params: Parameters, *, shrink: float) -> None:
        assert self._grid is not None
        now, shN = params.detached(), params["shN"]
        bits = self._grid.bits(now)
        if shN.numel():
            grid = self._grid.harmonics(now)
            found = grid.coefficients(shN)
            if shrink:
                found = torch.nn.functional.softshrink(found, shrink)
                shN.copy_(grid.rows(found, shN))
            self._sh_error = grid.rows(dead_zone(found), shN) - shN
            bits += grid.bits(found)
        self.estimated_bytes = self.calibration * bits / 8

    def calibrate(self, num_bytes: int) -> None:
        """Make `estimated_bytes` what the coder spent on the scene as it is now."""
        assert self.estimated_bytes is not None
        self.calibration *= num_bytes / self.estimated_bytes
        self.estimated_bytes = float(num_bytes)

    @torch.no_grad()
    def gaussians(self, params: Parameters) -> Gaussians:
        """The scene so far, on the grids once there are some."""
        found = self.unrounded_harmonics(params)
        if self._grid is None or not found.shN.numel():
            return found
        grid = self._grid.harmonics(found)
        return replace(found, shN=grid.rows(dead_zone(grid.coefficients(found.shN)), found.shN))

    def unrounded_harmonics(self, params: Parameters) -> Gaussians:
        """`gaussians` but for the harmonics, which the file coder rounds in its own way."""
        if self._grid is None:
            return params.detached()
        average = self._average.values
        return self._grid.rounded(Gaussians(**average) if average else params.detached())

    def state_dict(self) -> dict[str, Any]:
        """Everything the continuation depends on besides the parameters."""
        return {
            "precision": self.precision and self.precision.state_dict(),
            "calibration": self.calibration,
            "estimated_bytes": self.estimated_bytes,
            "sh_error": self._sh_error,
            "average": self._average.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        stored = state["precision"]
        self._grid = None
        if stored is not None:
            self._grid = Grid(Precision.from_state_dict(stored), self._to_file)
        self.calibration = state["calibration"]
        self.estimated_bytes = state["estimated_bytes"]
        self._sh_error = state["sh_error"]
        self._average.load_state_dict(state["average"])
