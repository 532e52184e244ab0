"""Bytes around the sections: prologue, alignment, digests and the limits of version 1.

The byte-level specification is docs/asset-format.md.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

MAGIC = b"\x89FWA\r\n\x1a\n"
"""High bit, line ends and control-Z show a file that was mangled as text (as in PNG)."""
VERSION = 1
ALIGNMENT = 8
"""Every section starts at a multiple of this; the gap before it is zero."""
DIGEST_BYTES = 8

MAX_HEADER_BYTES = 1 << 20
MAX_SECTIONS = 4096
MAX_ARRAYS = 1024
MAX_NODES = 8192
MAX_DEPTH = 64
"""Deepest nesting of JSON values in a header; two levels per node of a graph."""
MAX_DIMENSIONS = 8
MAX_FILE_BYTES = 1 << 62

_PROLOGUE = struct.Struct("<8sIIQ8s")
PROLOGUE_BYTES = _PROLOGUE.size


@dataclass(frozen=True)
class Prologue:
    """The first 32 bytes of a file."""

    version: int
    """Format version."""
    header_bytes: int
    """Length of the header that follows."""
    file_bytes: int
    """Length of the whole file."""
    digest: bytes
    """Digest of the fields above and the header."""

    @classmethod
    def unpack(cls, data: bytes) -> Prologue:
        """The fields in the first `PROLOGUE_BYTES` bytes of a file, behind the magic."""
        return cls(*_PROLOGUE.unpack(data)[1:])


def pack_prologue(header: bytes, file_bytes: int) -> bytes:
    """The first 32 bytes of a file with this header."""
    fields = (MAGIC, VERSION, len(header), file_bytes)
    start = _PROLOGUE.pack(*fields, b"")[:-DIGEST_BYTES]
    return start + digest(start + header)


def header_digest(prologue: bytes, header: bytes) -> bytes:
    """What the prologue's digest must be."""
    return digest(prologue[: PROLOGUE_BYTES - DIGEST_BYTES] + header)


def digest(data: bytes | memoryview) -> bytes:
    """BLAKE2b of `data`, 8 bytes."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def aligned(offset: int) -> int:
    """The next place at or after `offset` where a section may start."""
    return -(-offset // ALIGNMENT) * ALIGNMENT
