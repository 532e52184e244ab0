"""The hash grid's kernels against their torch twin, and the twin against its definition."""

from __future__ import annotations

import pytest
import torch

from splats import hash_grid as module
from splats.hash_grid import HashGrid, HashGridLayout, hash_grid, hash_grid_reference
from splats.training.kernels import native_kernels

needs_native = pytest.mark.skipif(native_kernels() is None, reason="native kernels are not built")


def layout_of(features: int = 2) -> HashGridLayout:
    """Two levels with an entry per vertex, three that are hashed."""
    return HashGridLayout(
        levels=5, features=features, log2_entries=10, base_resolution=4, growth=1.7
    )


def problem(count: int, features: int = 2) -> tuple[HashGridLayout, torch.Tensor, torch.Tensor]:
    """Points inside, on the faces and outside of the cube, and a table of the order of one."""
    generator = torch.Generator().manual_seed(count)
    layout = layout_of(features)
    points = 1.2 * torch.rand(count, 3, generator=generator) - 0.1
    points[::7] = points[::7].round()
    table = torch.randn(layout.num_entries, features, generator=generator)
    return layout, points, table


@needs_native
@pytest.mark.parametrize("isa", ["portable", "auto"])
@pytest.mark.parametrize("features", [1, 2, 4, 8])
@pytest.mark.parametrize("count", [0, 1, 13, 3000])
def test_native_equals_reference_in_double(count: int, features: int, isa: str) -> None:
    native = native_kernels()
    assert native is not None
    layout, points, table = problem(count, features)
    results = []
    native.set_isa(isa)
    for function, dtype in ((hash_grid, torch.float32), (hash_grid_reference, torch.float64)):
        x, t = (value.to(dtype, copy=True).requires_grad_() for value in (points, table))
        out = function(x, t, layout)
        weights = torch.linspace(-1, 1, out.numel(), dtype=dtype).reshape(out.shape)
        (out * weights).sum().backward()
        assert x.grad is not None and t.grad is not None
        results.append((out, x.grad, t.grad))
    native.set_isa("auto")
    # Cells of float32 positions at a boundary may differ; the value is continuous there, the
    # gradient of the points is not.
    inside = (
        (points[:, :, None] * torch.tensor([level.resolution for level in layout.table])).frac()
    ).abs()
    apart = ((inside > 1e-4) & (inside < 1 - 1e-4)).flatten(1).all(dim=1)
    (out, v_points, v_table), (exact, exact_points, exact_table) = results
    assert torch.allclose(out.double(), exact, atol=2e-5)  # worst observed 5e-6
    assert torch.allclose(v_points.double()[apart], exact_points[apart], atol=1e-3, rtol=1e-4)
    assert torch.allclose(v_table.double(), exact_table, atol=1e-3)


def test_reference_gradient() -> None:
    layout = HashGridLayout(levels=2, log2_entries=5, base_resolution=2, growth=2.0)
    _, points, _ = problem(6)
    points = points.clamp(0.013, 0.987).double().requires_grad_()
    table = torch.linspace(-1, 1, 2 * layout.num_entries).sin().reshape(-1, 2)
    table = table.double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, t: hash_grid_reference(x, t, layout), (points, table), eps=1e-7
    )


@needs_native
def test_same_bits_for_any_number_of_threads() -> None:
    native = native_kernels()
    assert native is not None
    layout, points, table = problem(5000)
    results = []
    for count in (1, 2, 3, 6):  # six threads share each of the five levels
        native.set_num_threads(count)
        x, t = points.clone().requires_grad_(), table.clone().requires_grad_()
        out = hash_grid(x, t, layout)
        (out * torch.arange(out.numel()).reshape(out.shape).sin()).sum().backward()
        results.append((out, x.grad, t.grad))
    native.set_num_threads(0)
    for found in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found, results[0], strict=True))


def test_linear_fields_are_reproduced_where_every_vertex_has_an_entry() -> None:
    """Trilinear interpolation is exact for them: tells every axis and level from the others."""
    layout = HashGridLayout(levels=3, features=1, log2_entries=14, base_resolution=3, growth=2.0)
    slopes = torch.tensor([1.0, -2.0, 4.0])
    entries = []
    for level in layout.table:
        assert not level.hashed
        side = torch.arange(level.resolution + 1) / level.resolution
        z, y, x = torch.meshgrid(side, side, side, indexing="ij")
        entries.append((torch.stack([x, y, z], dim=-1) @ slopes).reshape(-1, 1))
    points = torch.rand(4, 25, 3, generator=torch.Generator().manual_seed(0))
    found = hash_grid(points, torch.cat(entries), layout)
    assert torch.allclose(found, (points @ slopes)[..., None].expand(4, 25, 3), atol=1e-5)


def test_hash_is_the_published_one() -> None:
    """Vertex (1, 2, 3) of a hashed level, by hand."""
    layout = HashGridLayout(levels=1, features=1, log2_entries=8, base_resolution=100)
    table = torch.arange(256.0)[:, None]
    expected = (1 ^ (2 * 2654435761 % 2**32) ^ (3 * 805459861 % 2**32)) % 256
    found = hash_grid(
        torch.tensor([[0.01, 0.02, 0.03]], dtype=torch.float64), table.double(), layout
    )
    assert found.item() == pytest.approx(expected, abs=1e-3)


@needs_native
def test_points_that_are_no_numbers_stay_in_the_table() -> None:
    layout, _, table = problem(1)
    points = torch.tensor([[float("nan"), 0.5, float("inf")], [-float("inf"), 1e30, -1e30]])
    found = hash_grid(points, table, layout)
    assert torch.equal(found, hash_grid(torch.tensor([[0, 0.5, 1], [0, 1, 0]]), table, layout))


def test_falls_back_without_native_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    layout, points, table = problem(20)
    expected = hash_grid(points, table, layout)
    monkeypatch.setattr(module, "native_kernels_for", lambda *_: None)
    assert torch.allclose(hash_grid(points, table, layout), expected, atol=1e-4)


def test_bad_arguments_are_named(without_type_checks: None) -> None:
    grid = HashGrid(layout_of())
    with pytest.raises(ValueError, match=r"`points` must be \[..., 3\]"):
        grid(torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"`table` must be"):
        hash_grid(torch.zeros(4, 3), torch.zeros(5, 2), grid.layout)
    with pytest.raises(ValueError, match="`features` must be one of"):
        HashGridLayout(features=3)
    with pytest.raises(ValueError, match=r"less than 2\^20 cells"):
        HashGridLayout(growth=4.0)
