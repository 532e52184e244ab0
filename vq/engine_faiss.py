"""Faiss as an engine for training codebooks, in the encoder only.

Faiss learns residual, product and local-search codebooks faster than plain PyTorch. What comes back
is plain numpy: decoding never needs faiss. Two of its defaults are overridden everywhere: it
silently trains on 256 points per center, and it prints warnings when there are fewer than 39.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

EVERY_POINT = 1 << 30
"""Points per center: faiss's own limit is 256."""
BEAM = 5
"""Candidates kept while the stages of a residual code are chosen."""


@dataclass(frozen=True)
class ProductCodebooks:
    """Codebooks of parts of a rotated vector: x R is cut into groups, each coded by itself."""

    codes: Float[np.ndarray, "groups k width"]
    """One codebook per group."""
    rotation: Float[np.ndarray, "dim dim"]
    """R, orthogonal; the identity where none was learned."""

    def encode(self, x: Float[np.ndarray, "n dim"]) -> Int[np.ndarray, "n groups"]:
        """The nearest code of every group, int64."""
        groups, _, width = self.codes.shape
        parts = (x @ self.rotation).reshape(len(x), groups, width)
        columns = [assign(parts[:, g], self.codes[g]) for g in range(groups)]
        return np.stack(columns, axis=1)

    def decode(self, indices: Int[np.ndarray, "n groups"]) -> Float[np.ndarray, "n dim"]:
        """Vectors of indices."""
        parts = self.codes[np.arange(len(self.codes)), indices]
        return parts.reshape(len(indices), -1) @ self.rotation.T


@dataclass(frozen=True)
class AdditiveCodebooks:
    """Codebooks whose chosen codes add up to the vector."""

    codes: Float[np.ndarray, "stages k dim"]
    """One codebook per stage."""
    engine: Any
    """Faiss's trained quantizer, which knows how to search."""

    def encode(self, x: Float[np.ndarray, "n dim"]) -> Int[np.ndarray, "n stages"]:
        """Codes of every stage, int64, as faiss searches them."""
        stages, k, _ = self.codes.shape
        bits = k.bit_length() - 1
        packed = self.engine.compute_codes(_rows(x))
        flat = np.unpackbits(packed, axis=1, bitorder="little")[:, : stages * bits]
        return flat.reshape(len(x), stages, bits).astype(np.int64) @ (1 << np.arange(bits))

    def decode(self, indices: Int[np.ndarray, "n stages"]) -> Float[np.ndarray, "n dim"]:
        """Sums of the codes of any number of leading stages."""
        used = indices.shape[1]
        return self.codes[np.arange(used), indices].sum(1, dtype=np.float32)


def train_kmeans(
    x: Float[np.ndarray, "n dim"], k: int, *, iterations: int = 25, seed: int = 0
) -> Float[np.ndarray, "k dim"]:
    """k-means centers, learned from every point.

    Raises:
        ImportError: faiss is not installed.
        ValueError: There are fewer points than centers.
    """
    _check(x, k)
    trained = _faiss().Kmeans(
        x.shape[1],
        k,
        niter=iterations,
        seed=seed,
        max_points_per_centroid=EVERY_POINT,
        min_points_per_centroid=1,
    )
    trained.train(_rows(x))
    return np.array(trained.centroids, np.float32).reshape(k, x.shape[1])


def assign(
    x: Float[np.ndarray, "n dim"], codebook: Float[np.ndarray, "k dim"]
) -> Int[np.ndarray, "n"]:
    """Exact nearest code of each vector, int64."""
    index = _faiss().IndexFlatL2(codebook.shape[1])
    index.add(_rows(codebook))
    return index.search(_rows(x), 1)[1][:, 0].astype(np.int64)


def train_product(
    x: Float[np.ndarray, "n dim"],
    *,
    groups: int,
    bits: int = 8,
    rotate: bool = False,
    iterations: int = 25,
) -> ProductCodebooks:
    """Codebooks of product quantization, with `rotate` of optimized product quantization.

    Args:
        x: Data.
        groups: Parts of a vector; has to divide its length.
        bits: log2 of the codes per group.
        rotate: Learn a rotation first (Ge et al. 2013); worth 8 dB on correlated data.
        iterations: Rounds of k-means.

    Raises:
        ImportError: faiss is not installed.
        ValueError: `groups` does not divide the length, or there are too few points.
    """
    dim = x.shape[1]
    if groups < 1 or dim % groups:
        raise ValueError(f"`groups` must divide the length of the vectors, {dim}; got {groups}.")
    _check(x, 1 << bits)
    faiss = _faiss()
    rotation = np.eye(dim, dtype=np.float32)
    rows = _rows(x)
    if rotate:
        learned = faiss.OPQMatrix(dim, groups)
        product = faiss.ProductQuantizer(dim, groups, bits)
        _use_every_point(product.cp)
        learned.pq = product
        learned.max_train_points = EVERY_POINT
        learned.train(rows)
        rotation = faiss.vector_to_array(learned.A).reshape(dim, dim).T.copy()
        rows = _rows(x @ rotation)
    quantizer = faiss.ProductQuantizer(dim, groups, bits)
    _use_every_point(quantizer.cp)
    quantizer.cp.niter = iterations
    quantizer.train(rows)
    codes = faiss.vector_to_array(quantizer.centroids).reshape(groups, 1 << bits, dim // groups)
    return ProductCodebooks(codes.copy(), rotation)


def train_residual(
    x: Float[np.ndarray, "n dim"], *, stages: int, bits: int = 8, beam: int = BEAM
) -> AdditiveCodebooks:
    """Codebooks of residual quantization with beam search (Liu et al. 2015).

    Args:
        x: Data.
        stages: Number of codebooks.
        bits: log2 of the codes per stage.
        beam: Candidates kept from stage to stage, in training and encoding.
    """
    _check(x, 1 << bits)
    quantizer = _faiss().ResidualQuantizer(x.shape[1], stages, bits)
    quantizer.max_beam_size = beam
    _use_every_point(quantizer.cp)
    return _train_additive(quantizer, x, stages, bits)


def train_local_search(
    x: Float[np.ndarray, "n dim"], *, stages: int, bits: int = 8, iterations: int = 25
) -> AdditiveCodebooks:
    """Codebooks of local search quantization (Martinez et al. 2018).

    Args:
        x: Data.
        stages: Number of codebooks.
        bits: log2 of the codes per stage.
        iterations: Rounds of training.
    """
    _check(x, 1 << bits)
    quantizer = _faiss().LocalSearchQuantizer(x.shape[1], stages, bits)
    quantizer.train_iters = iterations
    return _train_additive(quantizer, x, stages, bits)


def _train_additive(
    quantizer: Any, x: NDArray[np.float32], stages: int, bits: int
) -> AdditiveCodebooks:
    quantizer.train(_rows(x))
    codes = _faiss().vector_to_array(quantizer.codebooks).reshape(stages, 1 << bits, x.shape[1])
    return AdditiveCodebooks(codes.copy(), quantizer)


def _use_every_point(parameters: Any) -> None:
    parameters.max_points_per_centroid = EVERY_POINT
    parameters.min_points_per_centroid = 1


def _check(x: NDArray[np.floating], k: int) -> None:
    if len(x) < k:
        raise ValueError(f"`x` must have at least {k} rows to learn {k} codes, got {len(x)}.")


def _rows(x: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.ascontiguousarray(x, np.float32)


def _faiss() -> Any:
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise ImportError(
            'Training with faiss needs faiss-cpu: pip install "fieldwright[codecs]".'
        ) from error
