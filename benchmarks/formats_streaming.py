"""A scene too large for memory through the converters, each in a process of its own.

Run as `python -m benchmarks.formats_streaming FROM TO`; it converts and prints seconds and the most
resident bytes of the process, interpreter and torch included.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runs import peak_memory_bytes
from splats.formats import find_format
from splats.formats.conversion import Pictures, convert
from splats.formats.sources import InMemory
from splats.gaussians import Gaussians

from .command import CHECKOUT
from .metric import Metric
from .synthetic_splats import synthetic_scene

TARGETS = ("spz", "compressed.ply", "splat", "ksplat")
"""What the scene is converted to."""
_TILE = 1_000_000


@dataclass(frozen=True)
class _Tiled:
    """Copies of one scene side by side, as a `Source` that is never whole in memory."""

    tile: InMemory
    """The scene."""
    copies: int
    """How many, along x."""

    sh_degree = 3
    frame = "RDF"
    antialiased = False
    model = "3dgs"

    @property
    def num_primitives(self) -> int:
        """Gaussians of all copies."""
        return self.copies * self.tile.num_primitives

    def chunks(self, rows: int = 1 << 16) -> Iterator[Gaussians]:
        """All copies, one after the other."""
        for copy in range(self.copies):
            for chunk in self.tile.chunks(rows):
                means = chunk.means.clone()
                means[:, 0] += 3 * copy
                yield Gaussians(
                    means=means,
                    quats=chunk.quats,
                    log_scales=chunk.log_scales,
                    logit_opacities=chunk.logit_opacities,
                    sh0=chunk.sh0,
                    shN=chunk.shN,
                )


def run(*, quick: bool) -> Iterator[Metric]:
    """Seconds and memory to convert 20 million Gaussians of degree 3 from PLY.

    The limit is half of what their float32 numbers take.
    """
    count = 40_000 if quick else 20 * _TILE
    tile = min(count, _TILE)
    scene = _Tiled(InMemory(synthetic_scene(tile)), count // tile)
    half = 4 * 59 * count / 2
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.ply"
        find_format(path).write(scene, path)
        for ending in TARGETS:
            output = Path(folder) / f"large.{ending}"
            command = [sys.executable, "-m", __name__, str(path), str(output)]
            done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
            seconds, num_bytes = done.stdout.split()
            label = f"{count:,} Gaussians of degree 3, streamed from ply as {ending}"
            yield Metric(f"{label}: convert", float(seconds), "s", "lower", 0.3)
            limit = None if quick else half / 1e9
            yield Metric(f"{label}: peak memory", float(num_bytes) / 1e9, "GB", "lower", 0.1, limit)
            output.unlink()


def main() -> None:
    """Convert, and print seconds and bytes."""
    start = time.perf_counter()
    convert(Path(sys.argv[1]), Path(sys.argv[2]), pictures=Pictures(count=0))
    sys.stdout.write(f"{time.perf_counter() - start} {peak_memory_bytes()}\n")


if __name__ == "__main__":
    main()
