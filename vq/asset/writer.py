"""Writing asset files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..contract import Codec
from .array_type import ArrayType
from .codecs import DependentCodec, find_codec
from .graph import Coded, Node
from .header import Header, Section
from .layout import PROLOGUE_BYTES, aligned, digest, pack_prologue


class AssetWriter:
    """Collects sections, most important first, and the arrays made of them.

    >>> import numpy as np
    >>> writer = AssetWriter("example")
    >>> writer.array("ramp", writer.encode("ramp", np.arange(3), "raw"))
    >>> from vq.asset import open_asset
    >>> open_asset(writer.to_bytes()).array("ramp")
    array([0, 1, 2])
    """

    def __init__(
        self,
        kind: str,
        *,
        frame: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin a file.

        Args:
            kind: Kind of representation, for example "splats".
            frame: Coordinate frame, in the terms of the kind.
            properties: Further facts, in the terms of the kind.
            provenance: Which program made it, from what, how. All three hold JSON values.
        """
        self._kind = kind
        self._frame = dict(frame or {})
        self._properties = dict(properties or {})
        self._provenance = dict(provenance or {})
        self._sections: dict[str, bytes] = {}
        self._arrays: dict[str, Node] = {}

    def section(self, name: str, data: bytes) -> None:
        """Append a section of any bytes.

        Raises:
            ValueError: The name is taken.
        """
        if name in self._sections:
            raise ValueError(f"section `{name}` exists; give each section a name of its own.")
        self._sections[name] = bytes(data)

    def encode(
        self,
        name: str,
        array: NDArray[Any],
        codec: str | Codec | DependentCodec,
        *,
        inputs: Sequence[tuple[Node, NDArray[Any]]] = (),
    ) -> Coded:
        """Append a section that holds `array`, and return the leaf that decodes it.

        Args:
            name: Of the section.
            array: What to encode.
            codec: A codec, or the name of an installed one with its default settings.
            inputs: For a codec that knows other arrays beforehand (`num_inputs` of them): how each
                is decoded, and what that gives.

        Raises:
            ValueError: The name is taken, or the codec cannot hold the array.
        """
        codec = find_codec(codec) if isinstance(codec, str) else codec
        nodes, known = tuple(node for node, _ in inputs), [values for _, values in inputs]
        leaf = Coded(name, codec.name, ArrayType.of(array), nodes)
        self.section(name, codec.encode(array, *known))
        return leaf

    def array(self, name: str, node: Node) -> None:
        """Declare an array and how it is decoded.

        Raises:
            ValueError: The name is taken.
        """
        if name in self._arrays:
            raise ValueError(f"array `{name}` exists; give each array a name of its own.")
        self._arrays[name] = node

    def to_bytes(self) -> bytes:
        """The whole file; equal content gives equal bytes.

        Raises:
            ValueError: A name or value that the header cannot hold, or a graph that uses a section
                that was not added.
        """
        entries = tuple(
            Section(name, len(data), digest(data)) for name, data in self._sections.items()
        )
        header = Header(
            self._kind, self._frame, entries, self._arrays, self._properties, self._provenance
        ).to_bytes()
        end = PROLOGUE_BYTES + len(header)
        parts = [header]
        for data in self._sections.values():
            parts += [bytes(aligned(end) - end), data]
            end = aligned(end) + len(data)
        return b"".join([pack_prologue(header, end), *parts])

    def write(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the file under a temporary name and move it into place.

        Raises:
            FileExistsError: `path` exists and `overwrite` is False.
        """
        path = Path(path)
        if path.exists() and not overwrite:
            raise FileExistsError(
                f"{path} exists; choose another name or pass overwrite=True (--overwrite)."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        try:
            temporary.write_bytes(self.to_bytes())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return path
