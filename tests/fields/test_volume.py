"""Packed volume rendering: the twin against the definition, the kernel against the twin."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fields import kernels, volume
from fields.samples import Samples


def packed(counts: list[int], seed: int = 0) -> tuple[Samples, Tensor, Tensor]:
    """Intervals with gaps on rays with the given numbers of samples, densities and colours."""
    random = torch.Generator().manual_seed(seed)
    starts, ends = [], []
    for count in counts:
        edges = torch.rand(2 * count, generator=random, dtype=torch.float64).sort().values * 4
        starts.append(edges[0::2])
        ends.append(edges[1::2])
    offsets = torch.tensor([0, *counts]).cumsum(0)
    samples = Samples(torch.cat(starts), torch.cat(ends), offsets)
    total = len(samples)
    densities = 4 * torch.rand(total, generator=random, dtype=torch.float64) ** 3
    colors = torch.rand(total, 3, generator=random, dtype=torch.float64)
    return samples, densities, colors


COUNTS = [3, 0, 17, 1, 40, 0, 8]


def test_weights_follow_the_product_of_transmittances() -> None:
    samples, densities, _ = packed(COUNTS)
    weights = volume.render_weights(densities, samples)
    for ray in range(samples.num_rays):
        light = 1.0
        for i in range(int(samples.offsets[ray]), int(samples.offsets[ray + 1])):
            alpha = 1 - torch.exp(-densities[i] * samples.lengths[i])
            assert weights[i] == pytest.approx(float(light * alpha), abs=1e-12)
            light *= float(1 - alpha)


def test_distortion_equals_the_double_sum() -> None:
    samples, densities, _ = packed(COUNTS)
    weights = volume.render_weights(densities, samples)
    found = volume.distortion_losses(weights, samples)
    for ray in range(samples.num_rays):
        part = slice(int(samples.offsets[ray]), int(samples.offsets[ray + 1]))
        w, t, length = weights[part], samples.middles[part], samples.lengths[part]
        pairs = (w[:, None] * w * (t[:, None] - t).abs()).sum()
        assert found[ray] == pytest.approx(float(pairs + (w * w * length).sum() / 3), abs=1e-12)


def test_a_wall_is_seen_where_it_stands() -> None:
    edges = torch.linspace(0, 10, 101, dtype=torch.float64).expand(1, -1)
    samples = Samples.from_edges(edges)
    densities = torch.where(samples.middles > 6.0, 1e4, 0.0)
    seen = volume.composite(densities, torch.ones(100, 3, dtype=torch.float64), samples)
    assert seen.median_distances is not None
    assert seen.median_distances[0] == pytest.approx(6.05)
    assert seen.distances[0] == pytest.approx(6.05)
    assert seen.opacities[0] == pytest.approx(1.0)


def test_the_twin_is_differentiable() -> None:
    samples, densities, colors = packed([4, 0, 6])

    def outputs(d: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        seen = volume.composite(d, c, samples, distortion=True)
        assert seen.distortions is not None
        return seen.colors, seen.opacities, seen.distances, seen.distortions

    leaves = (densities.requires_grad_(), colors.requires_grad_())
    assert torch.autograd.gradcheck(outputs, leaves)


@pytest.mark.parametrize("early_stop", [0.0, 0.3])
@pytest.mark.parametrize("counts", [COUNTS, [0], [200]])
def test_the_kernel_equals_the_twin(counts: list[int], early_stop: float) -> None:
    if kernels.native_kernels() is None:
        pytest.skip("native kernels were not built")
    exact, densities, colors = packed(counts, seed=3)
    samples = Samples(exact.starts.float(), exact.ends.float(), exact.offsets)
    random = torch.Generator().manual_seed(5)
    given = [torch.randn(len(counts), *shape, generator=random) for shape in ((3,), (), (), ())]
    results = []
    for function in (volume.composite, kernels.composite):
        leaves = [densities.float().requires_grad_(), colors.float().requires_grad_()]
        seen = function(leaves[0], leaves[1], samples, early_stop=early_stop, distortion=True)
        outputs = [seen.colors, seen.opacities, seen.distances, seen.distortions]
        loss = sum((out * g).sum() for out, g in zip(outputs, given, strict=True))  # pyright: ignore
        gradients = torch.autograd.grad(loss, leaves)  # pyright: ignore
        results.append((*outputs, seen.median_distances, *gradients))
    for mine, twin in zip(results[1], results[0], strict=True):
        # Largest difference seen: 3e-6.
        torch.testing.assert_close(mine, twin, rtol=2e-5, atol=2e-5)
