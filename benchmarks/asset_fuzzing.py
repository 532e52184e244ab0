"""What is damaged to try the `.fwa` reader: small files of every codec and operation."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vq.asset import (
    AssetError,
    AssetWriter,
    PlacedVectorsCodec,
    SetCodec,
    columns,
    constant,
    open_asset,
    set_order,
)
from vq.asset.codecs import GROUP, DependentCodec, find_codec
from vq.sets.coarsening import Coarsening, Term

from .asset_files import example, join, parts
from .fuzzing import Target


def target() -> Target:
    """Every array of every file, from files a few hundred to a few thousand bytes long."""
    return Target(
        files=(example()[0], *_one_codec_each(), _empty()),
        read=read,
        refusals=(AssetError,),
        split=parts,
        join=join,
        checked=True,
    )


def read(data: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Type, shape and bytes of everything in a file."""
    with open_asset(data) as asset:
        asset.verify()
        arrays = asset.arrays()
        return {name: (a.dtype.name, a.shape, a.tobytes()) for name, a in arrays.items()}


def _one_codec_each() -> list[bytes]:
    """A file per installed codec and kind of array that it takes."""
    files = []
    for name in sorted(entry_points(group=GROUP).names):
        codec = find_codec(name)
        if isinstance(codec, DependentCodec):
            continue
        for array in _arrays():
            try:
                stored = codec.decode(codec.encode(array))
            except (ValueError, TypeError):  # an array that this codec does not take
                continue
            writer = AssetWriter("one")
            writer.array("only", writer.encode("only", stored, codec))
            files.append(writer.to_bytes())
    writer = AssetWriter("placed")
    points, codec = _points(), PlacedVectorsCodec(step=0.5)
    leaf = writer.encode("points", points, "set")
    known = (columns(leaf, 0, 3), points[:, :3])
    values = np.random.default_rng(3).normal(size=(len(points), 2, 3)).astype(np.float32)
    writer.array("values", writer.encode("values", values, codec, inputs=[known]))
    files.append(writer.to_bytes())
    for preset in ("fast", "small"):
        writer = AssetWriter("set")
        writer.array("only", writer.encode("only", _points(), SetCodec(preset=preset)))
        codec = SetCodec(preset=preset, coarsenings=_RULES)
        writer.array("coarse", writer.encode("coarse", _coarse_points(), codec))
        files.append(writer.to_bytes())
    return files


def _points() -> NDArray[np.int32]:
    points = np.random.default_rng(7).integers(0, 40, (30, 5)).astype(np.int32)
    return points[set_order(points)]


_RULES = {"0": Coarsening(3, 1 << 16, own=900), "1": Coarsening(2, 0, 0, (Term((("0", 4000),)),))}


def _coarse_points() -> NDArray[np.int32]:
    """In the steps of `_RULES`."""
    points = _points()
    for column, rule in enumerate(_RULES.values(), start=3):
        known = {"0": points[:, 3].astype(np.int64)}
        k = rule.coarseness(rule.base(known), points[:, column].astype(np.int64))
        points[:, column] = points[:, column] >> k << k
    return points[set_order(points)]


def _arrays() -> list[NDArray[Any]]:
    random = np.random.default_rng(9)
    return [
        random.normal(size=(20, 3)).astype(np.float32),
        random.normal(0, 3, (50, 2)).round().astype(np.int16),
        (random.normal(0, 1, 60) ** 9 * 1e4).round().astype(np.int64),
        _points(),
    ]


def _empty() -> bytes:
    writer = AssetWriter("empty")
    writer.array("nothing", constant(0, "float32", (0, 15, 3)))
    return writer.to_bytes()
