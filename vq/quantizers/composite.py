"""Quantizers made of quantizers: where their statistics live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Int
from torch import Tensor, nn

from .base import RowQuantizer


class CompositeQuantizer(RowQuantizer):
    """A quantizer whose index columns are its parts' columns in some order.

    The parts keep the statistics; `counts` here repeats them in the order of the columns.
    """

    prefix_decodable = True

    def __init__(
        self,
        dim: int,
        parts: Sequence[RowQuantizer],
        columns: Sequence[tuple[int, int]],
        *,
        seed: int = 0,
    ) -> None:
        """Compose `parts`; `columns` names the part, and its column, behind each column."""
        super().__init__(
            dim, tuple(parts[part].num_codes[column] for part, column in columns), seed=seed
        )
        self.columns = tuple(columns)
        self.parts = nn.ModuleList(parts)

    def each_part(self) -> list[RowQuantizer]:
        """The parts, in order."""
        return cast(list[RowQuantizer], list(self.parts))

    def count(self, indices: Int[Tensor, "*batch stages"]) -> None:
        """Move the statistics of each part towards its columns of `indices`."""
        rows = indices.reshape(-1, len(self.columns))
        for part, quantizer in enumerate(self.each_part()):
            quantizer.count(rows[:, self._columns_of(part)])
        self._gather_counts()

    def _columns_of(self, part: int) -> list[int]:
        """Which columns belong to `part`, in the part's own order."""
        return [place for place, (owner, _) in enumerate(self.columns) if owner == part]

    @torch.no_grad()
    def _gather_counts(self) -> None:
        """Repeat the parts' statistics in `counts`."""
        tables = [part.counts.split(part.num_codes) for part in self.each_part()]
        self.counts.copy_(torch.cat([tables[part][column] for part, column in self.columns]))

    def _recount(self, x: Tensor) -> None:
        self._gather_counts()
