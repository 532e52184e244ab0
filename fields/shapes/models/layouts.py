"""How each family spends its floats: the shapes of the latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .config import ModelConfig

Kind = Literal["set", "planes", "grid"]


@dataclass(frozen=True)
class Part:
    """One tensor of a latent, [tokens, channels]."""

    name: str
    """Its name in files."""
    kind: Kind
    """"set": tokens without places. "planes": 3 R^2 tokens, plane xy, xz, yz, row by row (the later
    axis runs fastest). "grid": R^3 tokens, z fastest."""
    size: int
    """Tokens of a set; R of planes and grids."""
    channels: int
    """Numbers per token."""

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return {"set": self.size, "planes": 3 * self.size**2, "grid": self.size**3}[self.kind]

    @property
    def floats(self) -> int:
        """Numbers in all."""
        return self.tokens * self.channels


@dataclass(frozen=True)
class Layout:
    """The tensors of one latent."""

    parts: tuple[Part, ...]
    """Fine to coarse."""

    @property
    def floats(self) -> int:
        """Numbers in all."""
        return sum(part.floats for part in self.parts)


def _set(*sizes: tuple[int, int]) -> Layout:
    return Layout(tuple(Part(f"z{i + 1}", "set", m, c) for i, (m, c) in enumerate(sizes)))


def _planes(size: int, channels: int) -> Part:
    return Part("planes", "planes", size, channels)


def _grid(size: int, channels: int) -> Part:
    return Part("grid", "grid", size, channels)


_LAYOUTS = {
    ("vecset", 1024): _set((64, 16)),
    ("vecset", 4096): _set((256, 16)),
    ("vecset", 16384): _set((1024, 16)),
    ("hierarchy", 1024): _set((32, 16), (16, 16), (8, 32)),
    ("hierarchy", 4096): _set((128, 16), (64, 16), (32, 32)),
    ("hierarchy", 16384): _set((512, 16), (256, 16), (128, 32)),
    ("triplane", 1024): Layout((_planes(8, 5),)),
    ("triplane", 4096): Layout((_planes(16, 5),)),
    ("triplane", 16384): Layout((_planes(32, 5),)),
    ("grid", 1024): Layout((_grid(4, 16),)),
    ("grid", 4096): Layout((_grid(8, 8),)),
    ("grid", 16384): Layout((_grid(16, 4),)),
    ("hybrid", 1024): Layout((_planes(8, 4), _grid(4, 4))),
    ("hybrid", 4096): Layout((_planes(16, 4), _grid(8, 2))),
    ("hybrid", 16384): Layout((_planes(32, 5), _grid(8, 2))),
}


def layout_of(config: ModelConfig) -> Layout:
    """The layout of a configuration.

    Raises:
        ValueError: There is none of so many floats.
    """
    try:
        return _LAYOUTS[config.family, config.floats]
    except KeyError:
        budgets = sorted({floats for _, floats in _LAYOUTS})
        raise ValueError(
            f"`floats` must be one of {budgets} and `family` a known one, got {config.floats} and "
            f"{config.family!r}."
        ) from None
