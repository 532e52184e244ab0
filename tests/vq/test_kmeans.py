"""k-means and the nearest search: exact, deterministic, weighted, as good as their twins."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from torch import Tensor

from vq import nearest, search
from vq.kmeans import kmeans

nearest_module = importlib.import_module("vq.nearest")


def correlated(count: int, dim: int, seed: int = 0) -> Tensor:
    """Vectors with most of their energy in few directions, as real attributes have."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=generator) * 0.8 ** torch.arange(dim)
    factors = torch.randn(count, dim, generator=generator) ** 3
    return factors @ mixing.T + 0.1 * torch.randn(count, dim, generator=generator)


def brute_force(x: Tensor, codes: Tensor, penalty: Tensor | None = None) -> Tensor:
    """Costs `[n, K]` in float64."""
    costs = torch.cdist(x.double(), codes.double()).square()
    return costs if penalty is None else costs + penalty.double()


@pytest.fixture(params=["native", "torch"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "torch":
        monkeypatch.setattr(search, "_native", None)
    elif not search.available():
        pytest.skip("the native module was not built")
    return request.param


@pytest.fixture
def pruned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches natively however small the problem."""
    if not search.available():
        pytest.skip("the native module was not built")
    monkeypatch.setattr(nearest_module, "PRUNED_FROM", 0)


@pytest.mark.usefixtures("pruned")
@pytest.mark.parametrize("isa", ["portable", "avx2", "avx512"])
@pytest.mark.parametrize(
    ("dim", "codes"), [(1, 64), (2, 100), (3, 257), (16, 64), (45, 1000), (48, 70), (130, 300)]
)
def test_the_pruned_search_finds_the_nearest(dim: int, codes: int, isa: str) -> None:
    from vq import _native

    try:
        _native.set_isa(isa)
    except ValueError:
        pytest.skip(f"this machine has no {isa}")
    x = correlated(3000, dim)
    codebook = correlated(codes, dim, seed=1)
    try:
        indices, costs = nearest(x, codebook)
    finally:
        _native.set_isa("auto")
    exact = brute_force(x, codebook)
    best = exact.min(1).values
    # The chosen code is nearest up to the rounding of float32.
    slack = 1e-5 * (x.double().square().sum(1) + best)
    assert bool((exact.gather(1, indices[:, None])[:, 0] <= best + slack).all())
    assert bool(((costs.double() - best).abs() <= slack).all())
    assert float((indices == exact.argmin(1)).float().mean()) > 0.998


@pytest.mark.usefixtures("pruned")
def test_the_pruned_search_honors_penalties_and_ties() -> None:
    x, codebook = correlated(2000, 8), correlated(200, 8, seed=1)
    penalty = 5 * torch.rand(200, generator=torch.Generator().manual_seed(2)) - 1
    indices, costs = nearest(x, codebook, penalty=penalty)
    exact = brute_force(x, codebook, penalty)
    assert float((indices == exact.argmin(1)).float().mean()) > 0.998
    assert torch.allclose(costs.double(), exact.min(1).values, rtol=1e-4, atol=1e-4)
    doubled = torch.cat([codebook, codebook])
    assert bool((nearest(x, doubled)[0] < 200).all())


@pytest.mark.usefixtures("pruned")
@pytest.mark.parametrize("far", [1.0, 1e3, 1e8])
def test_the_pruned_search_stands_outliers(far: float) -> None:
    x, codebook = correlated(1000, 20), correlated(128, 20, seed=1)
    x[::50] *= far
    codebook[::17] *= far
    exact = brute_force(x, codebook)
    chosen = exact.gather(1, nearest(x, codebook)[0][:, None])[:, 0]
    assert bool((chosen <= exact.min(1).values * (1 + 1e-4) + 1e-3).all())


@pytest.mark.usefixtures("pruned")
def test_the_pruned_search_stands_degenerate_data() -> None:
    same = torch.ones(500, 5)
    indices, costs = nearest(same, torch.ones(64, 5))
    assert bool((indices == 0).all()) and bool((costs == 0).all())
    with_nan = torch.full((200, 3), float("nan"))
    assert nearest(with_nan, torch.zeros(64, 3))[0].shape == (200,)


def test_large_codebooks_agree_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    if not search.available():
        pytest.skip("the native module was not built")
    x, codebook = correlated(20_000, 45), correlated(5000, 45, seed=1)
    indices, costs = nearest(x, codebook)
    monkeypatch.setattr(search, "_native", None)
    plain_indices, plain_costs = nearest(x, codebook)
    assert float((indices == plain_indices).float().mean()) > 0.999
    assert torch.allclose(costs, plain_costs, rtol=1e-3, atol=1e-2)


def test_every_iteration_is_exact(engine: str) -> None:
    x = correlated(6000, 12)
    for iterations in (0, 1, 4, 9):
        result = kmeans(x, 100, iterations=iterations)
        exact = brute_force(x, result.centers)
        assert float((result.indices == exact.argmin(1)).float().mean()) > 0.999
        assert result.cost == pytest.approx(float(exact.min(1).values.mean()), rel=1e-5)
        assert bool((np.diff(result.history) <= 1e-6).all())


def test_converged_centers_are_means(engine: str) -> None:
    x = correlated(2000, 4)
    result = kmeans(x, 20, iterations=500)
    assert len(result.history) < 500
    for c in range(20):
        mean = x[result.indices == c].double().mean(0).float()
        assert torch.allclose(result.centers[c], mean, rtol=1e-4, atol=1e-4)


def test_the_engines_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    if not search.available():
        pytest.skip("the native module was not built")
    x = correlated(5000, 45)
    native = kmeans(x, 150, iterations=8)
    monkeypatch.setattr(search, "_native", None)
    plain = kmeans(x, 150, iterations=8)
    assert native.cost == pytest.approx(plain.cost, rel=1e-3)
    assert float((native.indices == plain.indices).float().mean()) > 0.98


def test_the_number_of_threads_changes_nothing() -> None:
    if not search.available():
        pytest.skip("the native module was not built")
    from vq import _native

    x = correlated(20_000, 10)
    weights = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    results = []
    try:
        for threads in (1, 2, 5):
            _native.set_num_threads(threads)
            results.append(kmeans(x, 200, weights=weights, iterations=5))
    finally:
        _native.set_num_threads(0)
    for other in results[1:]:
        assert torch.equal(other.centers, results[0].centers)
        assert torch.equal(other.indices, results[0].indices)
        assert other.cost == results[0].cost


def test_weights_count_like_copies(engine: str) -> None:
    x = correlated(400, 3)
    copies = torch.randint(1, 4, (400,), generator=torch.Generator().manual_seed(0))
    weighted = kmeans(x, 10, weights=copies.float(), iterations=100)
    repeated = x.repeat_interleave(copies, 0)
    exact = brute_force(repeated, weighted.centers)
    assert weighted.cost == pytest.approx(float(exact.min(1).values.mean()), rel=1e-5)
    for c in range(10):
        members = repeated[exact.argmin(1) == c]
        assert torch.allclose(weighted.centers[c], members.mean(0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("init", ["sample", "plusplus"])
def test_separated_clusters_are_found(engine: str, init: str) -> None:
    generator = torch.Generator().manual_seed(0)
    truth = 100 * torch.randn(30, 6, generator=generator)
    x = truth.repeat(200, 1) + torch.randn(6000, 6, generator=generator)
    result = kmeans(x, 30, iterations=60, init=init)
    if init == "plusplus":
        # One center per cluster: the noise is all that is left.
        assert result.cost < 1.2 * 6
    assert len(torch.unique(result.indices)) == 30


def test_empty_centers_are_revived(engine: str) -> None:
    # All first centers coincide, so all but one start empty.
    x = torch.cat([torch.zeros(980, 2), 50 + correlated(20, 2)])
    result = kmeans(x, 12, iterations=30, seed=1)
    assert result.cost < 0.5 * float((x[980:] - x[980:].mean(0)).square().sum()) / 1000


def test_no_silent_subsampling() -> None:
    # 40,000 points for two centers: faiss would look at 512 of them.
    x = torch.randn(40_000, 1, generator=torch.Generator().manual_seed(0))
    result = kmeans(x, 2, iterations=100)
    for c in range(2):
        assert float(x[result.indices == c].double().mean()) == pytest.approx(
            float(result.centers[c]), abs=1e-5
        )
    fewer = kmeans(x, 2, iterations=100, max_points_per_center=50)
    assert fewer.indices.shape == (40_000,) and fewer.cost > result.cost


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "`k` must be from 1"),
        ({"k": 11}, "`k` must be from 1"),
        ({"init": "best"}, "`init` must be one of"),
        ({"weights": -torch.ones(10)}, "non-negative"),
        ({"x": torch.full((10, 2), float("nan"))}, "finite"),
    ],
)
def test_wrong_arguments_are_named(changes: dict, message: str) -> None:
    arguments = {"x": torch.zeros(10, 2), "k": 2} | changes
    with pytest.raises(ValueError, match=message):
        kmeans(arguments.pop("x"), arguments.pop("k"), **arguments)


def test_not_worse_than_faiss() -> None:
    faiss = pytest.importorskip("faiss")
    x = correlated(20_000, 16)
    ours = kmeans(x, 64, iterations=20, seed=3)
    theirs = faiss.Kmeans(16, 64, niter=20, seed=3, max_points_per_centroid=1 << 30)
    theirs.train(x.numpy())
    index = faiss.IndexFlatL2(16)
    index.add(ours.centers.numpy())
    costs, indices = index.search(x.numpy(), 1)
    assert float((torch.from_numpy(indices[:, 0]) == ours.indices).float().mean()) > 0.999
    assert ours.cost == pytest.approx(float(costs.mean()), rel=1e-4)
    assert ours.cost <= 1.03 * theirs.obj[-1] / len(x)


def test_bounds_settle_most_pairs() -> None:
    if not search.available():
        pytest.skip("the native module was not built")
    x = correlated(20_000, 45).numpy()
    axes = search.Axes.of(x)
    rows = axes.place(x)
    assert np.abs(axes.unplace(rows) - x).max() < 1e-3
    centers = rows[:1024]
    groups = search.Groups.of(centers)
    assert sorted(groups.ids[groups.ids >= 0].tolist()) == list(range(1024))
    positions, costs = np.full(len(x), -1, np.int32), np.zeros(len(x), np.float32)
    bounds = np.empty((len(x), groups.stride), np.uint16)
    index = search.Index(axes, groups, centers)
    first = index.search(rows, positions, costs, bounds=bounds)
    again = index.search(rows, positions, costs, bounds=bounds, drift=index.drift(index))
    # Without movement only the groups within reach of the nearest center are looked at again.
    assert again < 0.5 * first and again < 0.2 * len(x) * groups.count
