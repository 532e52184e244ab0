"""A finished scene as a small asset: the fewest bytes for an error, or the least error for bytes.

Nothing is trained and no photo is needed: errors are measured on renders from automatically placed
cameras, or from those of a capture.
"""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from captures import Similarity
from runs.files import replacing

from ..formats.contract import HOUSE_FRAME
from ..formats.fwa import FwaFormat, program
from ..formats.fwa_encoding import Layer, SceneFacts, encode_quantized
from ..formats.sources import collect
from ..gaussians import Gaussians
from .judge import Judge, best_growth, error_of_loss
from .precision import Precision, rounded, with_rows
from .tradeoff import Allocation, Tradeoff

PHOTO_ERROR = 1e-3
"""Mean squared error that a scene is taken to have against its photos where there are none: 30 dB.
"""
DEFAULT_LOSS = 0.1
"""Decibels, where neither size nor quality is given."""
WITHIN = 0.02
"""Share of a target size that may be left unused."""
COARSE_BYTES = 0.075
"""Share of the file that the first layer aims at; with the header it is below a tenth."""
MOST_LAYERS = 8
"""More would say less of the scene each than a reader spends on them."""
GROWTHS = (1.0, 1.25, 1.6, 2.0, 2.5, 3.2)
CONTEXTS_UNTIL = 250_000
"""Gaussians up to which contexts are worth their time unless the caller says otherwise."""
_ROUNDS, _TRIALS = 10, 6
_STEEPNESS = 3.0
"""Power of the sizes that prices change with, where nothing is known yet."""
_BEYOND = 1.1
"""Factor on the last price where sizes that hardly change point nowhere."""
_SAMPLE = 50_000
_NEAR, _NEAR_LARGE = 0.97, 0.8
"""Share of an allowed error with which a search is content; of large scenes a sample is seen only.
"""
_SCALE_SHARES = (1.0, 1.03, 0.97)
"""Of the scales' step: where scales cross the limits of their grades, many change their steps at
once, and the error jumps over what is allowed; with another share it does so elsewhere."""
_CODED_HARMONICS = 0.7  # of their entropy, thanks to contexts
_COARSER_HARMONICS, _FINER_HARMONICS = 1.4, 4.0
"""Factors on the step of the harmonics by which they alone bring a scene on grids to a size."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Goal:
    """What the file shall be; at most one of the two."""

    target_bytes: int | None = None
    """Most bytes; the file uses at least 98 % of them if the scene has so much to say."""
    loss: float | None = None
    """Decibels of PSNR against photos that may be lost. Without photos the scene is taken to match
    them at 30 dB."""
    fast: bool | None = None
    """Without contexts: larger, several times as quick; None chooses by the number of Gaussians."""
    layers: int = 2
    """In how many parts the Gaussians come, the most telling first: the first part is within a
    tenth of the file and shows all of the scene; with each other the bytes grow by the same factor.
    1 is smallest."""

    def __post_init__(self) -> None:
        if self.target_bytes is not None and self.loss is not None:
            raise ValueError("give `target_bytes` (--target-size) or `loss` (--quality), not both.")
        if self.target_bytes is not None and self.target_bytes < 1:
            raise ValueError(f"`target_bytes` must be positive, got {self.target_bytes}.")
        if self.loss is not None and not 0 < self.loss < 60:
            raise ValueError(f"`loss` must be decibels in (0, 60), got {self.loss}.")
        if not 1 <= self.layers <= MOST_LAYERS:
            raise ValueError(f"`layers` must be 1 to {MOST_LAYERS}, got {self.layers}.")


@dataclass(frozen=True)
class Written:
    """A file and how it came about."""

    path: Path
    """The file."""
    num_bytes: int
    """Its size."""
    num_primitives: int
    """Gaussians in it."""
    allocation: Allocation
    """Steps, and which Gaussians of the source were kept."""
    seconds: float
    """From Gaussians in memory to the file."""


@dataclass(frozen=True)
class _File:
    """A candidate."""

    data: bytes
    allocation: Allocation
    error: float
    """Mean squared, of its renders."""


@dataclass
class Compressor:
    """One scene with its trade-off measured, ready for files of any size."""

    judge: Judge
    """Of the scene."""
    antialiased: bool
    """See `Source.antialiased`."""
    model: str = "3dgs"
    """See `Source.model`."""
    photo_error: float = PHOTO_ERROR
    """Mean squared error of the scene against photos."""
    to_file: Similarity | None = None
    """T_file_scene; None for the identity."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """What the files say about where the scene comes from."""
    fixed: Precision | None = None
    """Grids, in units of the file, that the scene lies on already; None measures what is best."""
    keeps_grids: bool = False
    """Whether harmonics alone bring a scene on `fixed` grids to a size where they can: they are on
    no grid yet, while all else would be rounded once more."""
    removes: bool = True
    """Whether Gaussians that are not worth their bits are left out."""
    graded: bool = True
    """Whether Gaussians that show more may have finer steps, see `Steps.grading`."""

    def __post_init__(self) -> None:
        self.gaussians = self.judge.scene.gaussians
        self.weights = self.judge.weights()
        self._growths: dict[int, tuple[float, ...]] = {}
        self._without: dict[int, float] = {}
        self._tradeoff = None
        if self.fixed is None:
            self._tradeoff = Tradeoff(
                self.judge, self.weights, removes=self.removes, graded=self.graded
            )

    @property
    def tradeoff(self) -> Tradeoff:
        """Errors and bits by attribute; only for scenes that are on no grid yet."""
        if self._tradeoff is None:
            raise ValueError("the scene lies on fixed grids; there is nothing to trade.")
        return self._tradeoff

    def allocation(self, price: float) -> Allocation:
        """The best allocation at a price; of a scene on fixed grids, those grids changed by it."""
        if self.fixed is not None:
            return Allocation(self._changed(self.fixed, price), torch.arange(len(self.gaussians)))
        found = self.tradeoff.at(price)
        if self.to_file is None:
            return found
        return replace(found, precision=found.precision.moved(self.to_file.scale))

    def _changed(self, grids: Precision, price: float) -> Precision:
        own = 1.0
        if self.keeps_grids and self.gaussians.shN.numel():
            own = min(max(price, 1 / _FINER_HARMONICS), _COARSER_HARMONICS)
        return grids.finer(own / price).with_step("harmonics", grids.harmonics * price)

    def allocation_for_loss(self, loss: float) -> Allocation:
        """The cheapest allocation that loses at most `loss` dB against photos."""
        return self.allocation_for_error(error_of_loss(loss, error=self.photo_error))

    def allocation_for_error(self, wanted: float) -> Allocation:
        """The cheapest allocation whose rounded Gaussians render within `wanted` mean squared
        error of the scene."""
        enough = _NEAR if len(self.gaussians) <= CONTEXTS_UNTIL else _NEAR_LARGE
        first = self.tradeoff.first_price(wanted)
        return self.allocation(
            _largest_price(
                lambda price: self._error(self.tradeoff.at(price)), wanted, first, enough
            )
        )

    def _error(self, allocation: Allocation) -> float:
        """Of the scene on the grids of an allocation; of large ones a sample is rounded, whose
        errors add up."""
        kept = self._kept(allocation)
        if len(kept) <= CONTEXTS_UNTIL:
            return self.judge.error(rounded(kept, allocation.precision).gaussians)
        missing = self._missing(kept)
        sample = torch.arange(0, len(kept), -(-len(kept) // _SAMPLE))
        part = rounded(kept[sample], allocation.precision).gaussians
        found = self.judge.error(with_rows(kept, sample, part))
        return missing + max(0.0, found - missing) * len(kept) / len(sample)

    def _kept(self, allocation: Allocation) -> Gaussians:
        if len(allocation.kept) == len(self.gaussians):
            return self.gaussians
        return self.gaussians[allocation.kept]

    def _missing(self, kept: Gaussians) -> float:
        """Error of the scene without what an allocation leaves out; counts tell them apart."""
        if len(kept) == len(self.gaussians):
            return 0.0
        if len(kept) not in self._without:
            self._without[len(kept)] = self.judge.error(kept)
        return self._without[len(kept)]

    def data(self, allocation: Allocation, goal: Goal) -> bytes:
        """The file of an allocation."""
        kept = self._kept(allocation)
        fast = goal.fast if goal.fast is not None else len(kept) > CONTEXTS_UNTIL
        moved = kept if self.to_file is None else kept.transformed(self.to_file)
        facts = SceneFacts(
            HOUSE_FRAME, self.antialiased, self.model, {"program": program(), **self.provenance}
        )
        writer, _ = encode_quantized(
            moved,
            facts,
            steps=allocation.precision.steps,
            layers=self._layers(kept, moved, allocation, min(goal.layers, len(kept))),
            sh_step=allocation.precision.harmonics,
            fast=fast,
        )
        return writer.to_bytes()

    def _layers(
        self, kept: Gaussians, moved: Gaussians, allocation: Allocation, number: int
    ) -> tuple[Layer, ...]:
        """The Gaussians that paint most, to a small share of the bytes, then the others."""
        if number < 2:
            return ()
        order = self.weights[allocation.kept].argsort(descending=True, stable=True)
        counts = self._counts(moved, order, allocation.precision, number)
        parts = order.tensor_split(counts)
        if number not in self._growths:  # they hardly depend on the allocation
            self._growths[number] = tuple(
                best_growth(self.judge, kept, order[:count].sort().values, GROWTHS)
                for count in counts
            )
        growths = (*self._growths[number], 1.0)
        return tuple(
            Layer(part.sort().values, growth) for part, growth in zip(parts, growths, strict=True)
        )

    def _counts(
        self, moved: Gaussians, order: Int64[Tensor, "N"], precision: Precision, number: int
    ) -> list[int]:
        """How many of the Gaussians in the order of their weight are there with each layer but the
        last: in bytes, each is as many times the one before it."""
        count = len(order)
        top = order[: max(1, round(COARSE_BYTES * count))]
        every, heavy = (moved[rows[:: -(-len(rows) // _SAMPLE)]] for rows in (order, top))
        whole = self._bits_each(every, precision, count)
        # Few Gaussians refund less of their order than many, and have finer grids.
        share = COARSE_BYTES * whole / self._bits_each(heavy, precision, len(top), harmonics=0.0)
        first = min(max(1, round(share * count)), count - number + 1)
        # The harmonics of all come last.
        sets = self._bits_each(every, precision, count, harmonics=0.0) / whole
        ratio = max(sets / COARSE_BYTES, 2.0)
        found = [first]
        for layer in range(1, number - 1):
            share = (ratio ** (layer / (number - 1)) - 1) / (ratio - 1)
            later = first + round(share * (count - first))
            found.append(min(max(found[-1] + 1, later), count - number + 1 + layer))
        return found

    @staticmethod
    def _bits_each(
        gaussians: Gaussians,
        precision: Precision,
        count: int,
        *,
        harmonics: float = _CODED_HARMONICS,
    ) -> float:
        """Of a Gaussian, if there are `count` like a sample."""
        bits = rounded(gaussians, precision).bits
        places = max(bits["position"] / len(gaussians) - math.log2(max(count / math.e, 1)), 3.0)
        others = sum(bits.values()) - bits["position"] - (1 - harmonics) * bits["harmonics"]
        return places + others / len(gaussians)

    def fit_bytes(self, goal: Goal) -> tuple[bytes, Allocation]:
        """The largest file of at most `goal.target_bytes`, by bisection on the price of a bit.

        Raises:
            ValueError: Even the coarsest file is larger.
        """
        assert goal.target_bytes is not None
        target, price = goal.target_bytes, 1.0
        if self.fixed is None:
            wanted = error_of_loss(DEFAULT_LOSS, error=self.photo_error)
            price = self.tradeoff.first_price(wanted)
        best: tuple[bytes, Allocation] | None = None
        sizes: dict[float, int] = {}
        for _ in range(_ROUNDS):
            allocation = self.allocation(price)
            data = self.data(allocation, goal)
            logger.debug("price %.3g: %d bytes of %d", price, len(data), target)
            sizes[price] = len(data)
            if len(data) <= target:
                if best is None or len(data) > len(best[0]):
                    best = data, allocation
                if len(data) >= (1 - WITHIN) * target:
                    break
            price = next_price(sizes, (1 - WITHIN / 2) * target)
        if best is None:
            raise ValueError(
                f"`target_bytes` of {target:,} is too small for {len(self.gaussians):,} Gaussians: "
                f"the coarsest file takes {min(sizes.values()):,}; allow more or train fewer."
            )
        return best

    def write(self, path: Path, goal: Goal, *, started: float | None = None) -> Written:
        """The file that `goal` asks for, in place once complete."""
        started = time.perf_counter() if started is None else started
        if goal.target_bytes is not None:
            data, allocation = self.fit_bytes(goal)
        elif self.fixed is not None:
            allocation = self.allocation(1.0)
            data = self.data(allocation, goal)
        else:
            wanted = error_of_loss(goal.loss or DEFAULT_LOSS, error=self.photo_error)
            data, allocation = self.fit_error(wanted, goal)
        with replacing(path) as file:
            file.write(data)
        seconds = time.perf_counter() - started
        return Written(path, len(data), len(allocation.kept), allocation, seconds)

    def fit_error(self, wanted: float, goal: Goal) -> tuple[bytes, Allocation]:
        """A small file whose renders are within `wanted` mean squared error of the scene.

        The coder rounds harmonics with an eye on bits, which costs error that only the decoded file
        shows: it is measured and allowed for, but for large scenes, whose coder does not do so.
        """
        near = self.allocation_for_error(wanted)
        if len(near.kept) > CONTEXTS_UNTIL:
            return self.data(near, goal), near

        found: list[_File] = []
        for share in _SCALE_SHARES:
            found.append(self._smallest_file(near, share, wanted, goal))
            if _NEAR * wanted <= found[-1].error <= wanted:
                break
        best = min(found, key=lambda file: (file.error > wanted, len(file.data)))
        return best.data, best.allocation

    def _smallest_file(self, near: Allocation, share: float, wanted: float, goal: Goal) -> _File:
        """Of the prices about that of an allocation, with a share of the scales' step."""
        files: dict[float, _File] = {}

        def error(price: float) -> float:
            chosen = self.allocation(price)
            step = share * chosen.precision.log_scale
            precision = chosen.precision.with_step("log_scale", step)
            chosen = replace(chosen, precision=precision, kept=near.kept)
            data = self.data(chosen, goal)
            found = self.judge.error(_decoded(data, self.to_file))
            files[price] = _File(data, chosen, found)
            return found

        largest = files[_largest_price(error, wanted, near.price, _NEAR)]
        within = [file for file in files.values() if file.error <= wanted]
        return min(within, key=lambda file: len(file.data), default=largest)


def _largest_price(
    error: Callable[[float], float], wanted: float, price: float, enough: float
) -> float:
    """A price near the largest at which `error`, which grows with it but for noise, is at most
    `wanted`; content where it is at least the share `enough` of that. By secants of logarithms."""
    aim, found = 0.5 * (1 + enough) * wanted, dict[float, float]()
    for _ in range(_TRIALS):
        found[price] = max(error(price), 1e-12)
        logger.debug("price %.3g: error %.3g, wanted %.3g", price, found[price], wanted)
        if enough * wanted <= found[price] <= wanted:
            break
        low = max((p for p, e in found.items() if e <= wanted), default=0.0)
        high = min((p for p, e in found.items() if e > wanted and p > low), default=math.inf)
        if low > 0 and high < math.inf:
            share = math.log(aim / found[low]) / math.log(found[high] / found[low])
            price = low * (high / low) ** min(max(share, 0.15), 0.85)
            continue
        nearest = low or high
        other = min(
            (p for p in found if p != nearest), default=None, key=lambda p: abs(p - nearest)
        )
        steepness = 1.0
        if other is not None:
            slope = math.log(found[nearest] / found[other]) / math.log(nearest / other)
            steepness = min(max(slope, 0.5), 4.0)
        price = nearest * min(max((aim / found[nearest]) ** (1 / steepness), 0.05), 20.0)
    within = [p for p, e in found.items() if e <= wanted]
    return max(within, default=min(found))


def _decoded(data: bytes, to_file: Similarity | None) -> Gaussians:
    """What a file holds, in the frame of the scene."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.fwa"
        path.write_bytes(data)
        found = collect(FwaFormat().open(path))
    return found if to_file is None else found.transformed(to_file.inverse())


def next_price(sizes: Mapping[float, int], wanted: float) -> float:
    """Where the size, which falls with the price but for noise, should be `wanted`: by a line
    through the logarithms of the two that are nearest to it, between those that enclose it or
    beyond all.

    Args:
        sizes: Bytes by price of what was tried, at least one.
        wanted: Bytes to come near to.
    """
    nearest, *others = sorted(sizes, key=lambda price: abs(math.log(sizes[price] / wanted)))
    steepness = _STEEPNESS
    if others and sizes[others[0]] != sizes[nearest]:
        rise = math.log(others[0] / nearest) / math.log(sizes[nearest] / sizes[others[0]])
        steepness = min(max(rise, 0.5), 10.0)
    price = nearest * min(max((sizes[nearest] / wanted) ** steepness, 0.02), 50.0)
    low = max((p for p, size in sizes.items() if size > wanted), default=0.0)
    high = min((p for p, size in sizes.items() if size <= wanted and p > low), default=math.inf)
    if 0 < low and high < math.inf:
        edge = (high / low) ** 0.05
        return min(max(price, low * edge), high / edge)
    if high == math.inf:
        return price if price > low else low * _BEYOND
    return price if price < high else high / _BEYOND
