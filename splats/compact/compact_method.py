"""`fieldwright train compact`: few Gaussians, trained on the grids of the file they end up in."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captures import Capture

from ..gaussians import Gaussians
from ..scene import SplatScene
from ..training.method import SplatsMethod, most_gaussians
from ..training.parameters import Parameters
from ..training.parametrization import Parametrization
from ..training.strategies import McmcStrategy
from .compact_config import CompactConfig
from .compact_parametrization import QuantizedActivation
from .compress import Compressor, Goal
from .contribution import blending_weights, contributing, halved, removal_errors
from .judge import Judge, error_of_loss, photo_error
from .precision import Precision

_JUDGED_VIEWS, _COMPARED_VIEWS = 2, 8
"""Views by which rounding is judged, and by which the distance from photos."""
_WEIGHED_VIEWS, _ORDERED_VIEWS = 200, 16
"""Views by which Gaussians are left out, and by which those of a file's first layer are chosen."""
_DEFAULT_QUALITY = 0.3
_LEAST_IDLE, _MOST_IDLE = 0.003, 0.12
"""Shares of the blending weight that are left out: below, Gaussians hardly paint at all; above,
those that stay cannot make up for the others."""
_IDLE_PER_SQUARE = 2 / 3
"""What is left out, by the square of the decibels that rounding may cost: so much of each is in
balance."""
_LOSSES, _HALVINGS = (1e-3, 30.0), 20
"""Decibels among which that balance is looked for, and how often their range is halved."""
_GROWN_PER_BYTE = 0.4
"""Gaussians that grow for a target size: about three for each that it has room for."""
_LATER_SAVING = 0.97
"""Size at the end over size when rounding begins, roughly: what training makes cheaper."""
_RATES_ON_GRIDS = 2.0, 0.6
"""Learning rates when rounding begins and at the end, over those before: the average of the last
steps settles what they stir up."""

logger = logging.getLogger(__name__)


class CompactMethod(SplatsMethod):
    """`SplatsMethod` whose scene is pruned and rounded while it is trained.

    Gaussians grow as in MCMC until `grow_until`; those that pictures miss least go at `prune_at`;
    from `quantize_from` on everything that is rendered lies on the grids of the file,
    whose steps come from the measured trade-off of error and bits. The file is an ordinary asset of
    Gaussians with spherical harmonics.
    """

    Config = CompactConfig
    config: CompactConfig
    parametrization: QuantizedActivation

    @classmethod
    def create(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, config: CompactConfig, capture: Capture, *, device: torch.device, seed: int
    ) -> CompactMethod:
        """See `SplatsMethod.create`; size or quality decide how many Gaussians stay."""
        config = _for_size(config, capture) if config.target_size else _for_quality(config)
        method = super().create(config, capture, device=device, seed=seed)
        assert isinstance(method, CompactMethod)
        return method

    def __init__(
        self, config: CompactConfig, capture: Capture, *, device: torch.device, seed: int
    ) -> None:
        super().__init__(config, capture, device=device, seed=seed)
        self._pruned = self._adjusted = False
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        if isinstance(self.strategy, McmcStrategy):
            full_at = min(self.strategy.config.full_at, 0.8 * config.grow_until)
            stop = replace(self.strategy.config, refine_stop=config.grow_until, full_at=full_at)
            self.strategy = McmcStrategy(stop, seed=seed)
            self.strategy.initialize_state(len(self.params))

    def _parametrization(self) -> Parametrization:
        return QuantizedActivation(
            self.config.sh_degree,
            to_file=self.capture.T_source_capture,
            shrink=self.config.shrink,
        )

    def start_from(self, gaussians: Gaussians) -> None:
        """Train these, in the frame of the capture, instead of those of the initialization."""
        self._measure(gaussians)
        self.params = Parameters(gaussians)
        self.optimizer = self._optimizer()

    # ------------------------------------------------------------------------------ training

    def step(self, step: int, progress: float) -> dict[str, float | Tensor]:
        """One step, before which the set is pruned or rounding begins when it is time."""
        if not self._pruned and progress >= self.config.prune_at:
            self._prune()
        if progress >= self.config.quantize_from:
            if isinstance(self.strategy, McmcStrategy):
                # Noise is for exploring; what is rounded shall settle.
                self.strategy.config = replace(self.strategy.config, noise=0.0)
            if self.parametrization.precision is None:
                self._begin_rounding()
            elif not self._adjusted and self._settled(progress) >= 0.5:
                self._adjust()
        values = super().step(step, progress)
        if self.parametrization.estimated_bytes is not None:
            values["estimated_bytes"] = self.parametrization.estimated_bytes
        return values

    def _prune(self) -> None:
        self._pruned = True
        # Whatever no view shows goes for good, so all are asked; at half size, which suffices.
        cameras = halved(self.capture.cameras[_spread(self.capture.train, _WEIGHED_VIEWS)])
        gaussians = self.gaussians()
        weights = blending_weights(gaussians, cameras)
        count = self._kept_count(weights)
        # What covers much, and is not replaced by what is behind it.
        worth = weights * removal_errors(gaussians, cameras).sqrt()
        kept = worth.argsort(descending=True, stable=True)[:count].sort().values
        logger.info("Leaving out %d of %d Gaussians.", len(weights) - count, len(weights))
        self.params.keep(kept.to(self.device), self.optimizer)

    def _kept_count(self, weights: Tensor) -> int:
        """As `idle_share` says, or as many as the target size pays for: leaving out and rounding
        cost as much beside each other as they do for a quality."""
        target = self.config.target_size
        if self.config.idle_share is not None:
            return len(contributing(weights, idle_share=self.config.idle_share))
        assert target is not None
        # Ungraded is measured in half the time, and only bits are asked for.
        compressor = self._compressor(self.params.detached(), graded=False)
        error, tradeoff = compressor.photo_error, compressor.tradeoff

        def count(loss: float) -> int:
            return len(contributing(weights, idle_share=_idle_share(loss)))

        def size(loss: float) -> float:
            bits = tradeoff.bits_at_error(error_of_loss(loss, error=error))
            return count(loss) * bits / len(weights) / 8

        low, high = _LOSSES
        for _ in range(_HALVINGS):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if size(middle) > target / _LATER_SAVING else (low, middle)
        return count(high)

    def _begin_rounding(self) -> None:
        compressor = self._compressor(self.params.detached())
        goal = Goal()
        if self.config.target_size is not None:
            target = round(self.config.target_size / _LATER_SAVING)
            data, allocation = compressor.fit_bytes(replace(goal, target_bytes=target))
        else:
            assert self.config.quality is not None
            allocation = compressor.allocation_for_loss(self.config.quality)
            data = compressor.data(allocation, goal)
        self.params.keep(allocation.kept.to(self.device), self.optimizer)
        self.parametrization.begin(self.params, self.optimizer, allocation.precision)
        self.parametrization.calibrate(len(data))
        logger.info("Rounding begins at %d bytes: %s", len(data), allocation.precision)

    def _settled(self, progress: float) -> float:
        """Share of the time on the grids that is over, in [0, 1)."""
        begin = self.config.quantize_from
        return max(0.0, (progress - begin) / (1 - begin))

    def _set_learning_rates(self, progress: float) -> float:
        rate = super()._set_learning_rates(progress)
        if self.parametrization.precision is None:
            return rate
        begin, end = _RATES_ON_GRIDS
        factor = begin * (end / begin) ** self._settled(progress)
        for group, first in zip(self.optimizer.param_groups[1:], self._rates[1:], strict=True):
            group["lr"] = first * factor
        return rate

    def _adjust(self) -> None:
        """Half-way: grids on which the file has its target size, so that none change at the end."""
        self._adjusted = True
        precision, target = self.parametrization.precision, self.config.target_size
        if precision is None or target is None:
            return
        gaussians = self.parametrization.unrounded_harmonics(self.params)
        data, allocation = self._compressor(gaussians, precision).fit_bytes(
            Goal(target_bytes=target)
        )
        self.parametrization.begin(self.params, self.optimizer, allocation.precision)
        self.parametrization.calibrate(len(data))

    def _compressor(
        self,
        gaussians: Gaussians,
        precision: Precision | None = None,
        *,
        keeps_grids: bool = False,
        graded: bool = True,
    ) -> Compressor:
        """Judges by photos' cameras; files come out in the frame of the source."""
        gaussians = Gaussians(*(x.cpu().clone() for x in vars(gaussians).values()))
        scene = SplatScene(gaussians, self.config.antialiased)
        judged, compared, weighed = (
            _spread(self.capture.train, count)
            for count in (_JUDGED_VIEWS, _COMPARED_VIEWS, _ORDERED_VIEWS)
        )
        cameras = self.capture.cameras
        judge = Judge(scene, cameras[judged], weighed=cameras[weighed])
        return Compressor(
            judge,
            self.config.antialiased,
            photo_error=photo_error(scene, self.capture, compared, cameras),
            to_file=self.capture.T_source_capture,
            fixed=precision,
            keeps_grids=keeps_grids,
            removes=False,  # but at `prune_at`
            graded=graded,
        )

    # ------------------------------------------------------------------- what a run asks for

    def save_scene(self, path: Path) -> Path:
        """Write the asset, of at most `target_size` bytes, in the frame of the source."""
        precision = self.parametrization.precision
        if precision is None:
            return super().save_scene(path)
        path = path.with_suffix(".fwa")
        gaussians = self.parametrization.unrounded_harmonics(self.params)
        compressor = self._compressor(gaussians, precision, keeps_grids=True)
        written = compressor.write(path, Goal(target_bytes=self.config.target_size))
        estimate = self.parametrization.estimated_bytes or math.nan
        logger.info(
            "%s: %d bytes, %.1f bits per Gaussian; the rate term said %.0f bytes (%+.1f %%).",
            path,
            written.num_bytes,
            8 * written.num_bytes / max(1, written.num_primitives),
            estimate,
            100 * (estimate / written.num_bytes - 1),
        )
        return path

    def state_dict(self) -> dict[str, Any]:
        """Everything the continuation depends on."""
        return super().state_dict() | {"pruned": self._pruned, "adjusted": self._adjusted}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        super().load_state_dict(state)
        self._pruned, self._adjusted = state["pruned"], state["adjusted"]


def _for_size(config: CompactConfig, capture: Capture) -> CompactConfig:
    """With a few times as many Gaussians as its target size pays for."""
    assert config.target_size is not None
    if config.max_gaussians is not None:
        return config
    grown = round(_GROWN_PER_BYTE * config.target_size)
    return replace(config, max_gaussians=max(1000, min(most_gaussians(config, capture), grown)))


def _for_quality(config: CompactConfig) -> CompactConfig:
    """With what it leaves open filled in."""
    quality = config.quality or _DEFAULT_QUALITY
    idle = _idle_share(quality) if config.idle_share is None else config.idle_share
    return replace(config, quality=quality, idle_share=idle)


def _idle_share(loss: float) -> float:
    """Of the blending weight, that goes where rounding costs so many decibels."""
    return min(max(_IDLE_PER_SQUARE * loss**2, _LEAST_IDLE), _MOST_IDLE)


def _spread(indices: tuple[int, ...], count: int) -> list[int]:
    """At most `count` of `indices`, evenly spread."""
    stride = max(1, -(-len(indices) // count))
    return list(indices[::stride])
