"""The faiss engine: its codebooks decode without it, and our own training keeps up with it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from vq import engine_faiss, nearest
from vq.kmeans import kmeans

faiss = pytest.importorskip("faiss")
# Faiss spins on all cores, which slows small problems down when others compute too.
faiss.omp_set_num_threads(1)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(16, 16)) * 0.8 ** np.arange(16)
    return (rng.laplace(size=(2500, 16)) @ mixing.T).astype(np.float32)


def distortion(x: np.ndarray, decoded: np.ndarray) -> float:
    return float(((x - decoded) ** 2).sum(1).mean())


def test_assignment_matches_ours(x: np.ndarray) -> None:
    codebook = x[:300]
    ours = nearest(torch.from_numpy(x), torch.from_numpy(codebook))[0].numpy()
    assert (ours == engine_faiss.assign(x, codebook)).mean() > 0.999


def test_kmeans_uses_every_point(x: np.ndarray) -> None:
    centers = engine_faiss.train_kmeans(x, 2, iterations=60)
    indices = engine_faiss.assign(x, centers)
    # Converged centers are means of all their points, not of a sample of 512.
    for c in range(2):
        assert np.abs(centers[c] - x[indices == c].mean(0)).max() < 0.02


@pytest.mark.parametrize("rotate", [False, True])
def test_product_codebooks(x: np.ndarray, rotate: bool) -> None:
    books = engine_faiss.train_product(x, groups=4, bits=5, rotate=rotate)
    assert np.abs(books.rotation @ books.rotation.T - np.eye(16)).max() < 1e-4
    decoded = books.decode(books.encode(x))
    # Ours on the same rotated parts.
    parts = torch.from_numpy((x @ books.rotation).reshape(-1, 4, 4))
    ours = sum(kmeans(parts[:, g], 32, iterations=25).cost for g in range(4))
    assert distortion(x, decoded) == pytest.approx(ours, rel=0.03)


def test_rotation_helps_correlated_data(x: np.ndarray) -> None:
    plain, rotated = (
        engine_faiss.train_product(x, groups=4, bits=5, rotate=rotate) for rotate in (False, True)
    )
    errors = [distortion(x, books.decode(books.encode(x))) for books in (plain, rotated)]
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.parametrize("name", ["residual", "local_search"])
def test_additive_codebooks(x: np.ndarray, name: str) -> None:
    train = getattr(engine_faiss, f"train_{name}")
    books = train(x, stages=3, bits=5)
    indices = books.encode(x)
    assert indices.shape == (2500, 3) and indices.min() >= 0 and indices.max() < 32
    decoded = books.decode(indices)
    theirs = books.engine.decode(books.engine.compute_codes(x))
    assert np.abs(decoded - theirs).max() < 1e-4
    greedy = x.copy()
    for _ in range(3):
        points = torch.from_numpy(greedy)
        result = kmeans(points, 32, iterations=15)
        greedy = greedy - result.centers[result.indices].numpy()
    assert distortion(x, decoded) < 1.05 * float((greedy**2).sum(1).mean())


def test_prefixes_of_residual_codes_decode(x: np.ndarray) -> None:
    books = engine_faiss.train_residual(x, stages=4, bits=4)
    indices = books.encode(x)
    errors = [distortion(x, books.decode(indices[:, :stages])) for stages in range(1, 5)]
    assert all(np.diff(errors) < 0)


def test_missing_faiss_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r'pip install "fieldwright\[codecs\]"'):
        engine_faiss.assign(np.zeros((2, 2), np.float32), np.zeros((1, 2), np.float32))


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 256 rows"):
        engine_faiss.train_residual(np.zeros((10, 4), np.float32), stages=2)
    with pytest.raises(ValueError, match="`groups` must divide"):
        engine_faiss.train_product(np.zeros((300, 5), np.float32), groups=2)
