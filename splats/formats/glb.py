"""glTF with the extension KHR_gaussian_splatting: `.glb`, or `.gltf` beside a `.bin`.

The standard scene container for splats: linear scales, opacities and unit quaternions xyzw in
float32, all rows of an attribute together, axes LUF (+Y up, +Z forward). Nodes place primitives;
reading applies their transforms. Reading also takes the integer types that the specification
allows, and COLOR_0 where harmonics are missing.

Reference: github.com/KhronosGroup/glTF, extensions/2.0/Khronos/KHR_gaussian_splatting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from runs.files import replacing

from ..gaussians import Gaussians
from .activation import bounds_of, tags_of
from .contract import ROWS_PER_CHUNK, FileSummary, LossReport, Source, refuse_existing
from .frames import in_frame
from .gltf_container import CHUNK_HEADER, GLB_HEADER, GLB_MAGIC, GltfFile
from .gltf_output import attributes_of, binary_bytes, describe, write_binary
from .gltf_splats import MAX_DEGREE, SplatPrimitive, read_primitives

FRAME = "LUF"
"""Axes of glTF: +X left when looking along +Z, +Y up, +Z forward."""

_MAX_BYTES = (1 << 32) - 1  # lengths of a GLB file are 32-bit


@dataclass(frozen=True)
class GltfOptions:
    """What a glTF writer lets one choose."""

    fallback_colors: bool = True
    """Add COLOR_0, 4 bytes per Gaussian, so that viewers without splats show colored points."""


@dataclass(frozen=True)
class GltfSource:
    """An open glTF file as a `Source`."""

    file: GltfFile
    """Checked JSON and buffers."""
    primitives: tuple[SplatPrimitive, ...]
    """The splat primitives of its scene."""
    frame: str = FRAME
    """Axes of glTF."""

    @property
    def num_primitives(self) -> int:
        """Number of Gaussians in all primitives."""
        return sum(map(len, self.primitives))

    @property
    def sh_degree(self) -> int:
        """Highest degree of any primitive; the others are padded with zeros."""
        return max(primitive.sh_degree for primitive in self.primitives)

    @property
    def antialiased(self) -> bool:
        """Whether every primitive says so in its `extras`."""
        return all(primitive.antialiased for primitive in self.primitives)

    @property
    def model(self) -> str:
        """ "2dgs" where every primitive says so in its `extras`."""
        flat = all(primitive.model == "2dgs" for primitive in self.primitives)
        return "2dgs" if flat else "3dgs"

    def chunks(self, rows: int = ROWS_PER_CHUNK) -> Iterator[Gaussians]:
        """All Gaussians, primitive after primitive, moved to where their nodes are."""
        for primitive in self.primitives:
            for start in range(0, len(primitive), rows):
                stop = min(start + rows, len(primitive))
                yield primitive.chunk(start, stop, sh_degree=self.sh_degree)


class GltfFormat:
    """KHR_gaussian_splatting as a `Format`."""

    suffixes = (".glb", ".gltf")
    magic = GLB_MAGIC
    Options = GltfOptions

    def open(self, path: Path) -> GltfSource:
        """The splats of the default scene."""
        file = GltfFile(path)
        return GltfSource(file, tuple(read_primitives(file)))

    def write(
        self,
        source: Source,
        path: Path,
        *,
        options: GltfOptions | None = None,
        overwrite: bool = False,
    ) -> LossReport:
        """Write one primitive under one node; `.gltf` gets its numbers in a `.bin` beside it.

        Quaternions are normalized; everything else is float32 of the activated values, so that
        reading it gives back the same image.
        """
        options = options or GltfOptions()
        binary = path.with_suffix(".bin") if path.suffix.lower() == ".gltf" else None
        for target in (path, binary):
            if target is not None:
                refuse_existing(target, overwrite=overwrite)
        source = in_frame(source, FRAME)
        count = source.num_primitives
        if count == 0:
            raise ValueError("a glTF accessor holds at least one row, the scene has no Gaussians.")
        if source.sh_degree > MAX_DEGREE:
            raise ValueError(
                f"glTF holds harmonics up to degree {MAX_DEGREE}, got {source.sh_degree}; lower "
                f"the degree (--sh-degree {MAX_DEGREE})."
            )
        attributes = attributes_of(source.sh_degree, fallback_colors=options.fallback_colors)
        text = describe(
            attributes,
            count,
            bounds_of(source),
            tags=tags_of(source),
            uri=None if binary is None else quote(binary.name),
        )
        if binary is not None:
            with replacing(binary) as file:
                write_binary(file, 0, attributes, source)
            with replacing(path) as file:
                file.write(text + b"\n")
            return _report(path, path.stat().st_size + binary.stat().st_size)
        text += b" " * (-len(text) % 4)
        size = binary_bytes(attributes, count)
        start = GLB_HEADER.size + CHUNK_HEADER.size + len(text) + CHUNK_HEADER.size
        if start + size > _MAX_BYTES:
            raise ValueError(
                f"a GLB file holds at most {_MAX_BYTES} bytes, the scene takes {start + size}; "
                "write .gltf, which keeps the numbers in a file of their own."
            )
        with replacing(path) as file:
            file.write(GLB_HEADER.pack(GLB_MAGIC, 2, start + size))
            file.write(CHUNK_HEADER.pack(len(text), b"JSON") + text)
            file.write(CHUNK_HEADER.pack(size, b"BIN\0"))
            write_binary(file, start, attributes, source)
        return _report(path, path.stat().st_size)

    def summarize(self, path: Path) -> FileSummary:
        """What the JSON says, and the sizes of the attributes that lie in the file itself."""
        source = self.open(path)
        sections: dict[str, int] = {}
        for primitive in source.primitives:
            sections["JSON"] = path.stat().st_size
            if path.suffix.lower() == ".gltf":
                continue
            colors = {f"color {i}": accessor for i, accessor in enumerate(primitive.colors)}
            for name, accessor in (primitive.attributes | colors).items():
                kind = "COLOR" if name.startswith("color") else name
                sections[kind] = sections.get(kind, 0) + accessor.rows.nbytes
        used = sum(size for name, size in sections.items() if name != "JSON")
        sections["JSON"] = path.stat().st_size - used
        if sections["JSON"] < 0:  # rows that several attributes share count once
            sections = {"file": path.stat().st_size}
        elif used:
            sections["JSON, headers and other"] = sections.pop("JSON")
        asset = source.file.document["asset"]
        details = {"container": path.suffix.lower().lstrip(".")}
        if isinstance(asset.get("generator"), str):
            details["generator"] = asset["generator"]
        return FileSummary(
            num_primitives=source.num_primitives,
            sh_degree=source.sh_degree,
            antialiased=source.antialiased,
            frame=FRAME,
            model=source.model,
            sections=sections,
            details=details,
        )


def _report(path: Path, num_bytes: int) -> LossReport:
    return LossReport(path, num_bytes, max_errors=None)
