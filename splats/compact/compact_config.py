"""Settings of `fieldwright train compact`."""

from __future__ import annotations

from dataclasses import dataclass

from .high_rates import HighRatesConfig


@dataclass(frozen=True)
class CompactConfig(HighRatesConfig):
    """Those of `splats`, and how the scene becomes small; times are shares of the budget."""

    gaussians_per_pixel: float = 0.4
    """See `SplatsConfig`; more than there, as those that paint least are left out later."""
    coarse_until: float = 0.35
    """See `SplatsConfig`; longer than there, as coarse steps take half the time."""
    target_size: int | None = None
    """Most bytes of the scene file; at least 98 % of them are used. None: as `quality` asks."""
    quality: float | None = None
    """Decibels that rounding costs when it begins, of which training makes up for most; None takes
    0.3, or what `target_size` allows."""
    grow_until: float = 0.6
    """When the set of Gaussians stops changing but for what is left out."""
    prune_at: float = 0.6
    """When Gaussians that pictures miss least are left out."""
    idle_share: float | None = None
    """As many Gaussians are left out as hold this share of all blending weight, so that their bits
    make the others finer. None takes 2/3 of `quality` squared, or leaves as many as `target_size`
    has room for; 0.003 to 0.12 in either case."""
    quantize_from: float = 0.85
    """When all attributes are rounded to the grids of the file; the rest of the training adapts to
    them."""
    shrink: float = 0.008
    """How strongly harmonics that the photos do not ask for are drawn to zero, in steps per 25
    training steps: the slope of their bits."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target_size is not None and self.quality is not None:
            raise ValueError("give `target_size` or `quality`, not both.")
        if self.target_size is not None and self.target_size < 2000:
            raise ValueError(f"`target_size` must be at least 2000 bytes, got {self.target_size}.")
        if self.quality is not None and not 0 < self.quality < 20:
            raise ValueError(f"`quality` must be decibels in (0, 20), got {self.quality}.")
        if not 0 <= self.grow_until <= self.prune_at <= self.quantize_from < 1:
            raise ValueError(
                "`grow_until`, `prune_at` and `quantize_from` must ascend within [0, 1), got "
                f"{self.grow_until}, {self.prune_at} and {self.quantize_from}."
            )
        if self.idle_share is not None and not 0 <= self.idle_share < 0.5:
            raise ValueError(f"`idle_share` must be in [0, 0.5), got {self.idle_share}.")
