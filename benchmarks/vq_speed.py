"""Entropy coders and k-means: bits above the entropy, and speed beside the libraries that do the
same; every ratio is taken in turns within one run."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vq.entropy import AdaptiveCodec, PcodecCodec, order0_bits, rans
from vq.kmeans import kmeans

from .command import real_data
from .metric import Metric
from .timing import compare

DEVIATIONS = (0.5, 2, 8, 32)
"""Standard deviations of the modeled sources, in quantization steps."""
DIM = 45
"""Length of the vectors: the colors of degree 3 without the mean."""
CENTERS = 4096
"""Centers of the timed k-means."""


def run(*, quick: bool) -> Iterator[Metric]:
    """Entropy coders on modeled and real symbols, and k-means."""
    yield from coders(quick=quick)
    yield from clustering(quick=quick)


def coders(*, quick: bool) -> Iterator[Metric]:
    """Overhead and speed of the coders of whole arrays."""
    count = 50_000 if quick else 1_000_000
    for deviation in DEVIATIONS:
        symbols = np.rint(np.random.default_rng(0).normal(0, deviation, count)).astype(np.int32)
        yield _overhead(f"rans, rounded N(0, {deviation}^2), {count:,}", symbols, False, 0.1)
    yield from _speeds(np.rint(np.random.default_rng(0).normal(0, 8, count)).astype(np.int32))
    harmonics = real_harmonics()
    if harmonics is not None:
        yield _overhead("rans, real harmonics, a table per column", harmonics, True, 0.5)
        entropy = sum(order0_bits(column) for column in harmonics.T) / 8
        for codec in (AdaptiveCodec(), PcodecCodec()):
            excess = 100 * (len(codec.encode(harmonics)) / entropy - 1)
            yield Metric(f"{codec.name}, real harmonics, above order-0 entropy", excess, "%")


def _overhead(name: str, symbols: NDArray[Any], columns: bool, limit: float) -> Metric:
    """What the file takes beyond the order-0 entropy."""
    parts = list(symbols.T) if columns else [symbols]
    entropy = sum(order0_bits(part) for part in parts)
    excess = 100 * (8 * len(rans.encode(symbols, columns=columns)) / entropy - 1)
    return Metric(f"{name}, above order-0 entropy", excess, "%", "lower", 0.2, limit)


def _speeds(symbols: NDArray[np.int32]) -> Iterator[Metric]:
    """Encoding and decoding beside constriction and pcodec."""
    pcodec, data = PcodecCodec(), rans.encode(symbols)
    packed = pcodec.encode(symbols)
    theirs_encode, theirs_decode = _constriction(symbols)
    encode = compare(
        {
            "rans": lambda: rans.encode(symbols),
            "constriction": theirs_encode,
            "pcodec": lambda: pcodec.encode(symbols),
        }
    )
    decode = compare(
        {
            "rans": lambda: rans.decode(data),
            "constriction": theirs_decode,
            "pcodec": lambda: pcodec.decode(packed),
        }
    )
    millions = len(symbols) / 1e6
    limits = {"decode": 100.0, "encode": None}
    for verb, times in (("encode", encode), ("decode", decode)):
        rate = millions / times["rans"].best
        yield Metric(f"rans, {verb}", rate, "1e6 symbols/s", "higher", 0.3, limits[verb])
        for other in ("constriction", "pcodec"):
            ratio = times[other].best / times["rans"].best
            yield Metric(f"{other} / rans, time to {verb}", ratio, "x", "higher", 0.3)


def _constriction(
    symbols: NDArray[np.int32],
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Encoding and decoding through constriction's static ANS coder, table included in neither."""
    stream = importlib.import_module("constriction").stream
    shifted = (symbols - symbols.min()).astype(np.int32)
    counts = np.bincount(shifted).astype(np.float64)
    # Every symbol needs a probability above zero.
    model = stream.model.Categorical((counts + 1e-3) / (counts + 1e-3).sum(), perfect=False)

    def encode() -> NDArray[np.uint32]:
        coder = stream.stack.AnsCoder()
        coder.encode_reverse(shifted, model)
        return coder.get_compressed()

    compressed = encode()

    def decode() -> NDArray[np.int32]:
        return stream.stack.AnsCoder(compressed).decode(model, len(shifted))

    if not np.array_equal(decode(), shifted):
        raise RuntimeError("constriction did not give back the symbols.")
    return encode, decode


def clustering(*, quick: bool) -> Iterator[Metric]:
    """Seconds per iteration of k-means on correlated vectors, and the same for faiss."""
    count, centers = (20_000, 256) if quick else (1_000_000, CENTERS)
    iterations = 2 if quick else 25
    x = correlated(count)
    first, whole = (_seconds(x, centers, turns) for turns in (0, iterations))
    size = f"k-means, {count:,} x {DIM}, {centers:,} centers"
    yield Metric(f"{size}, setting up and the first search", first, "s", "lower", 0.3)
    yield Metric(
        f"{size}, mean of {iterations} iterations after it",
        (whole - first) / iterations,
        "s/iteration",
        "lower",
        0.3,
        0.5,
    )
    yield from _beside_faiss(x[: count // 10], centers)


def _seconds(x: torch.Tensor, centers: int, iterations: int) -> float:
    start = time.perf_counter()
    kmeans(x, centers, iterations=iterations)
    return time.perf_counter() - start


def _beside_faiss(x: torch.Tensor, centers: int) -> Iterator[Metric]:
    """Time and cost of faiss on a tenth of the points, all of which both use."""
    faiss = importlib.import_module("faiss")
    costs: dict[str, float] = {}

    def theirs() -> None:
        trained = faiss.Kmeans(
            DIM,
            centers,
            niter=10,
            seed=0,
            max_points_per_centroid=1 << 30,
            min_points_per_centroid=1,
        )
        trained.train(x.numpy())
        costs["faiss"] = float(trained.obj[-1]) / len(x)

    def ours() -> None:
        # Faiss reports the cost before its last update.
        costs["ours"] = kmeans(x, centers, iterations=10).history[-1]

    times = compare({"faiss": theirs, "ours": ours}, rounds=1)
    size = f"{len(x):,} x {DIM}, {centers:,} centers, 10 iterations"
    ratio = times["faiss"].best / times["ours"].best
    yield Metric(f"faiss / ours, k-means, {size}", ratio, "x", "higher", 0.3, 1.0)
    yield Metric(
        f"ours / faiss, cost, {size}", costs["ours"] / costs["faiss"], "x", "lower", 0.02, 1.02
    )


def correlated(count: int) -> torch.Tensor:
    """Vectors `[count, 45]` of 12 heavy-tailed factors and noise, as colors of a scene are."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(12, DIM)) * 0.8 ** np.arange(12)[:, None]
    factors = rng.laplace(size=(count, 12)).astype(np.float32)
    noise = 0.25 * rng.normal(size=(count, DIM)).astype(np.float32)
    return torch.from_numpy(factors @ mixing.astype(np.float32) + noise)


def real_harmonics() -> NDArray[np.uint8] | None:
    """Spherical harmonics of `toy-cat` as its compressed PLY stores them, `[n, 45]`."""
    path = real_data("splats/toy-cat/scene.compressed.ply")
    if path is None:
        return None
    # The element `sh` is the last of the file: 45 bytes per Gaussian.
    return np.frombuffer(path.read_bytes()[-23261 * DIM :], np.uint8).reshape(-1, DIM).copy()
