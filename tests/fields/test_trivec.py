"""Tri-vector leaves: the kernel against the twin, and what subdivision and order promise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fields import kernels
from fields.trivec import Octree, TrivecField, TrivecRenderer
from fields.trivec.refinement import missing_neighbors, occupancy_masks, subdivided
from fields.trivec.renderer import lattice_densities

from . import scenes

needs_native = pytest.mark.skipif(
    kernels.native_kernels() is None, reason="native kernels were not built"
)


def gradients(renderer: TrivecRenderer, *, twin: bool) -> tuple[Tensor, ...]:
    """Outputs of both ways, and the gradients of one loss."""
    leaves = ("vectors", "densities", "colors")
    held = {name: getattr(renderer.field, name).clone().requires_grad_() for name in leaves}
    renderer = replace(renderer, field=replace(renderer.field, **held))
    rays, shares = scenes.rays(300), torch.rand(300, generator=torch.Generator().manual_seed(9))
    seen = renderer.twin(rays, shares) if twin else renderer.trace(rays, shares)[0]
    random = torch.Generator().manual_seed(4)
    outputs = (seen.colors, seen.opacities, seen.distances)
    parts = [(out * torch.randn(out.shape, generator=random)).sum() for out in outputs]
    found = torch.autograd.grad(torch.stack(parts).sum(), list(held.values()))
    assert seen.median_distances is not None
    return (*(out.detach() for out in outputs), seen.median_distances, *found)


@needs_native
@pytest.mark.parametrize(("rank", "nodes", "degree"), [(16, 6, 1), (8, 2, 0), (32, 8, 2)])
def test_the_kernel_equals_the_twin(rank: int, nodes: int, degree: int) -> None:
    renderer = TrivecRenderer(scenes.field(rank=rank, nodes=nodes, degree=degree), step=0.11)
    names = ("colors", "opacities", "distances", "medians", "vectors", "densities", "harmonics")
    pairs = zip(names, gradients(renderer, twin=False), gradients(renderer, twin=True), strict=True)
    for name, mine, twin in pairs:
        wrong = (mine - twin).abs() > 1e-4 + 1e-3 * twin.abs()
        # A ray within rounding of a face may count a sample differently: a bounded few do.
        assert wrong.float().mean() < 0.01, name
        assert (mine - twin).norm() < 0.02 * twin.norm(), name


@needs_native
@pytest.mark.parametrize("isa", ["portable", "avx2", "avx512"])
def test_threads_change_no_bit_and_instruction_sets_little(isa: str) -> None:
    native = kernels.native_kernels()
    assert native is not None
    renderer = TrivecRenderer(scenes.field(), step=0.1)
    usual = gradients(renderer, twin=False)
    try:
        try:
            native.set_isa(isa)
        except ValueError:  # the kernels refuse what the processor cannot execute
            pytest.skip(f"this CPU has no {isa}")
        native.set_num_threads(1)
        single = gradients(renderer, twin=False)
        native.set_num_threads(3)
        found = gradients(renderer, twin=False)
        for one, other in zip(found, single, strict=True):
            assert torch.equal(one, other)
        for one, other in zip(found, usual, strict=True):
            assert (one - other).norm() <= 1e-3 * other.norm()
    finally:
        native.set_isa("auto")
        native.set_num_threads(0)


@needs_native
def test_a_lattice_holds_the_densities_of_its_points() -> None:
    field = scenes.field()
    found = lattice_densities(field, 5)
    leaf = 7
    axis = torch.linspace(0, 1, 5)
    local = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    expected, _ = field.at(torch.full((5, 5, 5), leaf), local, torch.ones(5, 5, 5, 3) / 3**0.5)
    torch.testing.assert_close(found[leaf], expected, rtol=2e-5, atol=1e-6)


def test_locate_finds_the_leaf_of_every_centre_and_nothing_in_gaps() -> None:
    tree = scenes.octree()
    centers = tree.lows + 0.5 * tree.sides[:, None]
    assert torch.equal(tree.locate(centers), torch.arange(len(tree)))
    points = torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)) * 2.4 + tree.low - 0.2
    inside = (points[:, None] >= tree.lows) & (points[:, None] < tree.lows + tree.sides[:, None])
    hit = inside.all(-1)
    expected = torch.where(hit.any(1), hit.float().argmax(1), -1)
    assert torch.equal(tree.locate(points), expected)


def test_overlapping_leaves_are_refused() -> None:
    cells = torch.tensor([[0, 0, 0], [1, 1, 1]])
    with pytest.raises(ValueError, match="overlap"):
        _ = Octree(torch.zeros(3), 1.0, torch.tensor([1, 2]), cells).children


def test_wrong_shapes_name_the_argument() -> None:
    field = scenes.field()
    with pytest.raises(ValueError, match="`vectors`"):
        replace(
            field,
            vectors=field.vectors[..., :7],
            densities=field.densities[..., :7],
            colors=field.colors[..., :7],
        )
    with pytest.raises(ValueError, match="`unit`"):
        replace(field, unit=0.0)
    with pytest.raises(ValueError, match="`rank`"):
        field.limited(12)
    assert isinstance(field.limited(8), TrivecField)


def test_halving_leaves_changes_nothing() -> None:
    field = scenes.field(rank=8)
    field = replace(field, masks=torch.full_like(field.masks, -1))
    points = torch.rand(4000, 3, generator=torch.Generator().manual_seed(1)) * 2 + field.octree.low
    directions = torch.nn.functional.normalize(points, dim=1)
    halved = subdivided(field, torch.arange(len(field)) % 3 == 0)
    assert len(halved) > len(field)
    before, after = (
        field.density_and_color(points, directions),
        halved.density_and_color(points, directions),
    )
    for one, other in zip(after, before, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_masks_keep_every_cell_that_holds_something() -> None:
    field = scenes.field()
    masks = occupancy_masks(field, min_alpha=0.3)
    random = torch.Generator().manual_seed(2)
    local = torch.rand(len(field), 500, 3, generator=random)
    leaves = torch.arange(len(field))[:, None].expand(-1, 500)
    densities, _ = field.at(leaves, local, torch.zeros_like(local) + 3**-0.5)
    width = field.octree.sides / (field.num_nodes - 1)
    dense = 1 - torch.exp(-densities * width[:, None]) > 0.45
    cell = (local * 4).long().clamp(max=3)
    bit = 16 * cell[..., 0] + 4 * cell[..., 1] + cell[..., 2]
    assert bool((masks[:, None] >> bit & 1)[dense].all())
    assert bool((masks != -1).any())


def test_new_leaves_touch_old_ones_and_overlap_none() -> None:
    field = scenes.field()
    new = missing_neighbors(field)
    assert len(new) > 0
    tree = Octree(
        field.octree.low,
        field.octree.side,
        torch.cat([field.octree.levels, new.levels]),
        torch.cat([field.octree.cells, new.cells]),
    )
    _ = tree.children  # refuses overlaps
    touching = torch.cat([torch.eye(3), -torch.eye(3)])
    centers = new.lows + 0.5 * new.sides[:, None]
    beside = centers[:, None] + 0.6 * touching * new.sides[:, None, None]
    assert bool((field.octree.locate(beside) >= 0).any(1).all())
