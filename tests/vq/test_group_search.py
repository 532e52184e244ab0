"""Search inside groups: the native kernel against its twin and against all distances."""

from __future__ import annotations

import pytest
import torch

from vq import group_search
from vq.group_search import _nearest_in_groups, nearest_in_groups

native = pytest.mark.skipif(group_search._native is None, reason="native kernels were not built")


def problem(dim: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """700 searches among 300 codes in groups of 0, 1, 2, 30 and 267 codes."""
    random = torch.Generator().manual_seed(seed)
    x, codes = (torch.randn(n, dim, generator=random) for n in (500, 300))
    rows = torch.randint(0, 500, (700,), generator=random)
    row_starts = torch.tensor([0, 50, 53, 53, 400, 700])
    code_starts = torch.tensor([0, 0, 1, 3, 33, 300])
    return x, rows, row_starts, codes, code_starts


@native
@pytest.mark.parametrize("isa", ["portable", "avx2", "auto"])
@pytest.mark.parametrize("dim", [1, 3, 9, 45])
def test_native_equals_its_twin(dim: int, isa: str) -> None:
    assert group_search._native is not None
    group_search._native.set_isa(isa)
    try:
        indices, costs = nearest_in_groups(*problem(dim))
    finally:
        group_search._native.set_isa("auto")
    expected, distances = _nearest_in_groups(*problem(dim))
    torch.testing.assert_close(costs, distances, rtol=1e-5, atol=1e-5)
    assert torch.equal(indices, expected)


def test_it_finds_the_nearest_of_the_group() -> None:
    x, rows, row_starts, codes, code_starts = problem(5)
    indices, costs = nearest_in_groups(x, rows, row_starts, codes, code_starts)
    distances = torch.cdist(x[rows].double(), codes.double()).square()
    group_of_row = torch.bucketize(torch.arange(700), row_starts[1:], right=True)
    group_of_code = torch.bucketize(torch.arange(300), code_starts[1:], right=True)
    distances[group_of_row[:, None] != group_of_code] = torch.inf
    assert bool((indices[:50] == -1).all() and torch.isinf(costs[:50]).all())
    assert torch.equal(indices[50:], distances[50:].argmin(1))
    torch.testing.assert_close(costs[50:].double(), distances.amin(1)[50:], rtol=1e-5, atol=1e-5)


def test_the_lowest_of_equal_codes_wins() -> None:
    x, rows, row_starts, codes, code_starts = problem(3)
    codes[33:] = codes[33]
    indices, _ = nearest_in_groups(x, rows, row_starts, codes, code_starts)
    assert bool((indices[400:] == 33).all())


@native
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_nothing(threads: int) -> None:
    assert group_search._native is not None
    before = group_search._native.num_threads()
    group_search._native.set_num_threads(threads)
    try:
        found = nearest_in_groups(*problem(9))
    finally:
        group_search._native.set_num_threads(before)
    expected = nearest_in_groups(*problem(9))
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@native
@pytest.mark.parametrize(
    ("place", "value", "message"),
    [(1, 500, "row"), (2, 701, "starts"), (4, 301, "starts")],
)
def test_what_does_not_fit_is_refused(place: int, value: int, message: str) -> None:
    parts = [part.clone() for part in problem(3)]
    parts[place][-1] = value
    with pytest.raises(ValueError, match=message):
        nearest_in_groups(*parts)
