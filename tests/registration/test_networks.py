"""Point networks: symmetry to rounding, algebra identities, colors, files, bad input."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from captures.rotations import quats_to_rotmats
from registration.networks import (
    BACKBONES,
    Coloring,
    DeepSet,
    EquivariantLayer,
    Gatr,
    GeometricAttention,
    OutlierDetector,
)
from registration.networks.neighborhoods import nearest
from registration.networks.projective_algebra import (
    geometric_product,
    join,
    linear_basis,
    motor,
    point,
    position,
    reverse,
    sandwich,
)

NAMES = sorted(BACKBONES)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def motions(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    rotations = quats_to_rotmats(torch.randn(count, 4, dtype=torch.float64))
    return rotations, 10 * torch.randn(count, 3, dtype=torch.float64)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_features_ignore_motion_scale_and_order(name: str, dtype, tolerance: float) -> None:
    """Float64 differs by 1e-13 at most; in float32 the shift by ten sizes costs digits."""
    net = BACKBONES[name](16).to(dtype)
    clouds = torch.randn(2, 50, 3, dtype=dtype)
    features = net(clouds)
    size = features.abs().max()
    for rotation, shift in zip(*motions(3), strict=True):
        moved = net(clouds @ rotation.to(dtype).T + shift.to(dtype))
        assert (moved - features).abs().max() < tolerance * size
    order = torch.randperm(50)
    assert (net(clouds[:, order]) - features[:, order]).abs().max() < tolerance * size
    assert (net(7 * clouds) - features).abs().max() < tolerance * size
    alone = net(clouds[0])
    assert (alone - features[0]).abs().max() < tolerance * size


@pytest.mark.parametrize("name", NAMES)
def test_a_fixed_radius_sees_scale_and_gradients_flow(name: str) -> None:
    net = BACKBONES[name](8, radius=1.0).double()
    cloud = torch.randn(40, 3, dtype=torch.float64)
    assert (net(cloud) - net(0.5 * cloud)).abs().max() > 1e-6
    net(cloud).square().sum().backward()
    missing = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    unused = {"geometric-attention": ("rescale",), "gatr": ("maps", "to_scalar_part")}
    allowed = unused.get(name, ())
    assert not [n for n in missing if not any(part in n for part in allowed)]


def test_deep_sets_see_no_difference_between_mirror_images() -> None:
    net = BACKBONES["deep-sets"](16).double()
    cloud = torch.randn(50, 3, dtype=torch.float64)
    mirrored = net(cloud * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    assert (mirrored - net(cloud)).abs().max() < 1e-11 * net(cloud).abs().max()


def test_triples_of_vectors_tell_mirror_images() -> None:
    layer = GeometricAttention(8, rank=3).double()
    vectors, values = torch.randn(5, 4, 3).double(), torch.randn(5, 4, 8).double()
    plain, _ = layer(vectors, values)
    mirrored, _ = layer(-vectors, values)
    assert (plain - mirrored).abs().max() > 1e-4


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_attention_turns_its_vectors_with_the_input(rank: int) -> None:
    layer = GeometricAttention(8, rank=rank).double()
    vectors, values = torch.randn(5, 4, 3).double(), torch.randn(5, 4, 8).double()
    value, vector = layer(vectors, values)
    for rotation in motions(2)[0]:
        turned_value, turned_vector = layer(vectors @ rotation.T, values)
        assert (turned_value - value).abs().max() < 1e-10
        assert (turned_vector - vector @ rotation.T).abs().max() < 1e-10


def test_gatr_moves_its_multivectors_with_space() -> None:
    net = Gatr(2, 3, 4, 5, c=4, s=8, depth=2).double()
    tokens, scalars = torch.randn(6, 2, 16).double(), torch.randn(6, 4).double()
    out, left = net(tokens, scalars)
    for rotation, shift in zip(*motions(3), strict=True):
        versor = motor(rotation, 0.3 * shift).expand(6, 2, 16)
        moved, same = net(sandwich(versor, tokens), scalars)
        expected = sandwich(versor[:, :1].expand(6, 3, 16), out)
        assert (moved - expected).abs().max() < 1e-9 * expected.abs().max()
        assert (same - left).abs().max() < 1e-9


def test_projective_algebra_moves_points_and_is_associative() -> None:
    rotation, shift = motions(7)
    x = torch.randn(7, 3, dtype=torch.float64)
    versor = motor(rotation, shift)
    moved = position(sandwich(versor, point(x)))
    assert torch.allclose(moved, torch.einsum("nab,nb->na", rotation, x) + shift, atol=1e-12)
    one = geometric_product(versor, reverse(versor))
    assert torch.allclose(one[:, 0], torch.ones(7).double()) and one[:, 1:].abs().max() < 1e-12
    a, b, c = torch.randn(3, 7, 16, dtype=torch.float64)
    left = geometric_product(geometric_product(a, b), c)
    assert torch.allclose(left, geometric_product(a, geometric_product(b, c)), atol=1e-10)
    together = join(sandwich(versor, a), sandwich(versor, b))
    assert torch.allclose(together, sandwich(versor, join(a, b)), rtol=1e-9, atol=1e-9)


def test_three_points_join_to_their_plane() -> None:
    """The plane through (1,0,0), (0,1,0), (0,0,1) is x + y + z = 1."""
    p, q, r = point(torch.eye(3, dtype=torch.float64))
    plane = join(join(p, q), r)
    normal, offset = plane[2:5], plane[1]
    assert torch.allclose(normal / normal[0], torch.ones(3).double())
    assert torch.isclose((offset / normal[0]).abs(), torch.ones(()).double())
    assert plane[5:].abs().max() < 1e-12


def test_linear_maps_commute_with_motions_and_are_independent() -> None:
    basis = linear_basis().double()
    rotation, shift = motions(1)
    versor = motor(rotation, shift)[0]
    x = torch.randn(16, dtype=torch.float64)
    for matrix in basis:
        assert torch.allclose(matrix @ sandwich(versor, x), sandwich(versor, matrix @ x))
    assert int(torch.linalg.matrix_rank(basis.flatten(1))) == 9


def test_deep_sets_permute_and_pool() -> None:
    x = torch.randn(3, 20, 5)
    order = torch.randperm(20)
    for pool in ("max", "mean"):
        layer = EquivariantLayer(5, 7, pool=pool)
        assert torch.allclose(layer(x[:, order]), layer(x)[:, order], atol=1e-5)
    net = DeepSet(5, 4)
    assert torch.allclose(net(x[:, order]), net(x), atol=1e-5)
    twice = torch.cat([x, x], dim=1)  # mean and maximum do not count how often
    assert torch.allclose(net(twice), net(x), atol=1e-5)
    detector = OutlierDetector().double()
    cloud = torch.randn(60, 3).double()
    shuffled = detector(cloud[order.repeat(3) + torch.arange(3).repeat_interleave(20) * 20])
    assert sorted(shuffled.tolist()) == pytest.approx(sorted(detector(cloud).tolist()))


@pytest.mark.parametrize("name", [*NAMES, "shape"])
def test_colors_are_shares_and_survive_the_disk(name, tmp_path: Path) -> None:
    coloring = Coloring(name, channels=12)
    cloud = torch.randn(64, 3)
    colors = coloring.colors(cloud)
    assert colors.shape == (64, 12) and (colors >= 0).all()
    assert torch.allclose(colors.sum(dim=1), torch.ones(64), atol=1e-5)
    again = Coloring.load(coloring.save(tmp_path / "coloring.npz"))
    assert torch.equal(again.colors(cloud), colors)


def test_files_that_hold_no_coloring_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "coloring.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no saved coloring"):
        Coloring.load(path)
    with pytest.raises(FileNotFoundError):
        Coloring.load(tmp_path / "none.npz")


def test_large_clouds_take_a_tree_with_the_same_neighbors() -> None:
    cloud = torch.randn(1500, 3, dtype=torch.float64)
    distances = torch.cdist(cloud, cloud, compute_mode="donot_use_mm_for_euclid_dist")
    distances.fill_diagonal_(torch.inf)
    assert torch.equal(nearest(cloud, 8), distances.topk(8, largest=False).indices)


@pytest.mark.parametrize("name", NAMES)
def test_duplicates_are_harmless_and_bad_clouds_refused(name: str) -> None:
    net = BACKBONES[name](8)
    assert torch.isfinite(net(torch.zeros(20, 3))).all()
    assert torch.isfinite(net(torch.randn(3, 3))).all()
    for bad in (torch.zeros(1, 3), torch.full((9, 3), torch.nan)):
        with pytest.raises(ValueError, match="at least 2 finite points"):
            net(bad)
