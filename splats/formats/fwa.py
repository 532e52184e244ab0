"""The asset file `.fwa` with Gaussians inside.

A file of kind "splats" holds the arrays of `Gaussians` by their names, each with the codec graph
that decodes it; the container is specified in docs/asset-format.md. Reading needs no setting: an
exact file and a quantised one differ in their graphs only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from runs.files import replacing
from vq.asset import MAGIC, Apply, Asset, AssetError, open_asset
from vq.asset.graph import leaves

from ..gaussians import Gaussians
from .contract import (
    HOUSE_FRAME,
    ROWS_PER_CHUNK,
    FileSummary,
    FormatError,
    LossReport,
    Source,
    refuse_existing,
)
from .frames import check_frame, in_frame
from .fwa_encoding import ARRAYS, SceneFacts, encode_exactly, encode_quantized
from .fwa_quantization import Steps, choose_position_step, choose_sh_step
from .sources import InMemory, collect

KIND = "splats"
_INFINITE = {"log_scales", "logit_opacities"}  # -inf and +-inf are flat, invisible and opaque
_COEFFICIENTS = (0, 3, 8, 15, 24)
_LARGEST_GROWTH = 100


@dataclass(frozen=True)
class FwaOptions:
    """What an asset writer lets one choose."""

    lossless: bool = False
    """Keep every float32 bit and the order, at about five times the size."""
    quality: float = 1.0
    """Divides every step that is not set below: 2 halves them all."""
    fast: bool = False
    """Code without contexts: larger files, several times as quick to write and read."""
    position_step: float | None = None
    """Distance of neighboring positions in world units; None: from the sizes of the Gaussians."""
    scale_step: float | None = None
    """Of the natural log of the standard deviations."""
    rotation_step: float | None = None
    """About half an angle in radians."""
    opacity_step: float | None = None
    """Of the opacity before the sigmoid."""
    color_step: float | None = None
    """Of the degree-0 coefficient; 0.0139 is one step of an 8-bit image."""
    sh_step: float | None = None
    """Of the higher coefficients, in the directions of their variance; None: from how much they
    vary."""
    frame: str = HOUSE_FRAME
    """Axes of the numbers in the file; the file says which."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """What the file shall say about where the scene comes from, such as its training."""

    def __post_init__(self) -> None:
        check_frame(self.frame)
        derived = ("quality", "position_step", "sh_step")
        for name in (*derived, *(f"{part}_step" for part in _DEFAULTS)):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"`{name}` must be positive and finite, got {value}.")

    def step(self, name: str) -> float:
        """The step of "scale", "rotation", "opacity" or "color"."""
        chosen = getattr(self, f"{name}_step")
        return _DEFAULTS[name] / self.quality if chosen is None else chosen


_DEFAULTS = {"scale": 1 / 16, "rotation": 1 / 40, "opacity": 1 / 5, "color": 1 / 16}
_POSITION_SHARE = 1 / 8  # of the size of small Gaussians, at quality 1


class FwaSource:
    """An open asset as a `Source`; everything is decoded when the first chunk is asked for.

    Sections have no rows of their own, so unlike other sources this one holds the scene in memory.
    """

    def __init__(self, path: Path, *, first: float | None = None) -> None:
        """
        Args:
            path: The file.
            first: Share of its bytes to take, in (0, 1]; the file may be cut off then. None takes a
                complete file only.
        """
        self._path = path
        with _as_format_error(path):
            if first is None:
                self._asset = open_asset(path)
            else:
                with path.open("rb") as file:
                    head = file.read(math.ceil(first * path.stat().st_size))
                self._asset = open_asset(head, allow_prefix=True)
            try:
                self._check_header()
            except BaseException:
                self._asset.close()
                raise

    @property
    def asset(self) -> Asset:
        """The open file."""
        return self._asset

    @property
    def num_primitives(self) -> int:
        """Number of Gaussians, of a prefix only those of the layers that are there."""
        layers = self._layers
        return sum(count for count, there in layers if there) if layers else self._stated_count

    @property
    def _stated_count(self) -> int:
        return self._asset.header.arrays["means"].type.shape[0]

    @cached_property
    def _layers(self) -> list[tuple[int, bool]]:
        """Rows of each layer and whether it and those before are there; empty without layers."""
        node, found, there = self._asset.header.arrays["means"], [], True
        if not (isinstance(node, Apply) and node.operation.name == "stack"):
            return []
        for layer in node.inputs:
            needed = {leaf.section for leaf in leaves(layer)}
            there = there and not needed & set(self._asset.missing)
            found.append((layer.type.shape[0], there))
        return found

    @property
    def _has_harmonics(self) -> bool:
        """Those of all Gaussians, without which there are none."""
        return self._asset.available("shN") and all(there for _, there in self._layers)

    @property
    def _growth(self) -> float:
        """How much larger than stored the Gaussians of an incomplete set of layers are."""
        there = sum(there for _, there in self._layers)
        growth = self._asset.header.properties.get("layer_growth", [])
        return growth[there - 1] if 0 < there <= len(growth) else 1.0

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics; 0 where a prefix lacks those above."""
        if not self._has_harmonics:
            return 0
        return round((1 + self._asset.header.arrays["shN"].type.shape[1]) ** 0.5) - 1

    @property
    def frame(self) -> str:
        """Directions of +X, +Y and +Z."""
        return self._asset.header.frame["axes"]

    @property
    def antialiased(self) -> bool:
        """Whether the scene was trained with the opacity compensation of Mip-Splatting."""
        return self._asset.header.properties["antialiased"]

    @property
    def model(self) -> str:
        """ "3dgs" or "2dgs"."""
        return self._asset.header.properties["model"]

    def chunks(self, rows: int = ROWS_PER_CHUNK) -> Iterator[Gaussians]:
        """All Gaussians in file order."""
        for start in range(0, self.num_primitives, rows):
            yield self._gaussians[start : start + rows]

    @cached_property
    def _gaussians(self) -> Gaussians:
        with _as_format_error(self._path):
            names = [name for name in ARRAYS[:5] if self._asset.available(name)]
            names += [ARRAYS[5]] if self._has_harmonics else []
            if names[:5] != list(ARRAYS[:5]):
                lost = ", ".join(self._asset.missing)
                raise FormatError(
                    self._path, f"this prefix lacks the sections {lost}.", field="sections"
                )
            arrays = self._asset.arrays(names)
        arrays.setdefault("shN", np.zeros((self.num_primitives, 0, 3), np.float32))
        if self._growth != 1:
            arrays["log_scales"] = arrays["log_scales"] + np.float32(math.log(self._growth))
        for name, values in arrays.items():
            if not np.isfinite(values).all() and (name not in _INFINITE or np.isnan(values).any()):
                raise FormatError(self._path, "expected finite numbers.", field=name)
        return Gaussians(**{name: torch.from_numpy(arrays[name]) for name in ARRAYS})

    def _check_header(self) -> None:
        """Kind, frame, properties and the types of all arrays."""
        header, fail = self._asset.header, self._fail
        if header.kind != KIND:
            fail("kind", f"the file holds {header.kind!r}, expected {KIND!r}.")
        try:
            check_frame(str(header.frame.get("axes")))
        except ValueError as error:
            fail("frame", str(error))
        if type(header.properties.get("antialiased")) is not bool:
            fail("properties", "`antialiased` must be true or false.")
        if header.properties.get("model") not in ("3dgs", "2dgs"):
            fail("properties", '`model` must be "3dgs" or "2dgs".')
        growth = header.properties.get("layer_growth", [])
        if not isinstance(growth, list) or not all(
            isinstance(value, int | float) and 1 <= value <= _LARGEST_GROWTH for value in growth
        ):
            fail("properties", f"`layer_growth` must list numbers from 1 to {_LARGEST_GROWTH}.")
        shapes = {name: node.type for name, node in header.arrays.items()}
        missing = [name for name in ARRAYS if name not in shapes]
        if missing:
            fail("arrays", f"the file lacks {', '.join(missing)}.")
        count = shapes["means"].shape[0] if shapes["means"].shape else 0
        rest = shapes["shN"].shape[1] if len(shapes["shN"].shape) == 3 else 0
        expected = {
            "means": (count, 3),
            "log_scales": (count, 3),
            "quats": (count, 4),
            "logit_opacities": (count,),
            "sh0": (count, 1, 3),
            "shN": (count, rest if rest in _COEFFICIENTS else 0, 3),
        }
        for name, shape in expected.items():
            if shapes[name].dtype != "float32" or shapes[name].shape != shape:
                fail(name, f"expected float32{list(shape)}, got {shapes[name]}.")

    def _fail(self, name: str, message: str) -> None:
        raise FormatError(self._path, message, field=name)


class FwaFormat:
    """Assets of kind "splats" as a `Format`."""

    suffixes = (".fwa",)
    magic = MAGIC
    Options = FwaOptions

    def open(self, path: Path) -> FwaSource | InMemory:
        """The Gaussians of a whole file; those that a field colors with harmonics in its place."""
        from ..compact.c3dgs_file import baked, is_c3dgs

        if is_c3dgs(path):
            gaussians, antialiased = baked(path)
            return InMemory(gaussians, antialiased=antialiased)
        return FwaSource(path)

    def open_prefix(self, path: Path, *, first: float = 1.0) -> FwaSource:
        """What shows of a file while it arrives: the layers within its first bytes.

        Args:
            path: The file, which may be cut off.
            first: Share of the bytes that are there, in (0, 1].
        """
        if not 0 < first <= 1:
            raise ValueError(f"`first` must be a share in (0, 1], got {first}.")
        source = FwaSource(path, first=first)
        if source.num_primitives == 0 and source.asset.missing:
            section, *_ = source.asset.missing
            message = f"a prefix that ends before `{section}` does shows nothing; take more of it."
            raise FormatError(path, message, field=section)
        return source

    def write(
        self,
        source: Source,
        path: Path,
        *,
        options: FwaOptions | None = None,
        overwrite: bool = False,
    ) -> LossReport:
        """Write `source`, which is held in memory meanwhile."""
        options = options or FwaOptions()
        refuse_existing(path, overwrite=overwrite)
        gaussians = collect(in_frame(source, options.frame))
        _check_numbers(gaussians)
        facts = SceneFacts(
            options.frame.upper(),
            source.antialiased,
            source.model,
            {"program": program(), **options.provenance},
        )
        if options.lossless:
            writer, order = encode_exactly(gaussians, facts), None
        else:
            writer, order = encode_quantized(
                gaussians,
                facts,
                steps=_steps(gaussians, options),
                sh_step=options.sh_step or choose_sh_step(gaussians) / options.quality,
                fast=options.fast,
            )
        with replacing(path) as file:
            file.write(writer.to_bytes())
        errors = {} if options.lossless else None
        return LossReport(path, path.stat().st_size, max_errors=errors, order=order)

    def summarize(self, path: Path) -> FileSummary:
        """What the header says; no section is read."""
        from ..compact.c3dgs_file import is_c3dgs
        from ..compact.c3dgs_file import summarize as summarize_c3dgs

        if is_c3dgs(path):
            return summarize_c3dgs(path)
        source = FwaSource(path)
        with source.asset as asset:
            graphs = {info.name: info.graph for info in asset.describe()}
            made = {name: str(value) for name, value in asset.header.provenance.items()}
            return FileSummary(
                num_primitives=source.num_primitives,
                sh_degree=source.sh_degree,
                antialiased=source.antialiased,
                frame=source.frame,
                sections=dict(asset.sizes),
                model=source.model,
                details=made | graphs,
            )


def _steps(gaussians: Gaussians, options: FwaOptions) -> Steps:
    position = options.position_step
    if position is None:
        position = choose_position_step(gaussians, share=_POSITION_SHARE / options.quality)
    return Steps(
        position=position,
        log_scale=options.step("scale"),
        rotation=options.step("rotation"),
        logit_opacity=options.step("opacity"),
        color=options.step("color"),
    )


def _check_numbers(gaussians: Gaussians) -> None:
    for name in ARRAYS:
        values = getattr(gaussians, name)
        bad = values.isnan() if name in _INFINITE else ~values.isfinite()
        if bad.any():
            row = int(bad.reshape(len(gaussians), -1).any(dim=1).nonzero()[0])
            raise ValueError(f"`{name}` of Gaussian {row} is not finite; remove such rows first.")


def program() -> str:
    """What files name as their maker."""
    try:
        return f"fieldwright {version('fieldwright')}"
    except PackageNotFoundError:
        return "fieldwright"


@contextmanager
def _as_format_error(path: Path) -> Iterator[None]:
    try:
        yield
    except AssetError as error:
        raise FormatError(path, error.problem, field=error.section, offset=error.offset) from None
