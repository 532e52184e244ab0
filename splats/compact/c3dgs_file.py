"""Files of kind "c3dgs": Gaussians whose color is a hash grid and a network.

Arrays: `positions` [N, 3], 16-bit places in the field's frame, each coordinate contracted;
`opacities` [N], before the sigmoid; `colors` [N, 3], coefficients of degree 0 that the field's are
added to, absent where it holds all of the color; `indices` [N, 2 S] into `scale_codes` [S, K, 3]
(of the log scales) and `quat_codes` [S, K, 4], or all their bits side by side, in older files with
each row filled up to whole bytes; `grid` [E, F]; `weights`, the network's matrices one after the
other. Properties say the rest, `harmonics` that the network gives those of a place; where it is
missing, the direction enters the network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from captures import Similarity
from vq.asset import Asset, AssetError, AssetWriter, Node, columns, open_asset, scale, set_order
from vq.asset.sets import SetCodec
from vq.entropy.rans import RansCodec

from ..formats.contract import HOUSE_FRAME, FileSummary, FormatError
from ..gaussians import Gaussians
from ..hash_grid import HashGridLayout
from ..sh import rotate_sh
from .color_field import HARMONICS_DEGREE, ColorField
from .rounding import LOGIT_ORIGIN, LOGIT_STEP, logit_steps

KIND = "c3dgs"
GRID_PRUNED = 0.1
"""Entries of the grid up to this size become zero in a post-processed file (the paper's value)."""
_PRUNED_SHARE = 1 / 16
"""The same as a share of the largest entry, at most: after few steps all entries are small."""

_COLOR_STEP = 2 / 255 / 0.28209479177387814  # of base colors in a post-processed file
_STEPS = 65535 / 4  # of a contracted coordinate in [-2, 2]


@dataclass(frozen=True)
class Geometry:
    """Gaussians with the codes that stand for their shapes."""

    values: Gaussians
    """As trained, in the frame of the capture."""
    scale_codes: Float[Tensor, "S K 3"] | None = None
    """Of the log scales; None before they are quantized."""
    quat_codes: Float[Tensor, "S K 4"] | None = None
    """Of the unit quaternions."""
    scale_indices: Int[Tensor, "N S"] | None = None
    """Codes whose sum is a log scale."""
    quat_indices: Int[Tensor, "N S"] | None = None
    """Codes whose sum is a rotation."""

    def decoded(self) -> Gaussians:
        """With the shapes that the codes stand for."""
        if self.scale_codes is None or self.quat_codes is None:
            return self.values
        assert self.scale_indices is not None and self.quat_indices is not None
        return replace(
            self.values,
            log_scales=sum_of_codes(self.scale_codes, self.scale_indices),
            quats=sum_of_codes(self.quat_codes, self.quat_indices),
        )


@dataclass(frozen=True)
class C3dgsModel:
    """Gaussians that a field colors."""

    geometry: Gaussians
    """In the frame of the scene, with the base colors that the field's are added to."""
    field: ColorField
    """What colors them."""
    T_scene_field: Similarity
    """From the field's frame to that of the scene."""
    coded: Geometry | None = None
    """Where the geometry comes from, while training."""

    def places(self) -> Float[Tensor, "N 3"]:
        """The centers in the frame of the field."""
        return self.T_scene_field.inverse().apply(self.geometry.means)

    def baked(self) -> Gaussians:
        """The scene with its color as harmonics of degree 3, which no field is needed for."""
        colors = self.field.baked(self.places())
        # The field's directions are those of its own frame.
        turned = rotate_sh(colors[:, 1:], self.T_scene_field.rotation)
        return replace(self.geometry, sh0=self.geometry.sh0 + colors[:, :1], shN=turned)


def sum_of_codes(
    codes: Float[Tensor, "S K dim"], indices: Int[Tensor, "N S"]
) -> Float[Tensor, "N dim"]:
    """One code of every stage, added in their order."""
    total = codes.new_zeros(len(indices), codes.shape[2])
    for stage, column in zip(codes, indices.T, strict=True):
        total = total + stage[column]
    return total


def write(
    model: C3dgsModel,
    path: Path,
    *,
    T_source_capture: Similarity,
    antialiased: bool,
    post_process: bool,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Replace `path` by the model in the frame of the source.

    Args:
        model: In the frame of the capture, with codes.
        path: Where to.
        T_source_capture: To the frame that the file shall have.
        antialiased: Whether renderers shall apply the opacity compensation.
        post_process: Grid and opacities of 8 bits, in Morton order, entropy coded; else numbers of
            16 bits and indices of fixed width.
        provenance: What the file shall say about where the scene comes from.
    """
    coded = model.coded
    if coded is None or coded.scale_codes is None or coded.quat_codes is None:
        raise ValueError("`model` must be quantized before it is written; call `fit` first.")
    assert coded.scale_indices is not None and coded.quat_indices is not None
    scale_codes = coded.scale_codes.detach().cpu().clone()
    scale_codes[0] -= math.log(model.T_scene_field.scale)
    stages, codes, _ = scale_codes.shape
    writer = AssetWriter(
        KIND,
        frame={"axes": HOUSE_FRAME},
        properties={
            "num_primitives": len(coded.values),
            "antialiased": antialiased,
            "stages": stages,
            "codes": codes,
            "packed": not post_process,
            "layout": asdict(model.field.layout),
            "hidden": model.field.hidden,
            "harmonics": model.field.harmonics,
            "T_source_field": T_source_capture.compose(model.T_scene_field).to_json(),
        },
        provenance=dict(provenance or {}),
    )
    positions = _contracted_integers(model.places().double().cpu().numpy())
    logits = coded.values.logit_opacities.cpu().numpy()
    indices = torch.cat([coded.scale_indices, coded.quat_indices], dim=1).cpu().numpy()
    sh0 = coded.values.sh0[:, 0].cpu().numpy()
    colors = sh0 if sh0.any() else sh0[:, :0]
    parts = (_small if post_process else _plain)(
        writer, positions, logits, colors, indices.astype(np.uint8), codes
    )
    table = model.field.grid.table.detach().cpu().numpy()
    parts["grid"] = _small_grid(writer, table) if post_process else _halves(writer, "grid", table)
    parts["scale_codes"] = _halves(writer, "scale_codes", scale_codes.numpy())
    parts["quat_codes"] = _halves(writer, "quat_codes", coded.quat_codes.detach().cpu().numpy())
    weights = torch.cat([w.detach().cpu().flatten() for w in model.field.weights]).numpy()
    parts["weights"] = _halves(writer, "weights", weights)
    for name, node in parts.items():
        writer.array(name, node)
    return writer.write(path, overwrite=True)


def _plain(
    writer: AssetWriter,
    positions: NDArray[np.int32],
    logits: NDArray[np.float32],
    colors: NDArray[np.float32],
    indices: NDArray[np.uint8],
    codes: int,
) -> dict[str, Node]:
    parts = {
        "positions": writer.encode("positions", positions.astype(np.uint16), "raw"),
        "opacities": writer.encode("opacities", logits.astype(np.float16), "raw"),
        "indices": writer.encode("indices", _packed(indices, codes), "raw"),
    }
    return parts | ({"colors": _halves(writer, "colors", colors)} if colors.size else {})


def _small(
    writer: AssetWriter,
    positions: NDArray[np.int32],
    logits: NDArray[np.float32],
    colors: NDArray[np.float32],
    indices: NDArray[np.uint8],
    codes: int,
) -> dict[str, Node]:
    shades = np.rint(colors / _COLOR_STEP)
    matrix = np.column_stack([positions, logit_steps(logits), shades]).astype(np.int32)
    order = set_order(matrix)
    coded = writer.encode("set", matrix[order], SetCodec(preset="small"))
    parts = {
        "positions": columns(coded, 0, 3),
        "opacities": scale(columns(coded, 3, 4), step=(LOGIT_STEP,), origin=(LOGIT_ORIGIN,)),
        "indices": writer.encode("indices", indices[order], RansCodec()),
    }
    if colors.size:
        parts["colors"] = scale(columns(coded, 4, 7), step=(_COLOR_STEP,))
    return parts


def _small_grid(writer: AssetWriter, table: NDArray[np.float32]) -> Node:
    largest = float(np.abs(table).max(initial=0))
    kept = np.where(np.abs(table) > min(GRID_PRUNED, _PRUNED_SHARE * largest), table, 0)
    step = max(largest, 1e-6) / 127
    integers = np.rint(kept / step).astype(np.int8)
    return scale(writer.encode("grid", integers, RansCodec(columns=False)), step=(step,))


def _halves(writer: AssetWriter, name: str, values: NDArray[np.float32]) -> Node:
    return writer.encode(name, values.astype(np.float16), "raw")


def _packed(indices: NDArray[np.uint8], codes: int) -> NDArray[np.uint8]:
    """All bits in a row: ceil(log2 K) for each index, most significant first."""
    return np.packbits(np.unpackbits(indices[..., None], axis=-1)[..., -_width(codes) :])


def _unpacked(
    packed: NDArray[np.uint8], codes: int, shape: tuple[int, int], path: Path
) -> NDArray[np.uint8]:
    width = _width(codes)
    row = shape[1] * width
    size = -(-shape[0] * row // 8)
    if packed.ndim == 2 and packed.shape == (shape[0], -(-row // 8)):
        bits = np.unpackbits(packed, axis=1, count=row)
    elif packed.shape == (size,):
        bits = np.unpackbits(packed, count=shape[0] * row)
    else:
        problem = f"expected {size} bytes, got {list(packed.shape)}."
        raise FormatError(path, problem, field="indices")
    return (bits.reshape(*shape, width) @ (1 << np.arange(width)[::-1])).astype(np.uint8)


def _width(codes: int) -> int:
    return max(1, (codes - 1).bit_length())


def _contracted_integers(places: NDArray[np.float64]) -> NDArray[np.int32]:
    """Each coordinate of all of space at 16 bits: exact steps within [-1, 1], coarser outside."""
    size = np.abs(places)
    inside = np.where(size <= 1, places, np.sign(places) * (2 - 1 / np.maximum(size, 1)))
    return np.rint((inside + 2) * _STEPS).astype(np.int32)


def _expanded(integers: NDArray[Any]) -> NDArray[np.float64]:
    """The inverse; the ends of the range, which would be infinite, lie half a step inside."""
    value = np.clip(integers / _STEPS - 2, -2 + 0.5 / _STEPS, 2 - 0.5 / _STEPS)
    size = np.abs(value)
    return np.where(size <= 1, value, np.sign(value) / np.maximum(2 - size, 1e-9))


def is_c3dgs(path: Path) -> bool:
    """Whether this is an asset of this kind."""
    try:
        with open_asset(path) as asset:
            return asset.header.kind == KIND
    except AssetError:
        return False


def summarize(path: Path) -> FileSummary:
    """What the header says; no section is read."""
    with open_asset(path) as asset:
        header = asset.header
        graphs = {info.name: info.graph for info in asset.describe()}
        return FileSummary(
            num_primitives=int(header.properties.get("num_primitives", 0)),
            sh_degree=HARMONICS_DEGREE,
            antialiased=bool(header.properties.get("antialiased")),
            frame=str(header.frame.get("axes")),
            sections=dict(asset.sizes),
            details={name: str(value) for name, value in header.provenance.items()} | graphs,
        )


def read(path: Path) -> tuple[C3dgsModel, bool]:
    """The model in a file, in the frame of the source, and whether it is antialiased.

    Raises:
        FormatError: The file is malformed.
    """
    try:
        with open_asset(path) as asset:
            return _model(asset, path), bool(asset.header.properties.get("antialiased"))
    except AssetError as error:
        raise FormatError(path, error.problem, field=error.section, offset=error.offset) from None
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(path, f"{error}; write the file again.", field="properties") from None


def _model(asset: Asset, path: Path) -> C3dgsModel:
    facts, arrays = asset.header.properties, asset.arrays()
    count, stages, codes = (int(facts[name]) for name in ("num_primitives", "stages", "codes"))
    layout, hidden = HashGridLayout(**facts["layout"]), int(facts["hidden"])
    indices = arrays["indices"]
    if facts["packed"]:
        indices = _unpacked(indices, codes, (count, 2 * stages), path)
    weights = arrays["weights"].astype(np.float32)
    expected = {
        "positions": (count, 3),
        "scale_codes": (stages, codes, 3),
        "quat_codes": (stages, codes, 4),
        "grid": (layout.num_entries, layout.features),
    }
    if "colors" in arrays:
        expected["colors"] = (count, 3)
    for name, shape in expected.items():
        if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
            found = list(arrays[name].shape)
            raise FormatError(path, f"expected finite {list(shape)}, got {found}.", field=name)
    if indices.shape != (count, 2 * stages) or indices.max(initial=0) >= codes:
        raise FormatError(path, f"expected {2 * stages} columns below {codes}.", field="indices")
    field = ColorField(layout, hidden=hidden, harmonics=bool(facts.get("harmonics")))
    if weights.shape != (sum(r * c for r, c in field.sizes),) or not np.isfinite(weights).all():
        raise FormatError(path, "they do not fit the network.", field="weights")
    _load_field(field, arrays["grid"].astype(np.float32), weights)
    similarity = Similarity.from_json(facts["T_source_field"])
    chosen = torch.from_numpy(indices.astype(np.int64))
    shape_codes = {
        name: torch.from_numpy(arrays[name].astype(np.float32))
        for name in ("scale_codes", "quat_codes")
    }
    gaussians = Gaussians(
        means=torch.from_numpy(_expanded(arrays["positions"])).float(),
        quats=sum_of_codes(shape_codes["quat_codes"], chosen[:, stages:]),
        log_scales=sum_of_codes(shape_codes["scale_codes"], chosen[:, :stages]),
        logit_opacities=torch.from_numpy(arrays["opacities"].astype(np.float32).reshape(count)),
        sh0=_base_colors(arrays, count),
        shN=torch.zeros(count, 0, 3),
    )
    return C3dgsModel(gaussians.transformed(similarity), field, similarity)


def _base_colors(arrays: Mapping[str, NDArray[Any]], count: int) -> Float[Tensor, "N 1 3"]:
    if "colors" not in arrays:
        return torch.zeros(count, 1, 3)
    return torch.from_numpy(arrays["colors"].astype(np.float32))[:, None].contiguous()


def baked(path: Path) -> tuple[Gaussians, bool]:
    """The Gaussians of a file with their color as harmonics, and whether it is antialiased."""
    model, antialiased = read(path)
    return model.baked(), antialiased


@torch.no_grad()
def _load_field(field: ColorField, table: NDArray[Any], weights: NDArray[Any]) -> None:
    field.grid.table.copy_(torch.from_numpy(table))
    parts = torch.from_numpy(weights).split([rows * columns for rows, columns in field.sizes])
    for target, part in zip(field.weights, parts, strict=True):
        target.copy_(part.reshape(target.shape))
