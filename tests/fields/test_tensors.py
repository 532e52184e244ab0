"""CP and VM features: the kernels against the twins, and the twins against their definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fields import kernels
from fields.tensors import LocalPairs, VmFactors, cp_features, vm_features
from fields.tensors.cp import cp_reference
from fields.tensors.vm import vm_reference

needs_native = pytest.mark.skipif(
    kernels.native_kernels() is None, reason="native kernels were not built"
)


def pairs(samples: int, tensors: int, seed: int = 0) -> LocalPairs:
    """Zero to four random cubes for each sample."""
    random = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 5, (samples,), generator=random)
    total = int(counts.sum())
    return LocalPairs(
        torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)]),
        torch.randint(0, tensors, (total,), generator=random).int(),
        torch.rand(total, 3, generator=random) * 1.1 - 0.05,
        torch.rand(total, generator=random),
    )


def factors(size: tuple[int, int, int], rank: int, seed: int = 0) -> VmFactors:
    """Random planes and lines."""
    random = torch.Generator().manual_seed(seed)
    x, y, z = size

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, rank, generator=random)

    return VmFactors((normal(x, y), normal(x, z), normal(y, z)), (normal(z), normal(y), normal(x)))


@needs_native
@pytest.mark.parametrize("summed", [True, False])
@pytest.mark.parametrize(("rank", "nodes"), [(8, 2), (16, 9), (48, 5)])
def test_cp_kernels_equal_the_twin(rank: int, nodes: int, summed: bool) -> None:
    where = pairs(700, 30)
    start = torch.randn(30, 3, nodes, rank, generator=torch.Generator().manual_seed(1))
    results = []
    for function in (cp_features, cp_reference):
        vectors = start.clone().requires_grad_()
        out = function(vectors, where, summed=summed)
        given = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
        [gradient] = torch.autograd.grad((out * given).sum(), [vectors])
        results.append((out.detach(), gradient))
    for mine, twin in zip(*results, strict=True):
        torch.testing.assert_close(mine, twin, rtol=1e-4, atol=2e-4)  # worst seen: 3e-5


@needs_native
@pytest.mark.parametrize("summed", [True, False])
@pytest.mark.parametrize(("size", "rank"), [((2, 3, 2), 8), ((17, 40, 9), 16), ((5, 70, 6), 48)])
def test_vm_kernels_equal_the_twin(size: tuple[int, int, int], rank: int, summed: bool) -> None:
    start = factors(size, rank)
    points = torch.rand(900, 3, generator=torch.Generator().manual_seed(3)) * 1.1 - 0.05
    results = []
    for function in (vm_features, vm_reference):
        leaves = [item.clone().requires_grad_() for item in (*start.planes, *start.lines)]
        xy, xz, yz, z, y, x = leaves
        held = VmFactors((xy, xz, yz), (z, y, x))
        out = function(held, points, summed=summed)
        given = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
        results.append((out.detach(), *torch.autograd.grad((out * given).sum(), leaves)))
    for mine, twin in zip(*results, strict=True):
        torch.testing.assert_close(mine, twin, rtol=1e-4, atol=5e-4)  # worst seen: 1e-4


@needs_native
def test_gradients_are_the_same_bits_on_any_number_of_threads() -> None:
    native = kernels.native_kernels()
    assert native is not None
    start, where = factors((33, 20, 50), 16), pairs(3000, 40)
    points = torch.rand(5000, 3, generator=torch.Generator().manual_seed(3))
    first = torch.randn(40, 3, 6, 16, generator=torch.Generator().manual_seed(1))
    seen = []
    try:
        for threads in (1, 4):
            native.set_num_threads(threads)
            leaves = [item.clone().requires_grad_() for item in (*start.planes, *start.lines)]
            xy, xz, yz, z, y, x = leaves
            held = VmFactors((xy, xz, yz), (z, y, x))
            vectors = first.clone().requires_grad_()
            loss = vm_features(held, points, summed=False).square().sum()
            loss = loss + cp_features(vectors, where, summed=False).square().sum()
            seen.append(torch.autograd.grad(loss, [*leaves, vectors]))
    finally:
        native.set_num_threads(0)
    for one, other in zip(*seen, strict=True):
        assert torch.equal(one, other)


def test_resizing_keeps_functions_whose_kinks_are_nodes() -> None:
    start = factors((5, 4, 3), 8)
    fine = start.resized((9, 7, 5))
    points = torch.rand(300, 3, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        vm_reference(fine, points, summed=False),
        vm_reference(start, points, summed=False),
        rtol=1e-4,
        atol=1e-4,
    )


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="`vectors`"):
        cp_features(torch.zeros(3, 3, 4, 12), pairs(4, 3), summed=True)
    good = factors((4, 5, 6), 8)
    with pytest.raises(ValueError, match=r"`planes\[1\]`"):
        VmFactors((good.planes[0], good.planes[2], good.planes[1]), good.lines)
