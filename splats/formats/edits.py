"""Changes to a scene on its way from one file to another, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..gaussians import Gaussians
from ..sh import num_sh_bases
from .contract import ROWS_PER_CHUNK, Source
from .importance import visible_importance
from .placement import check_placement, placed


def _eye() -> Tensor:
    return torch.eye(4, dtype=torch.float64)


@dataclass(frozen=True)
class Edits:
    """What to keep and how to move it; the defaults change nothing."""

    sh_degree: int | None = None
    """Highest degree of the spherical harmonics that is kept; None keeps all."""
    crop: Float[Tensor, "2 3"] | None = None
    """Corners (min, max) of the box whose Gaussians are kept, by their means, in the axes and
    units of the source."""
    min_opacity: float = 0.0
    """Gaussians below it are dropped, 0 to 1."""
    max_gaussians: int | None = None
    """The most that are kept: those with the largest opacity times area."""
    placement: Float[Tensor, "4 4"] = field(default_factory=_eye)
    """T_target_source, applied to what is kept, in the axes of the source; float64."""

    @property
    def selects(self) -> bool:
        """True where some Gaussians may be dropped."""
        return self.crop is not None or self.min_opacity > 0 or self.max_gaussians is not None


class Edited:
    """A source after `Edits`; which rows are kept takes one byte per Gaussian."""

    def __init__(self, source: Source, edits: Edits) -> None:
        """
        Args:
            source: Gone through once here where `edits` drop some of it.
            edits: What to do.

        Raises:
            ValueError: A value of `edits` is out of range.
        """
        _check(edits)
        self.source, self.edits = source, edits
        self.frame, self.antialiased, self.model = source.frame, source.antialiased, source.model
        self.sh_degree = source.sh_degree
        if edits.sh_degree is not None:
            self.sh_degree = min(edits.sh_degree, source.sh_degree)
        self._kept = _choose(source, edits) if edits.selects else None
        self.num_primitives = source.num_primitives
        if self._kept is not None:
            self.num_primitives = int(self._kept.sum())

    def chunks(self, rows: int = ROWS_PER_CHUNK) -> Iterator[Gaussians]:
        """What is kept, moved; chunks may be shorter than `rows`."""
        start, rest = 0, num_sh_bases(self.sh_degree) - 1
        for chunk in self.source.chunks(rows):
            stop = start + len(chunk)
            part = chunk if self._kept is None else chunk[self._kept[start:stop]]
            start = stop
            if len(part) == 0:
                continue
            if part.shN.shape[1] > rest:
                part = replace(part, shN=part.shN[:, :rest].contiguous())
            yield placed(part, self.edits.placement)


def edited(source: Source, edits: Edits) -> Source:
    """`source` after `edits`; itself where they change nothing."""
    _check(edits)
    drops = edits.sh_degree is not None and edits.sh_degree < source.sh_degree
    moves = not torch.equal(edits.placement, _eye())
    return Edited(source, edits) if edits.selects or drops or moves else source


def _check(edits: Edits) -> None:
    if edits.sh_degree is not None and not 0 <= edits.sh_degree <= 4:
        raise ValueError(f"`sh_degree` must be 0 to 4, got {edits.sh_degree}.")
    if not 0 <= edits.min_opacity <= 1:
        raise ValueError(f"`min_opacity` must be 0 to 1, got {edits.min_opacity}.")
    if edits.max_gaussians is not None and edits.max_gaussians < 1:
        raise ValueError(f"`max_gaussians` must be 1 or more, got {edits.max_gaussians}.")
    if edits.crop is not None and not bool((edits.crop[0] < edits.crop[1]).all()):
        raise ValueError(
            "`crop` must be the corners (min, max) of a box, each min below its max, got "
            f"{edits.crop.flatten().tolist()}."
        )
    try:
        check_placement(edits.placement)
    except ValueError as error:
        raise ValueError(f"`transform`: {error}") from None


def _choose(source: Source, edits: Edits) -> Bool[Tensor, "N"]:
    """Which rows are kept."""
    kept = torch.zeros(source.num_primitives, dtype=torch.bool)
    weights = torch.zeros(source.num_primitives if edits.max_gaussians is not None else 0)
    start = 0
    for chunk in source.chunks():
        stop = start + len(chunk)
        part = chunk.logit_opacities.sigmoid() >= edits.min_opacity
        if edits.crop is not None:
            low, high = edits.crop.to(chunk.means)
            part &= ((chunk.means >= low) & (chunk.means <= high)).all(dim=1)
        kept[start:stop] = part
        if len(weights):
            weights[start:stop] = torch.where(part, visible_importance(chunk), -1).float()
        start = stop
    if edits.max_gaussians is not None and int(kept.sum()) > edits.max_gaussians:
        # A stable order, so that equal weights are cut at the same place in every run.
        best = weights.argsort(descending=True, stable=True)[: edits.max_gaussians]
        kept = torch.zeros_like(kept).index_fill_(0, best, True)
    return kept
