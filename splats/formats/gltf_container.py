"""The glTF 2.0 container: GLB chunks, JSON, buffers and accessors, checked before use.

Reference: Khronos glTF 2.0 specification, sections 3.6 (binary data) and 4 (GLB).
"""

from __future__ import annotations

import base64
import binascii
import json
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from .contract import FormatError

GLB_MAGIC = b"glTF"
GLB_HEADER = struct.Struct("<4sII")
"""Magic, version and length of the file."""
CHUNK_HEADER = struct.Struct("<I4s")
"""Length and type of a chunk."""
COMPONENTS = {
    5120: np.dtype("<i1"),
    5121: np.dtype("<u1"),
    5122: np.dtype("<i2"),
    5123: np.dtype("<u2"),
    5125: np.dtype("<u4"),
    5126: np.dtype("<f4"),
}
"""NumPy types of `accessor.componentType`."""
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
"""Components of `accessor.type`; matrices do not occur among point attributes."""

_MAX_JSON_BYTES = 1 << 24  # a splat file's JSON takes a few kB
_MAX_STRIDE = 252

Kind = TypeVar("Kind", int, float, str, bool, dict, list)


@dataclass(frozen=True)
class Accessor:
    """A checked view of N rows of a buffer."""

    rows: NDArray[Any]
    """[N, width], still of the stored type."""
    normalized: bool
    """True where integers stand for fractions of their type's largest value."""
    name: str
    """Where the JSON describes it, for messages."""
    offset: int
    """Where its first row starts in the file that holds its buffer."""

    def floats(self, start: int, stop: int) -> NDArray[np.float32]:
        """Rows [n, width] as numbers, normalized integers mapped to [-1, 1] or [0, 1]."""
        rows = self.rows[start:stop]
        values = np.array(rows, dtype=np.float32, order="C")
        if self.normalized and rows.dtype.kind != "f":
            values /= np.iinfo(rows.dtype).max
            np.maximum(values, -1.0, out=values)
        return values


class GltfFile:
    """The JSON of a `.glb` or `.gltf` file and its buffers.

    Raises:
        FormatError: Not a glTF 2.0 file, or one whose parts do not fit each other.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_bytes = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(GLB_HEADER.size)
        self.json_offset, self._bin = 0, (0, 0)
        if start.startswith(GLB_MAGIC):
            text = self._read_chunks(start)
        else:
            text = self._read_text()
        self.document = self._parse(text)
        self._buffers: dict[int, NDArray[np.uint8]] = {}

    def fail(self, field: str, message: str, offset: int | None = None) -> FormatError:
        """The error for a fault; without `offset` it is in the JSON."""
        where = self.json_offset if offset is None else offset
        return FormatError(self.path, message, field=field, offset=where)

    def get(
        self, parent: dict[str, Any], key: str, kind: type[Kind], where: str, default: Kind | None
    ) -> Kind:
        """`parent[key]` if it is of type `kind`; `default` where it is missing, unless None."""
        if key not in parent and default is not None:
            return default
        value = parent.get(key)
        wanted = (int, float) if kind is float else kind
        if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
            raise self.fail(
                f"{where}.{key}" if where else key,
                f"expected {kind.__name__}, got {_shown(value)}.",
            )
        return value  # pyright: ignore[reportReturnType]

    def item(self, name: str, index: Any, where: str) -> dict[str, Any]:
        """`document[name][index]`, an object."""
        items = self.get(self.document, name, list, "", [])
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(items):
            raise self.fail(where, f"expected an index below {len(items)}, got {_shown(index)}.")
        if not isinstance(items[index], dict):
            raise self.fail(f"{name}[{index}]", f"expected object, got {_shown(items[index])}.")
        return items[index]

    def size(self, parent: dict[str, Any], key: str, where: str, default: int | None = 0) -> int:
        """A count or offset: an integer that is not negative."""
        value = self.get(parent, key, int, where, default)
        if value < 0:
            raise self.fail(f"{where}.{key}", f"expected 0 or more, got {value}.")
        return value

    def accessor(self, index: Any, where: str) -> Accessor:
        """The rows of accessor `index`, a view of the file.

        Raises:
            FormatError: It does not fit its buffer view, or is of a kind that is not read here.
        """
        accessor = self.item("accessors", index, where)
        name = f"accessors[{index}]"
        code = self.get(accessor, "componentType", int, name, None)
        shape = self.get(accessor, "type", str, name, None)
        if code not in COMPONENTS or shape not in WIDTHS:
            raise self.fail(f"{name}.type", f"cannot read {shape} of componentType {code}.")
        if "sparse" in accessor:
            raise self.fail(f"{name}.sparse", "sparse accessors are not read; store all rows.")
        count = self.size(accessor, "count", name, None)
        width, dtype = WIDTHS[shape], COMPONENTS[code]
        view_index = self.get(accessor, "bufferView", int, name, None)
        view = self.item("bufferViews", view_index, f"{name}.bufferView")
        data, offset = self.view(view_index, f"{name}.bufferView")
        start = self.size(accessor, "byteOffset", name)
        row = width * dtype.itemsize
        stride = self.size(view, "byteStride", f"bufferViews[{view_index}]", row)
        if not row <= stride <= _MAX_STRIDE:
            raise self.fail(
                f"bufferViews[{view_index}].byteStride",
                f"expected {row} to {_MAX_STRIDE} bytes, got {stride}.",
            )
        needed = start + (stride * (count - 1) + row if count else 0)
        if needed > len(data):
            raise self.fail(
                f"{name}.count",
                f"{count} rows need {needed} bytes of bufferViews[{view_index}], which has "
                f"{len(data)}.",
                offset,
            )
        rows = np.ndarray((count, width), dtype, data, start, (stride, dtype.itemsize))
        normalized = self.get(accessor, "normalized", bool, name, False)
        return Accessor(rows, normalized, name, offset + start)

    def view(self, index: int, where: str) -> tuple[NDArray[np.uint8], int]:
        """The bytes of buffer view `index`, and where they start in their file."""
        view = self.item("bufferViews", index, where)
        name = f"bufferViews[{index}]"
        number = self.get(view, "buffer", int, name, None)
        data, base = self._buffer(number, name)
        offset = self.size(view, "byteOffset", name)
        length = self.size(view, "byteLength", name, None)
        if offset + length > len(data):
            raise self.fail(
                f"{name}.byteLength",
                f"bytes {offset} to {offset + length} lie beyond the {len(data)} bytes of "
                f"buffers[{number}]; the file is truncated or damaged.",
                base,
            )
        return data[offset : offset + length], base + offset

    def _buffer(self, number: int, where: str) -> tuple[NDArray[np.uint8], int]:
        buffer = self.item("buffers", number, f"{where}.buffer")
        name = f"buffers[{number}]"
        length = self.size(buffer, "byteLength", name, None)
        embedded = "uri" not in buffer
        if number not in self._buffers:
            if embedded:
                offset, size = self._bin
                data = _mapped(self.path)[offset : offset + size]
            else:
                data = self._load_uri(self.get(buffer, "uri", str, name, None), name)
            self._buffers[number] = data
        data = self._buffers[number]
        if length > len(data):
            raise self.fail(
                f"{name}.byteLength",
                f"expected at most the {len(data)} bytes that are there, got {length}; "
                "the file is truncated or its binary part is missing.",
                self._bin[0] if embedded else 0,
            )
        return data[:length], self._bin[0] if embedded else 0

    def _load_uri(self, uri: str, name: str) -> NDArray[np.uint8]:
        if uri.startswith("data:"):
            head, _, payload = uri.partition(",")
            if not head.endswith(";base64"):
                raise self.fail(f"{name}.uri", f"expected base64 data, got {head[:40]!r}.")
            try:
                return np.frombuffer(base64.b64decode(payload, validate=True), np.uint8)
            except (binascii.Error, ValueError) as error:
                raise self.fail(f"{name}.uri", f"damaged base64 data ({error}).") from None
        relative = PurePosixPath(unquote(uri))
        inside = not relative.is_absolute() and ".." not in relative.parts and ":" not in uri
        if not inside or "\0" in str(relative) or "\\" in str(relative):
            raise self.fail(
                f"{name}.uri", f"expected a file below the folder of {self.path.name}, got {uri!r}."
            )
        target = self.path.parent / relative
        try:
            found = target.is_file()
        except OSError:
            found = False
        if not found:
            raise self.fail(f"{name}.uri", f"{target} is not there; keep both files together.")
        return _mapped(target)

    def _read_chunks(self, start: bytes) -> bytes:
        """The JSON chunk; notes where the binary chunk is."""
        if len(start) < GLB_HEADER.size:
            raise self.fail("header", f"the file ends after {len(start)} bytes; expected 12.", 0)
        _, version, length = GLB_HEADER.unpack(start)
        if version != 2:
            raise self.fail("version", f"expected 2, got {version}.", 4)
        if length > self.num_bytes:
            raise self.fail(
                "length",
                f"the header says {length} bytes, the file has {self.num_bytes}; it is truncated.",
                8,
            )
        chunks: dict[bytes, tuple[int, int]] = {}
        offset = GLB_HEADER.size
        with self.path.open("rb") as file:
            while offset + CHUNK_HEADER.size <= length and len(chunks) < 2:
                file.seek(offset)
                size, kind = CHUNK_HEADER.unpack(file.read(CHUNK_HEADER.size))
                if offset + CHUNK_HEADER.size + size > length:
                    raise self.fail(
                        "chunkLength",
                        f"chunk {kind!r} of {size} bytes passes byte {length}.",
                        offset,
                    )
                chunks.setdefault(kind, (offset + CHUNK_HEADER.size, size))
                offset += CHUNK_HEADER.size + size
            if next(iter(chunks), b"") != b"JSON":
                raise self.fail("chunkType", "expected the first chunk to be JSON.", 12)
            self.json_offset, size = chunks[b"JSON"]
            self._bin = chunks.get(b"BIN\0", (self.num_bytes, 0))
            self._check_json_size(size)
            file.seek(self.json_offset)
            return file.read(size)

    def _read_text(self) -> bytes:
        self._check_json_size(self.num_bytes)
        return self.path.read_bytes()

    def _check_json_size(self, size: int) -> None:
        if size > _MAX_JSON_BYTES:
            raise self.fail("JSON", f"expected at most {_MAX_JSON_BYTES} bytes, got {size}.")

    def _parse(self, text: bytes) -> dict[str, Any]:
        try:
            document = json.loads(text.decode("utf-8"), parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            at = self.json_offset + len(error.doc[: error.pos].encode())
            raise self.fail("JSON", f"{error.msg}; this is not a glTF file.", at) from None
        except UnicodeDecodeError as error:
            at = self.json_offset + error.start
            raise self.fail("JSON", "not UTF-8 text; this is not a glTF file.", at) from None
        except (ValueError, RecursionError) as error:
            raise self.fail("JSON", f"cannot be read ({error}).") from None
        if not isinstance(document, dict):
            raise self.fail("JSON", f"expected an object, got {_shown(document)}.")
        asset = self.get(document, "asset", dict, "", None)
        version = self.get(asset, "version", str, "asset", None)
        if not version.startswith("2."):
            raise self.fail("asset.version", f"expected 2.0, got {version!r}.")
        return document


def _mapped(path: Path) -> NDArray[np.uint8]:
    """The bytes of a file, read when touched."""
    if path.stat().st_size == 0:
        return np.empty(0, np.uint8)
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _shown(value: Any) -> str:
    text = repr(value)
    return "nothing" if value is None else text if len(text) <= 60 else f"{text[:57]}..."
