"""Stages that each quantize what the stages before them left over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..contract import Quantized
from ..nearest import CHUNK_VALUES
from .base import RowQuantizer
from .composite import CompositeQuantizer
from .gradients import straight_through


class ResidualQuantizer(CompositeQuantizer):
    """r_0 = x, q_i = Q_i(r_i), r_(i+1) = r_i - q_i, and the value is the sum of the q_i.

    Any number of leading index columns decodes to a coarser vector. Stage dropout trains for that:
    part of the batch keeps a random number of leading stages (Zeghidour et al., "SoundStream",
    section III-C; DAC drops for half of the batch). Every stage still learns from every vector.
    """

    def __init__(
        self,
        stages: Sequence[RowQuantizer],
        *,
        dropout: float = 0.0,
        beam: int = 1,
        seed: int = 0,
    ) -> None:
        """Compose `stages`, all of one `dim`.

        Args:
            stages: First to last.
            dropout: Share of each training batch that keeps n stages, n uniform in 1..stages.
            beam: Partial sums that `encode` follows; 1 is greedy. More needs stages with a
                `codebook` and one column, lowers the error of all stages together, and may raise
                that of a prefix. Training is always greedy.
            seed: Of the dropout.
        """
        if not stages or len({stage.dim for stage in stages}) > 1:
            raise ValueError(
                "`stages` must hold quantizers of one `dim`, "
                f"got {[stage.dim for stage in stages]}."
            )
        if not 0 <= dropout <= 1:
            raise ValueError(f"`dropout` must be in [0, 1], got {dropout}.")
        if beam < 1 or (beam > 1 and not all(_searchable(stage) for stage in stages)):
            raise ValueError(
                f"`beam` must be 1 where a stage has no `codebook` or several columns, got {beam}."
            )
        columns = [
            (place, column)
            for place, stage in enumerate(stages)
            for column in range(len(stage.num_codes))
        ]
        super().__init__(stages[0].dim, stages, columns, seed=seed)
        self.dropout, self.beam = dropout, beam

    def _quantize(self, x: Tensor) -> Quantized:
        if not self.training and self.beam > 1:
            indices = self._encode(x)
            stages = zip(self.each_part(), indices.split(1, dim=1), strict=True)
            bits = torch.stack([stage._counted_bits(column) for stage, column in stages]).sum()
            values = straight_through(x, self._decode(indices))
            return Quantized(values, indices, loss=x.new_zeros(()), bits=bits)
        kept = self._stages_kept(x)
        residual, total, made = x, torch.zeros_like(x), []
        for place, stage in enumerate(self.each_part()):
            part = stage(residual)
            residual = residual - part.values
            total = total + torch.where(kept > place, part.values, 0.0)
            made.append(part)
        self._gather_counts()
        return Quantized(
            values=total,
            indices=torch.cat([part.indices for part in made], dim=1),
            loss=torch.stack([part.loss for part in made]).sum(),
            bits=torch.stack([part.bits for part in made]).sum(),
        )

    def _stages_kept(self, x: Tensor) -> Int[Tensor, "n 1"]:
        """How many leading stages each row keeps."""
        count = len(self.parts)
        if not self.training or self.dropout == 0:
            return torch.full((len(x), 1), count, device=x.device)
        generator = self._generator(torch.device("cpu"))
        drawn = torch.randint(1, count + 1, (len(x), 1), generator=generator)
        dropped = torch.rand(len(x), 1, generator=generator) < self.dropout
        return torch.where(dropped, drawn, count).to(x.device)

    def _encode(self, x: Tensor) -> Tensor:
        if self.beam > 1:
            return self._search(x)
        columns, residual = [], x
        for stage in self.each_part():
            indices = stage.encode(residual)
            residual = residual - stage.decode(indices)
            columns.append(indices)
        return torch.cat(columns, dim=1)

    def _search(self, x: Tensor) -> Int[Tensor, "n stages"]:
        """The best of `beam` partial sums per vector, in chunks of bounded memory."""
        codebooks = [cast(Tensor, stage.codebook).detach() for stage in self.each_part()]
        rows = max(1, CHUNK_VALUES // (self.beam * max(self.num_codes)))
        chunks = [_search_rows(chunk, codebooks, self.beam) for chunk in x.split(rows)]
        return torch.cat(chunks)

    def _decode(self, indices: Tensor) -> Tensor:
        total = torch.zeros(len(indices), self.dim, device=indices.device)
        for place, stage in enumerate(self.each_part()):
            held = [column for column in self._columns_of(place) if column < indices.shape[1]]
            if held:
                total = total + stage.decode(indices[:, held])
        return total

    def _fit(self, x: Tensor, weights: Tensor) -> None:
        residual = x
        for stage in self.each_part():
            stage.fit(residual, weights=weights)
            residual = residual - stage.decode(stage.encode(residual))

    def _recount(self, x: Tensor) -> None:
        if self.beam > 1:
            # The stages counted their greedy choices; the search makes others.
            for stage in self.each_part():
                stage.counts.zero_()
            self.count(self._encode(x))
        super()._recount(x)


def _searchable(stage: RowQuantizer) -> bool:
    return len(stage.num_codes) == 1 and hasattr(stage, "codebook")


def _search_rows(
    x: Float[Tensor, "n dim"], codebooks: Sequence[Tensor], beam: int
) -> Int[Tensor, "n stages"]:
    """Beam search over the sums of one code per codebook."""
    residuals = x[:, None]
    paths = torch.zeros(len(x), 1, 0, dtype=torch.int64, device=x.device)
    for codebook in codebooks:
        size = len(codebook)
        costs = residuals.square().sum(-1, keepdim=True) + codebook.square().sum(1)
        costs = costs - 2 * residuals @ codebook.T
        best = costs.flatten(1).topk(min(beam, residuals.shape[1] * size), largest=False).indices
        parent, code = best // size, best % size
        residuals = residuals.gather(1, parent[..., None].expand(-1, -1, x.shape[1]))
        residuals = residuals - codebook[code]
        paths = paths.gather(1, parent[..., None].expand(-1, -1, paths.shape[2]))
        paths = torch.cat([paths, code[..., None]], dim=2)
    return paths[:, 0]
