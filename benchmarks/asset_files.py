"""Small asset files with one of everything, and ways to damage them."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vq.asset import (
    AssetWriter,
    add,
    coarseness,
    columns,
    concatenate,
    constant,
    gather,
    linear,
    reshape,
    scale,
    shift,
)
from vq.asset.layout import PROLOGUE_BYTES, digest, pack_prologue
from vq.sets.coarsening import Coarsening, Term


@cache
def example() -> tuple[bytes, dict[str, NDArray[Any]]]:
    """A file that uses every operation and codec, and the arrays that it must decode to."""
    random = np.random.default_rng(5)
    lattice = random.integers(-200, 200, (40, 3)).astype(np.int32)
    codebook = random.normal(size=(16, 4)).astype(np.float32)
    indices = random.integers(0, 16, 40).astype(np.uint8)
    residual = random.normal(size=(40, 4)).astype(np.float32)
    noise = random.normal(size=(5, 7)).astype(np.float64)
    writer = AssetWriter(
        "example",
        frame={"axes": "right, down, forward"},
        properties={"count": 40},
        provenance={"program": "the tests", "steps": [1, 2.5, None, True]},
    )
    points = writer.encode("points", lattice, "rans")
    stages = [
        gather(
            writer.encode("codebook", codebook, "planes"), writer.encode("indices", indices, "rans")
        ),
        writer.encode("residual", residual, "planes"),
    ]
    writer.section("note", b"any bytes")
    steps = (0.5, 0.25, 0.125)
    writer.array("means", scale(points, step=steps, origin=(1.0, 2.0, 3.0)))
    writer.array("first", columns(points, 0, 1))
    writer.array("features", add(*stages))
    rows = random.integers(-99, 99, (3, 5)).astype(np.int16)
    rotation = writer.encode("rotation", rows, "rans")
    writer.array("rotated", linear(points, rotation, step=0.125, origin=(0.5,)))
    rule = Coarsening(5, 1 << 17, 0, (Term((("0", 800), ("2", -300)), low=-(1 << 18)),))
    k = coarseness(points, rule)
    writer.array("k", k)
    writer.array("shifted", shift(stages[1], k, exponent=-2))
    writer.array("noise", writer.encode("noise", noise, "raw"))
    writer.array("table", reshape(concatenate(points, constant(7, "int32", (40, 1))), (2, 20, 4)))
    sums = (1 << 17) + np.maximum(800 * lattice[:, 0] - 300 * lattice[:, 2], -(1 << 18))
    shifts = (sums // 65536).clip(0, 5)
    expected = {
        "means": (lattice * np.array(steps) + [1.0, 2.0, 3.0]).astype(np.float32),
        "first": lattice[:, :1],
        "features": codebook[indices] + residual,
        "rotated": ((lattice @ rows) * 0.125 + 0.5).astype(np.float32),
        "k": shifts.astype(np.uint8),
        "shifted": residual * np.exp2(shifts - 2).astype(np.float32)[:, None],
        "noise": noise,
        "table": np.c_[lattice, np.full((40, 1), 7, np.int32)].reshape(2, 20, 4),
    }
    return writer.to_bytes(), expected


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """JSON header and everything behind it."""
    length = struct.unpack_from("<I", data, 12)[0]
    end = PROLOGUE_BYTES + length
    return json.loads(header_text(data)), data[end:]


def header_text(data: bytes) -> bytes:
    """The JSON header, which the file may hold compressed."""
    length = struct.unpack_from("<I", data, 12)[0]
    stored = data[PROLOGUE_BYTES : PROLOGUE_BYTES + length]
    return stored if stored.startswith(b"{") else zlib.decompress(stored)


def with_header_text(text: bytes, rest: bytes = b"") -> bytes:
    """A file with this header and valid digest and length."""
    return pack_prologue(text, PROLOGUE_BYTES + len(text) + len(rest)) + text + rest


def edited(data: bytes, edit: Callable[[dict[str, Any]], None]) -> bytes:
    """The file with another header, its digest and lengths made valid again."""
    header, _ = split(data)
    sections = section_bytes(data)
    edit(header)
    text = json.dumps(header, separators=(",", ":")).encode()
    return assemble(text, sections)


def section_bytes(data: bytes) -> list[bytes]:
    """The sections of a valid file, in file order."""
    header, _ = split(data)
    end = PROLOGUE_BYTES + struct.unpack_from("<I", data, 12)[0]
    found = []
    for entry in header["sections"]:
        start = -(-end // 8) * 8
        end = start + entry["bytes"]
        found.append(data[start:end])
    return found


def assemble(header: bytes, sections: list[bytes]) -> bytes:
    """A file of these parts, with valid prologue and gaps."""
    body, end = b"", PROLOGUE_BYTES + len(header)
    for section in sections:
        gap = -end % 8
        body += bytes(gap) + section
        end += gap + len(section)
    return with_header_text(header, body)


def with_section(data: bytes, index: int, payload: bytes) -> bytes:
    """The file with one section replaced, its length and digest made valid again."""
    header, _ = split(data)
    sections = section_bytes(data)
    sections[index] = payload
    header["sections"][index] |= {"bytes": len(payload), "digest": digest(payload).hex()}
    return assemble(json.dumps(header, separators=(",", ":")).encode(), sections)


def parts(data: bytes) -> list[bytes]:
    """JSON header and sections of a valid file."""
    return [header_text(data), *section_bytes(data)]


def join(damaged: list[bytes]) -> bytes:
    """A file of a header and sections, with digests and lengths that fit wherever it has them."""
    text, *sections = damaged
    sections = [_with_inner_checksum(payload) for payload in sections]
    try:
        header = json.loads(text)
        for entry, payload in zip(header["sections"], sections, strict=True):
            found = digest(payload).hex()
            if entry["digest"] != found:
                entry["digest"], entry["bytes"] = found, len(payload)
        text = json.dumps(header, separators=(",", ":")).encode()
    except (ValueError, LookupError, TypeError, RecursionError):
        pass  # a header that is damaged so far goes into the file as it is
    return assemble(text, sections)


def _with_inner_checksum(payload: bytes) -> bytes:
    """A section whose own checksum is right, too, so that damage passes into its decoder."""
    if payload.startswith(b"FSET") and len(payload) > 8:
        return payload[:-4] + zlib.crc32(payload[:-4]).to_bytes(4, "little")
    return payload
