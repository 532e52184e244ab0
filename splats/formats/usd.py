"""OpenUSD ParticleField splats: `.usda` text, `.usdz` packages of it, and binary `.usdc`.

One prim of type ParticleField3DGaussianSplat per scene: linear scales, opacities, unit quaternions
wxyz and harmonics in float32. The axes follow the stage's up axis. Text and packages need nothing;
binary layers need OpenUSD (`pip install "fieldwright[usd]"`).

Reference: openusd.org, usdVol (26.03), and "Usdz File Format Specification".
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from runs.files import replacing

from .contract import FileSummary, FormatError, LossReport, Source, refuse_existing
from .frames import in_frame
from .usd_crate import MAGIC, convert_layer
from .usd_output import Sink, write_layer
from .usd_splats import FRAMES, UsdSource, open_layer
from .usd_text import UsdText

_ALIGNMENT = 64
_LOCAL_HEADER_BYTES = 30
_PADDING_ID = 0x1986
_ZIP_MAGIC = b"PK\x03\x04"
_LAYERS = (".usda", ".usdc", ".usd")


@dataclass(frozen=True)
class UsdOptions:
    """What a USD writer lets one choose."""

    up_axis: Literal["Y", "Z"] = "Y"
    """Which axis of the stage points up."""


class UsdFormat:
    """ParticleField splats in USD as a `Format`."""

    suffixes = (".usda", ".usdz", ".usdc", ".usd")
    magic = b"#usda"
    Options = UsdOptions

    def open(self, path: Path) -> UsdSource:
        """The splats of the layer, or of the first layer of a package."""
        with path.open("rb") as file:
            start = file.read(len(MAGIC))
        if start.startswith(_ZIP_MAGIC):
            offset, size = _first_layer(path)
            return open_layer(_layer(path, offset, size))
        return open_layer(_layer(path, 0, None))

    def write(
        self,
        source: Source,
        path: Path,
        *,
        options: UsdOptions | None = None,
        overwrite: bool = False,
    ) -> LossReport:
        """Write one layer; the end of the name chooses its form.

        Quaternions are normalized; everything else is float32 of the activated values.
        """
        options = options or UsdOptions()
        refuse_existing(path, overwrite=overwrite)
        if source.num_primitives == 0:
            raise ValueError("a USD scene here holds at least one Gaussian, this one has none.")
        source = in_frame(source, FRAMES[options.up_axis])
        suffix = path.suffix.lower()
        if suffix in (".usdc", ".usd"):
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                text, binary = Path(folder) / "scene.usda", Path(folder) / "scene.usdc"
                with text.open("wb") as file:
                    write_layer(file, source, up_axis=options.up_axis)
                convert_layer(text, binary, blame=path)
                with replacing(path) as file, binary.open("rb") as written:
                    while data := written.read(1 << 20):
                        file.write(data)
        else:
            with replacing(path) as file:
                if suffix == ".usdz":
                    with _packaged(file, "scene.usda") as layer:
                        write_layer(layer, source, up_axis=options.up_axis)
                else:
                    write_layer(file, source, up_axis=options.up_axis)
        return LossReport(path, path.stat().st_size, max_errors=None)

    def summarize(self, path: Path) -> FileSummary:
        """What the layer says; its arrays are counted, not parsed."""
        source = self.open(path)
        num_bytes = path.stat().st_size
        sections: dict[str, int] = {}
        if not source.layer.is_converted:
            for prim in source.prims:
                for name in prim.prim.properties:
                    if (found := prim.array(name)) is not None:
                        sections[name] = found[0].stop - found[0].start
        sections["other" if sections else "layer"] = num_bytes - sum(sections.values())
        return FileSummary(
            num_primitives=source.num_primitives,
            sh_degree=source.sh_degree,
            antialiased=source.antialiased,
            frame=source.frame,
            sections=sections,
            model=source.model,
        )


def _layer(path: Path, offset: int, size: int | None) -> UsdText:
    """The layer at `offset` as text, converted where it is binary."""
    with path.open("rb") as file:
        file.seek(offset)
        is_binary = file.read(len(MAGIC)) == MAGIC
        if not is_binary:
            return UsdText(path, start=offset, size=size)
        with tempfile.TemporaryDirectory() as folder:
            binary, text = Path(folder) / "layer.usdc", Path(folder) / "layer.usda"
            file.seek(offset)
            left = path.stat().st_size - offset if size is None else size
            with binary.open("wb") as copy:
                while left and (data := file.read(min(left, 1 << 20))):
                    copy.write(data)
                    left -= len(data)
            convert_layer(binary, text, blame=path)
            return UsdText(text, blame=path)  # mapped: it outlives its folder


def _first_layer(path: Path) -> tuple[int, int]:
    """Offset and size of the first file of a package, which must be a layer."""
    try:
        with zipfile.ZipFile(path) as package:
            entries = sorted(package.infolist(), key=lambda entry: entry.header_offset)
            if not entries or not entries[0].filename.lower().endswith(_LAYERS):
                raise FormatError(
                    path, "expected a USD layer as first file.", field="package", offset=0
                )
            entry = entries[0]
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise FormatError(
                    path,
                    "files in a USD package are stored, not compressed or encrypted.",
                    field=entry.filename[:80],
                    offset=entry.header_offset,
                )
            # What `open` checks: that the local header agrees with the directory.
            with package.open(entry):
                pass
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(path, f"damaged package ({error}).", field="zip", offset=0) from None
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        header = file.read(_LOCAL_HEADER_BYTES)
    name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    offset = entry.header_offset + _LOCAL_HEADER_BYTES + name + extra
    if offset + entry.file_size > path.stat().st_size:
        raise FormatError(
            path,
            f"the layer of {entry.file_size} bytes passes the end of the file.",
            field=entry.filename[:80],
            offset=entry.header_offset,
        )
    return offset, entry.file_size


@contextmanager
def _packaged(file: BinaryIO, name: str) -> Iterator[Sink]:
    """A file inside a new package whose bytes start at a multiple of 64, as USD maps them."""
    entry = zipfile.ZipInfo(name)  # dated 1980: the same scene gives the same bytes
    entry.compress_type = zipfile.ZIP_STORED
    used = _LOCAL_HEADER_BYTES + len(name) + 4
    padding = -used % _ALIGNMENT
    entry.extra = b"".join(part.to_bytes(2, "little") for part in (_PADDING_ID, padding)) + bytes(
        padding
    )
    with zipfile.ZipFile(file, "w", allowZip64=False) as package:
        with package.open(entry, "w") as member:
            yield member
