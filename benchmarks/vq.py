"""Vectors as bytes: distance from Shannon's bounds, real harmonics, rivals, speed, pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vq.plan import decode, encode, fit
from vq.scalar import DeadZoneCodec

from . import attributes, vq_sets, vq_shared, vq_speed
from .command import CHECKOUT, real_data
from .metric import Metric
from .vq_curves import OURS, Point, all_points, plan_point, shannon_bound, snr
from .vq_plots import plot
from .vq_rivals import sog_points, spz_points

ECSQ = {0.5: (2.09, 3.05), 1.0: (4.58, 2.42), 2.0: (10.51, 1.08), 4.0: (22.55, 0.259)}
"""Bits -> dB and step of entropy-constrained scalar quantization of N(0, 1), computed."""
TWO_STAGE = {11.0: 4.2, 14.3: 5.1, 22.2: 6.9, 31.1: 8.9}
"""b/G -> dB on the toy cat: a measured two-stage codec whose side information was not charged."""
IMAGES = CHECKOUT / "docs" / "images"


def run(*, quick: bool) -> Iterator[Metric]:
    """Physics, Gaussian curves, real harmonics, rivals, the shared codebook, sets, speed."""
    yield from _physics(20_000 if quick else 400_000)
    yield from _gaussian(quick)
    data = real_data("splats/toy-cat/scene.compressed.ply")
    if data is not None:
        root = data.parents[2]
        x = attributes.toy_cat(root)
        yield from _harmonics(x[:4000] if quick else x, quick)
        rates = (14.0,) if quick else (8.0, 14.0, 24.0)
        yield from vq_shared.rows_of_gain(vq_shared.scenes(root, 4000 if quick else None), rates)
        yield from _speed(x, 30_000 if quick else 1_000_000)
    yield from vq_sets.run(quick=quick)
    yield from vq_speed.run(quick=quick)


def _physics(count: int) -> Iterator[Metric]:
    """Scalar quantization against its table and against reverse water-filling."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=count).astype(np.float32)
    for rate, (quality, step) in ECSQ.items():
        # The encoder's rounding by rate asks for finer steps than the table's thresholds do.
        codes = [DeadZoneCodec(step * share).encode(x) for share in np.linspace(0.74, 1.04, 7)]
        found = sorted(
            (8 * len(code) / count, snr(x, DeadZoneCodec().decode(code))) for code in codes
        )
        gap = quality - float(np.interp(rate, *np.transpose(found)))
        name = f"below the ECSQ table, dead zone on N(0, 1), {rate:g} bits"
        yield Metric(name, gap, "dB", "lower", 0.5, 0.05)
    variances = 4.0 ** -np.arange(8)
    rows = (rng.normal(size=(count // 8, 8)) * np.sqrt(variances)).astype(np.float32)
    for step in (0.05, 0.3, 1.0):
        data = DeadZoneCodec(step).encode(rows)
        quality = snr(rows, DeadZoneCodec().decode(data))
        excess = 8 * len(data) / len(rows) - _least_bits(rows, quality)
        name = f"above reverse water-filling, Gaussian 8-d, dead zone at {quality:.1f} dB"
        yield Metric(name, excess / 8, "bit/dim", "lower", 0.1, 0.3)


def _gaussian(quick: bool) -> Iterator[Metric]:
    """All methods on Gaussian rows with a known bound."""
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    scaled = rng.normal(size=(2_000 if quick else 16_384, 12)) * 2.0 ** (-np.arange(12) / 2)
    x = (scaled @ turn).astype(np.float32)
    points = list(all_points(x, quick=quick))
    grid = np.linspace(0.1, 70, 700)
    bound = shannon_bound(np.cov(x.T.astype(np.float64)), grid)
    for point in points:
        if point.bits <= 40:
            gap = float(np.interp(point.bits, grid, bound)) - point.snr
            name = f"below Shannon, Gaussian 12-d: {point.method}, {point.bits:.2f} bits"
            yield Metric(name, gap, "dB", "lower", 0.2)
            excess = (point.bits - _least_bits(x, point.snr)) / x.shape[1]
            yield Metric(f"{name}, the same in bits", excess, "bit/dim", "lower", 0.2)
    if not quick:
        title = "Correlated Gaussian rows, 12 dimensions"
        path = IMAGES / "vq-gaussian.png"
        plot(points, path, title=title, widest=40, bound=(grid, bound))


def _harmonics(x: NDArray[np.float32], quick: bool) -> Iterator[Metric]:
    """Real harmonics of degree 3 by every method, and at few rows."""
    points = list(all_points(x, quick=quick))
    widest = max(point.bits for point in points if point.method == OURS)
    for rate, wanted in () if quick else TWO_STAGE.items():
        point = plan_point(x, rate)
        yield Metric(f"toy-cat harmonics at {rate:g} b/G", point.snr, "dB", "higher", 0.02, wanted)
    for point in points:
        if point.method != OURS and point.bits <= widest:
            name = f"dB above, at its rate, toy-cat: {point.method}, {point.bits:.2f} b/G"
            yield Metric(name, _at(points, point.bits) - point.snr, "dB", "higher", 0.2)
    rivals = [*spz_points(x), *sog_points(x, () if quick else (1024, 4096))]
    for point in rivals:
        ours = plan_point(x, point.bits)
        name = f"dB above {point.method} at its {point.bits:.0f} b/G, toy-cat harmonics"
        yield Metric(name, ours.snr - point.snr, "dB", "higher", 0.1, 0.0)
    for count in (1_000, 3_000, 10_000):
        part = x[:: max(1, len(x) // count)][:count]
        name = f"{count:,} rows of toy-cat harmonics at 22.2 b/G"
        yield Metric(name, plan_point(part, 22.2).snr, "dB", "higher", 0.05)
    if not quick:
        title = "Harmonics of degree 3 of a real splat (toy-cat, 45 dimensions)"
        rivals = [Point(p.method.split()[0], p.bits, p.snr) for p in rivals]
        plot([*points, *rivals], IMAGES / "vq-harmonics.png", title=title, widest=100)


def _speed(x: NDArray[np.float32], count: int) -> Iterator[Metric]:
    """Many rows: real ones over and over, slightly changed each time."""
    size = f"{count:,} x 45"
    rng = np.random.default_rng(0)
    rows = np.concatenate([x] * (-(-count // len(x))))[:count]
    rows = rows + 0.03 * rng.standard_normal(rows.shape, dtype=np.float32)
    for name, codebooks, limit in (("fast", (), 5.0), ("default", (256, 1024), 15.0)):
        start = time.perf_counter()
        plan = fit(rows, bits=20.0, codebooks=codebooks)
        data = encode(rows, plan)
        seconds = time.perf_counter() - start
        yield Metric(f"fit and encode {size}, {name} plan", seconds, "s", "lower", 0.3, limit)
        seconds = min(_seconds(lambda data=data: decode(data)) for _ in range(3))
        yield Metric(f"decode {size}, {name} plan", seconds, "s", "lower", 0.3, 0.7)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _least_bits(rows: NDArray[np.float32], quality: float) -> float:
    """Bits per row [n, d] that no code of Gaussian rows like these undercuts at `quality` dB."""
    grid = np.linspace(0.05, 100, 4000)
    bound = shannon_bound(np.cov(rows.T.astype(np.float64)), grid)
    return float(np.interp(quality, bound, grid))


def _at(points: Sequence[Point], bits: float) -> float:
    """Our quality at a rate, between measured ones."""
    ours = sorted((point.bits, point.snr) for point in points if point.method == OURS)
    rates, qualities = zip(*ours, strict=True)
    return float(np.interp(bits, np.array(rates), np.array(qualities)))
