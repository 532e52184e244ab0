"""Different quantizers for different parts of a vector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..contract import Quantized
from .base import RowQuantizer
from .composite import CompositeQuantizer


class GroupedQuantizer(CompositeQuantizer):
    """Consecutive channels go to one quantizer each (product structure).

    The index columns are ordered by stage, then by group: leading columns hold the first stages of
    every group, so that groups of residual stages make one prefix-decodable whole (grouped residual
    quantization). A group without any column decodes to 0.
    """

    def __init__(self, groups: Sequence[RowQuantizer]) -> None:
        """Quantize `groups[0].dim` channels with `groups[0]`, the next with `groups[1]`, ..."""
        if not groups:
            raise ValueError("`groups` must hold at least one quantizer, got none.")
        columns = sorted(
            (column, group)
            for group, quantizer in enumerate(groups)
            for column in range(len(quantizer.num_codes))
        )
        super().__init__(
            sum(group.dim for group in groups), groups, [(group, stage) for stage, group in columns]
        )

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        """The channels of each group."""
        return x.split([group.dim for group in self.each_part()], dim=1)

    def _in_order(self, indices: list[Tensor]) -> Tensor:
        """The groups' columns in this quantizer's order."""
        return torch.stack([indices[group][:, column] for group, column in self.columns], dim=1)

    def _quantize(self, x: Tensor) -> Quantized:
        pairs = zip(self.each_part(), self._split(x), strict=True)
        made = [group(channels) for group, channels in pairs]
        self._gather_counts()
        return Quantized(
            values=torch.cat([part.values for part in made], dim=1),
            indices=self._in_order([part.indices for part in made]),
            loss=torch.stack([part.loss for part in made]).sum(),
            bits=torch.stack([part.bits for part in made]).sum(),
        )

    def _encode(self, x: Tensor) -> Tensor:
        pairs = zip(self.each_part(), self._split(x), strict=True)
        return self._in_order([group.encode(channels) for group, channels in pairs])

    def _decode(self, indices: Tensor) -> Tensor:
        values = []
        for place, group in enumerate(self.each_part()):
            held = [column for column in self._columns_of(place) if column < indices.shape[1]]
            values.append(
                group.decode(indices[:, held])
                if held
                else torch.zeros(len(indices), group.dim, device=indices.device)
            )
        return torch.cat(values, dim=1)

    def _fit(self, x: Tensor, weights: Tensor) -> None:
        for group, channels in zip(self.each_part(), self._split(x), strict=True):
            group.fit(channels, weights=weights)
