"""What is damaged to try the readers of splat files: small files of every format and version."""

from __future__ import annotations

import base64
import hashlib
import struct
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from splats.formats import FormatError, InMemory, find_format, in_frame
from splats.formats.contract import Format
from splats.formats.ksplat_format import KsplatOptions
from splats.formats.spz import SpzOptions
from splats.gaussians import Gaussians

from .fuzzing import Target

NAMES = (
    "ply",
    "compressed.ply",
    "splat",
    "ksplat",
    "spz",
    "sog",
    "glb",
    "gltf",
    "usda",
    "usdz",
    "fwa",
)
"""Endings of the formats that are tried; `target_ENDING` (dots as underscores) makes the target."""

_COUNTS = (1, 5, 70)
_MAX_ERROR_CHARACTERS = 4000


def scene(count: int, degree: int) -> Gaussians:
    """A small random scene."""
    random = torch.Generator().manual_seed(count + degree)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    return Gaussians(
        normal(count, 3),
        normal(count, 4),
        normal(count, 3) - 4,
        normal(count),
        normal(count, 1, 3),
        0.2 * normal(count, (degree + 1) ** 2 - 1, 3),
    )


def __getattr__(name: str) -> Callable[[], Target]:
    """The factories that `fuzzing.fuzz` names, such as `target_compressed_ply`."""
    endings = {f"target_{ending.replace('.', '_')}": ending for ending in NAMES}
    if name not in endings:
        raise AttributeError(name)
    return partial(target, endings[name])


def target(ending: str) -> Target:
    """Files of one format, read whole as a user would: opened, summarized and gone through.

    An error counts as a refusal if it is a `FormatError` that names the file, a field and a place.
    """
    written = find_format(Path(f"a.{ending}"))
    folder = Path(tempfile.mkdtemp(prefix="fieldwright-fuzz-"))
    path = folder / f"case.{ending}"
    parts = _PARTS.get(ending, (None, None))
    return Target(
        files=tuple(_files(written, ending)),
        read=partial(_read, written, path),
        refusals=(FormatError,),
        split=parts[0],
        join=parts[1],
        checked=ending == "fwa",
    )


def _read(written: Format, path: Path, data: bytes) -> tuple[Any, ...]:
    """What identifies the content of a file."""
    path.write_bytes(data)
    content = hashlib.blake2b(digest_size=16)
    try:
        source = written.open(path)
        total = 0
        for chunk in in_frame(source).chunks(256):
            total += len(chunk)
            for item in fields(chunk):
                content.update(getattr(chunk, item.name).numpy().tobytes())
        if total != source.num_primitives:
            raise AssertionError(f"{source.num_primitives} announced, {total} given")
        written.summarize(path)
    except FormatError as error:
        text = str(error)
        if str(path) not in text or not error.field or error.offset is None:
            raise AssertionError(f"the error names no file, field or place: {text}") from error
        if len(text) > _MAX_ERROR_CHARACTERS:
            raise AssertionError(f"an error of {len(text)} characters") from error
        raise
    return total, source.sh_degree, source.frame, content.hexdigest()


@cache
def _options(ending: str) -> tuple[Any, ...]:
    """Variants that a format's writer knows."""
    if ending == "spz":
        return tuple(SpzOptions(version=version) for version in (2, 3, 4))
    if ending == "ksplat":
        return tuple(KsplatOptions(level=level) for level in (0, 1, 2))
    return (None,)


def _files(written: Format, ending: str) -> Iterable[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        for number, options in enumerate(_options(ending)):
            for count in _COUNTS:
                for degree in (0, 2):
                    path = Path(folder) / f"{number}_{count}_{degree}.{ending}"
                    source = InMemory(scene(count, degree), antialiased=count == 1)
                    written.write(source, path, options=options)
                    data = path.read_bytes()
                    yield _embedded(path, data) if ending == "gltf" else data


def _embedded(path: Path, data: bytes) -> bytes:
    """A .gltf file with its numbers as a data URI instead of a second file."""
    payload = base64.b64encode(path.with_suffix(".bin").read_bytes())
    name = path.with_suffix(".bin").name.encode()
    return data.replace(name, b"data:application/octet-stream;base64," + payload)


def _split_glb(data: bytes) -> list[bytes]:
    size = struct.unpack_from("<I", data, 12)[0]
    return [data[20 : 20 + size], data[28 + size :]]


def _join_glb(parts: list[bytes]) -> bytes:
    text, binary = parts
    text += b" " * (-len(text) % 4)
    binary += bytes(-len(binary) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _split_zip(data: bytes) -> list[bytes]:
    with zipfile.ZipFile(BytesIO(data)) as archive:
        names = archive.namelist()
        return ["\n".join(names).encode(), *(archive.read(name) for name in names)]


def _join_zip(parts: list[bytes]) -> bytes:
    names = parts[0].decode(errors="replace").split("\n")
    packed = BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(packed, "w") as archive:
        warnings.simplefilter("ignore", UserWarning)  # of names that occur twice
        for number, payload in enumerate(parts[1:]):
            name = names[number] if number < len(names) else ""
            entry = zipfile.ZipInfo(name.replace("\0", "")[:200] or f"part{number}")
            archive.writestr(entry, payload)
    return packed.getvalue()


def _split_spz(data: bytes) -> list[bytes]:
    """The uncompressed body of versions 2 and 3; version 4 as header and compressed rest."""
    if data.startswith(b"\x1f\x8b"):
        body = zlib.decompress(data, wbits=31)
        return [body[:16], body[16:]]
    return [data[:32], data[32:]]


def _join_spz(parts: list[bytes]) -> bytes:
    body = b"".join(parts)
    version = body[4:5]
    if version == b"\x04":
        return body
    engine = zlib.compressobj(1, wbits=31)
    return engine.compress(body) + engine.flush()


_PARTS: dict[str, tuple[Callable[[bytes], list[bytes]], Callable[[list[bytes]], bytes]]] = {
    "glb": (_split_glb, _join_glb),
    "sog": (_split_zip, _join_zip),
    "usdz": (_split_zip, _join_zip),
    "spz": (_split_spz, _join_spz),
}
