"""Compact splats: rate and distortion of every method and format on real captures and files.

Trainings take a number of steps, so that their results do not depend on what else the machine does;
finished ones are kept (`compact_runs.CACHE`), and a run that was cut off continues where it was.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

from runs import read_metrics
from splats.compact.compress import DEFAULT_LOSS, PHOTO_ERROR, Compressor, Goal
from splats.compact.judge import error_of_loss, judge_without_photos
from splats.formats import load
from splats.scene import SplatScene

from .command import fieldwright, real_data
from .compact_curves import beside, beside_vanilla, bytes_at, means
from .compact_pages import draw, series, write_tables
from .compact_parts import parts
from .compact_posthoc import posthoc, speed
from .compact_runs import (
    BARS,
    VANILLA,
    Run,
    Scene,
    Scored,
    derived,
    scored,
    trained,
    training_times,
)
from .metric import Metric

SCENES = (Scene("fox", 4), Scene("lego_400", 1), Scene("dance_rig", 1))
STEPS, QUICK_STEPS = 1500, 300
"""About two minutes each on two cores; longer trainings lose less to rounding."""
TIMED_STEPS = {1000: ("splats", "compact", "compact3d", "c3dgs"), 7000: ("splats", "compact")}
"""Lengths of trainings whose time is compared, which nothing else may disturb, and of which
methods: a short one, and what a training takes that names no limit."""
RIVALS = {
    "c3dgs plain": ("c3dgs", "plain.fwa", ()),
    "c3dgs": ("c3dgs", "scene.fwa", ()),
    "c3dgs of the paper": ("c3dgs", "scene.fwa", ("--no-base-colors", "--settle", "1")),
    "compact3d": ("compact3d", "scene.fwa", ()),
    "compact3d of the paper": (
        "compact3d",
        "scene.fwa",
        ("--codes", 4096, "--codes-sh", 512, "--quantize-from", 0.5),
    ),
}
"""Method, file and flags."""
SIZES = (0.5, 0.575, 0.65, 0.8, 1.4, 2.0, 3.0)
"""Further points of the curve of `compact`: target sizes as shares of its default size, close to
each other where rivals are matched."""
SMALL_LOSS = 0.05
"""Decibels at which the bits of a trained Gaussian are stated."""
FORMATS = {
    "SPZ v4": ("scene.v4.spz", "version=4"),
    "SPZ v3": ("scene.v3.spz", "version=3"),
    "SOG": ("scene.sog", None),
    "compressed PLY": ("scene.compressed.ply", None),
}
LOSSES = (0.1, 0.3)
"""Decibels that `compress` may lose."""


def run(*, quick: bool) -> Iterator[Metric]:
    """Captures, then files without photos, then what each part earns."""
    captured: list[_Captured] = []
    points: dict[str, dict[str, Scored]] = {}
    for scene in (Scene("fox", 8),) if quick else SCENES:
        data = real_data(f"scenes/{scene.name}")
        if data is None:
            continue
        captured.append(_Captured(scene, data, QUICK_STEPS if quick else STEPS))
        yield from captured[-1].rows()
        points = {capture.scene.name: capture.points for capture in captured}
        if not quick:
            write_tables(points)
            draw(points)
    if captured and not quick:
        yield from means("", list(points.values()))
    yield from posthoc(quick=quick)
    # From here on times: nothing else may disturb, and nothing is kept.
    yield from speed(quick=quick)
    for capture in captured:
        yield from capture.coding_times()
    for capture in captured[:1]:
        for steps, methods in ({100: ("splats", "compact")} if quick else TIMED_STEPS).items():
            label = capture.scene.name
            yield from training_times(label, capture.scene, capture.data, steps, methods)


class _Captured:
    """Everything on one capture."""

    def __init__(self, scene: Scene, data: Path, steps: int) -> None:
        self.scene, self.data, self.steps = scene, data, steps
        self.points: dict[str, Scored] = {}

    def rows(self) -> Iterator[Metric]:
        """Vanilla and what formats make of it, the compact methods, and comparisons."""
        for name, flags in VANILLA.values():
            ply = self._train("splats", *flags).folder / "scene.ply"
            yield from self._row(name, scored(ply, self.scene, self.data))
        vanilla = self._train("splats")
        for name, (file, option) in FORMATS.items():
            flags = ["--views", 0, *([] if option is None else ["--option", option])]
            path, _ = derived(vanilla, file, "convert", *flags)
            yield from self._row(name, scored(path, self.scene, self.data))
        yield from self._compressed(vanilla, self.points["vanilla PLY"])
        compact = self._train("compact")
        yield from self._row("compact", compact.scored)
        yield from _honesty(self.scene.name, compact)
        yield from beside_vanilla(self.scene.name, "compact", self.points)
        yield from self._rivals()
        yield from self._curve(compact)
        yield from self._beside_rivals()
        yield from self._bits()
        if self.scene.name == "fox":
            yield from self._ablations(compact)

    def _train(self, method: str, *flags: object) -> Run:
        return trained(self.scene, self.data, method, self.steps, flags)

    def _row(self, name: str, found: Scored) -> Iterator[Metric]:
        self.points[name] = found
        label = f"{self.scene.name}: {name}"
        yield Metric(f"{label}: size", found.num_bytes, "B", "lower", 0.05)
        yield Metric(f"{label}: PSNR", found.psnr, "dB", "higher", 0.01)
        yield Metric(f"{label}: SSIM", found.ssim, "", "higher", 0.01)
        bits = 8 * found.num_bytes / max(1, found.num_primitives)
        yield Metric(f"{label}: bits per Gaussian", bits, "bit", "lower", 0.05)

    def _compressed(self, vanilla: Run, plain: Scored) -> Iterator[Metric]:
        """`fieldwright compress` without photos, at stated losses."""
        limits = dict(zip(LOSSES, (80.0, 50.0), strict=True))
        for loss in LOSSES:
            path, found = derived(vanilla, f"scene.{loss}.fwa", "compress", "--quality", loss)
            name = f"compress {loss} dB"
            yield from self._row(name, result := scored(path, self.scene, self.data))
            label = f"{self.scene.name}: {name}"
            bits = 8 * found["num_bytes"] / plain.num_primitives
            title = f"{label}: bits per Gaussian of the source"
            yield Metric(title, bits, "bit", "lower", 0.05, limits[loss])
            missed = 10 ** (-found["render_psnr"] / 10) / PHOTO_ERROR
            title = f"{label}: loss in renders, photos being matched at 30 dB"
            yield Metric(title, 10 * math.log10(1 + missed), "dB", "lower", 0.5, loss)
            lost = plain.psnr - result.psnr
            yield Metric(f"{label}: loss against photos", lost, "dB", "lower", 0.5, loss)
        yield from self._refined(vanilla, plain)

    def _refined(self, vanilla: Run, plain: Scored) -> Iterator[Metric]:
        """`fieldwright compress --data`, which trains on the photos again while it rounds."""
        loss = LOSSES[-1]
        photos = ("--data", self.data, "--downscale", self.scene.downscale)
        file = f"scene.{loss}.photos.fwa"
        path, found = derived(vanilla, file, "compress", "--quality", loss, *photos)
        name = "compressed with photos"
        yield from self._row(name, result := scored(path, self.scene, self.data))
        label = f"{self.scene.name}: {name}"
        bits = 8 * found["num_bytes"] / plain.num_primitives
        yield Metric(f"{label}: bits per Gaussian of the source", bits, "bit", "lower", 0.05)
        lost = plain.psnr - result.psnr
        yield Metric(f"{label}: loss against photos", lost, "dB", "lower", 0.5, loss)

    def _curve(self, compact: Run) -> Iterator[Metric]:
        """`compact` at other sizes, and how well it hits them."""
        for share in SIZES:
            target = round(share * compact.scored.num_bytes)
            found = self._train("compact", "--target-size", target)
            name = f"compact {share:g}"
            yield from self._row(name, found.scored)
            used = found.scored.num_bytes / target
            label = f"{self.scene.name}: {name}: size over target"
            yield Metric(f"{label}, least", used, "x", "higher", 0.01, 0.98)
            yield Metric(f"{label}, most", used, "x", "lower", 0.01, 1.0)

    def _rivals(self) -> Iterator[Metric]:
        """The published methods."""
        for name, (method, file, flags) in RIVALS.items():
            run = self._train(method, *flags)
            yield from self._row(name, scored(run.folder / file, self.scene, self.data))
            bars = BARS.get(name, (None, None))
            yield from beside_vanilla(self.scene.name, name, self.points, *bars)

    @property
    def _ours(self) -> list[Scored]:
        """The curve of `compact`."""
        return [row for name, row in self.points.items() if series(name) == "compact"]

    def _beside_rivals(self) -> Iterator[Metric]:
        """The curve of `compact` against them."""
        for name in RIVALS:
            label = f"{self.scene.name}: compact beside {name}"
            yield from beside(label, self._ours, self.points[name])

    def _bits(self) -> Iterator[Metric]:
        """Of the curve of `compact` where it loses hardly anything."""
        for of, (file, _) in VANILLA.items():
            vanilla = self.points[file]
            size = bytes_at(self._ours, vanilla.psnr - SMALL_LOSS)
            if size is not None:
                bits = 8 * size / vanilla.num_primitives
                label = f"{self.scene.name}: compact: bits per Gaussian of {of}"
                yield Metric(f"{label} at {SMALL_LOSS} dB loss", bits, "bit", "lower", 0.05, 32.0)

    def _ablations(self, compact: Run) -> Iterator[Metric]:
        """What rounding inside the training earns, and the parts of the coder."""
        target = compact.scored.num_bytes
        late = self._train("compact", "--target-size", target, "--quantize-from", 0.999)
        yield from self._row("compact, rounded after training", late.scored)
        earned = compact.scored.psnr - late.scored.psnr
        label = f"{self.scene.name}: rounding in the loop earns at equal size"
        yield Metric(label, earned, "dB", "higher", 0.3)
        yield from parts(self.scene.name, compact.scene)
        yield from self._one_step_for_all()

    def _one_step_for_all(self) -> Iterator[Metric]:
        """`compress` at the first of the losses, without grading."""
        gaussians = load(self._train("splats").folder / "scene.ply")
        judge = judge_without_photos(SplatScene(gaussians))
        error = error_of_loss(LOSSES[0], error=PHOTO_ERROR)
        for name, graded in (("graded steps", True), ("one step for all", False)):
            data, _ = Compressor(judge, False, graded=graded).fit_error(error, Goal())
            label = f"{self.scene.name}: compress {LOSSES[0]} dB with {name}"
            yield Metric(label, 8 * len(data) / len(gaussians), "bit", "lower", 0.05)

    def coding_times(self) -> Iterator[Metric]:
        """Seconds of `compress` on the vanilla scene, and of reading what it wrote."""
        vanilla = self._train("splats")
        with tempfile.TemporaryDirectory() as folder:
            found = fieldwright("compress", vanilla.scene, Path(folder) / "scene.fwa")
        label = f"{self.scene.name}: compress {DEFAULT_LOSS} dB"
        yield Metric(f"{label}: encode", found["encode_seconds"], "s", "lower", 0.5)
        yield Metric(f"{label}: decode", found["decode_seconds"], "s", "lower", 0.5)


def _honesty(scene: str, compact: Run) -> Iterator[Metric]:
    """How far the rate term of the training was from the file."""
    rows = [row for row in read_metrics(compact.folder / "metrics.jsonl") if row]
    found = [row["estimated_bytes"] for row in rows if row.get("estimated_bytes")]
    if found:
        away = abs(found[-1] / compact.scored.num_bytes - 1)
        yield Metric(f"{scene}: compact: rate term off the file by", away, "of it", "lower", 1, 0.1)
