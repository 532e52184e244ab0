"""What is damaged to try the `.fwa` reader: small files of every codec and operation."""

from __future__ import annotations

import numpy as np

from vq.asset import AssetError, AssetWriter, SetCodec, constant, open_asset, set_order

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
    random = np.random.default_rng(9)
    integers = random.normal(0, 3, (50, 2)).round().astype(np.int16)
    wide = (random.normal(0, 1, 60) ** 9 * 1e4).round().astype(np.int64)
    floats = random.normal(size=(20, 3)).astype(np.float32)
    files = []
    points = random.integers(0, 40, (30, 5)).astype(np.int32)
    for codec, array in (
        ("raw", floats),
        ("planes", floats),
        ("rans", integers),
        ("rans", wide),
        ("set", points[set_order(points)]),
        (SetCodec(preset="fast"), points[set_order(points)]),
    ):
        writer = AssetWriter("one")
        writer.array("only", writer.encode("only", array, codec))
        files.append(writer.to_bytes())
    return files


def _empty() -> bytes:
    writer = AssetWriter("empty")
    writer.array("nothing", constant(0, "float32", (0, 15, 3)))
    return writer.to_bytes()
