"""Morton codes, orders and nearest earlier points against plain definitions."""

from __future__ import annotations

import numpy as np
import pytest

from vq import sets
from vq.sets import morton, neighbors


@pytest.fixture(params=["native", "python"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test on the kernels and on their twins."""
    if request.param == "python":
        monkeypatch.setattr(morton, "_native", None)
        monkeypatch.setattr(neighbors, "_native", None)
    elif morton._native is None:
        pytest.skip("vq._native is not built")
    return request.param


def interleave(point: list[int]) -> int:
    """Bit b of axis a becomes bit 3 b + a."""
    return sum((point[a] >> b & 1) << 3 * b + a for b in range(42) for a in range(3))


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("bits", [1, 10, 21])
def test_codes_interleave_the_bits(bits: int) -> None:
    points = np.random.default_rng(bits).integers(0, 1 << bits, (200, 3))
    points[0] = (1 << bits) - 1
    codes = sets.morton_codes(points)
    assert codes.tolist() == [interleave(point) for point in points.tolist()]
    np.testing.assert_array_equal(sets.morton_points(codes), points)


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("bits", [3, 21, 30, 42])
def test_order_sorts_by_the_whole_code_and_keeps_ties(bits: int) -> None:
    points = np.random.default_rng(bits).integers(0, 1 << bits, (300, 3))
    points[100:200] = points[:100]
    expected = sorted(range(300), key=lambda i: interleave(points[i].tolist()))
    assert sets.morton_order(points).tolist() == expected


@pytest.mark.usefixtures("implementation")
def test_no_points_make_no_codes() -> None:
    empty = np.zeros((0, 3), np.uint32)
    assert len(sets.morton_codes(empty)) == len(sets.morton_order(empty)) == 0
    assert sets.earlier_neighbors(empty, 4).shape == (0, 4)


def test_points_outside_are_refused() -> None:
    with pytest.raises(ValueError, match=r"lie in \[0, 2\^21\).*subtract the smallest"):
        sets.morton_codes(np.array([[0, 0, 1 << 21]]))
    with pytest.raises(ValueError, match="got -1 to 0"):
        sets.morton_order(np.array([[0, -1, 0]]))
    with pytest.raises(ValueError, match="must be integers, got float64"):
        sets.morton_codes(np.zeros((1, 3)))


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("size", [4, 1000, (1 << 30) - 1])
def test_earlier_neighbors_are_exact_and_prefer_the_later_point(size: int) -> None:
    points = np.random.default_rng(0).integers(0, size, (400, 3)).astype(np.uint32)
    points = points[sets.morton_order(points)]
    found = sets.earlier_neighbors(points, 5)
    signed = points.astype(object)
    for i in (0, 1, 4, 5, 50, 399):
        distances = ((signed[:i] - signed[i]) ** 2).sum(1)
        nearest = sorted(range(i), key=lambda j: (distances[j], -j))[:5]
        assert found[i].tolist() == nearest + [-1] * (5 - len(nearest))
