"""Every family and bottleneck: invariances, shapes, training, resuming, files."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fields.shapes.latent_file import latent_asset, load_latent
from fields.shapes.models import (
    BOTTLENECKS,
    FAMILIES,
    ModelConfig,
    ShapeAutoEncoder,
    batch_of,
    layout_of,
)
from fields.shapes.models.augmentation import Symmetry
from fields.shapes.models.batch import ShapeBatch
from fields.shapes.models.blocks import Attention, farthest_points
from fields.shapes.models.coding import decode, distance_of, encode_shape
from fields.shapes.models.maps import sample_grid, sample_planes, splat_grid, splat_planes
from fields.shapes.models.training import ShapeConfig, ShapeMethod
from fields.shapes.models.weights import load_model, save_model
from fields.shapes.samples import ShapeSamples
from runs import Budget, Cadence, RunDirectory, Trainee, train
from vq.asset import AssetError


def config(**options) -> ModelConfig:
    small: dict[str, Any] = {
        "floats": 1024, "width": 16, "set_width": 32, "num_points": 256, "codebook": 64,
    }  # fmt: skip
    return ModelConfig(**small | options)


def model(**options) -> ShapeAutoEncoder:
    torch.manual_seed(0)
    made = ShapeAutoEncoder(config(**options))
    torch.nn.init.normal_(made.family.head.out.weight, std=0.1)  # pyright: ignore
    return made.eval()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("floats", [1024, 4096, 16384])
def test_budgets_are_equal(family, floats: int) -> None:
    spent = layout_of(ModelConfig(family=family, floats=floats)).floats
    assert 0.93 * floats <= spent <= floats


def test_unknown_budgets_are_refused() -> None:
    with pytest.raises(ValueError, match="16384"):
        layout_of(ModelConfig(floats=1000))


def in_double(batch: ShapeBatch) -> ShapeBatch:
    """In which sums of another order differ by nothing that matters."""
    return replace(
        batch,
        points=batch.points.double(),
        normals=batch.normals.double(),
        leaves=batch.leaves.double(),
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_order_of_points_does_not_matter(family, shapes: list[ShapeSamples]) -> None:
    """Nor does the company in the batch."""
    made, batch = model(family=family).double(), in_double(batch_of(shapes[:2], 256))
    order = torch.randperm(256)
    shuffled = replace(batch, points=batch.points[:, order], normals=batch.normals[:, order])
    probes = 2 * torch.rand(2, 300, 3).double() - 1
    with torch.no_grad():
        first, _ = made(batch, probes)
        second, _ = made(shuffled, probes)
        alone, _ = made(in_double(batch_of(shapes[1:2], 256)), probes[1:])
    torch.testing.assert_close(first, second, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(first[1:], alone, atol=1e-9, rtol=1e-9)


PAIRINGS = [(family, "normalized") for family in FAMILIES]
PAIRINGS += [("hybrid", bottleneck) for bottleneck in BOTTLENECKS[1:]] + [("hierarchy", "simvq")]


@pytest.mark.parametrize(("family", "bottleneck"), PAIRINGS)
def test_every_pairing_learns_and_codes(family, bottleneck, shapes: list[ShapeSamples]) -> None:
    made = model(family=family, bottleneck=bottleneck).train()
    values, squeezed = made(batch_of(shapes[:2], 256), 2 * torch.rand(2, 64, 3) - 1)
    (values.square().mean() + torch.stack([s.loss for s in squeezed]).sum()).backward()
    for name, parameter in made.named_parameters():
        used = parameter.grad is not None and parameter.grad.abs().sum() > 0
        assert used or (name.endswith(("weight", "bias")) and "quantizer" in name), name
    made.eval()
    latent = encode_shape(made, shapes[0])
    assert latent.floats == made.layout.floats
    assert (latent.indices is not None) == (bottleneck not in ("normalized", "kl"))
    if latent.indices is not None:
        for stored, decoded in zip(latent.values, made.latents_of(latent.indices), strict=True):
            torch.testing.assert_close(stored, decoded)


def test_normalized_latents_have_unit_variance(shapes: list[ShapeSamples]) -> None:
    latent = encode_shape(model(family="hierarchy"), shapes[0])
    for part in latent.values:
        torch.testing.assert_close(part.mean(1), torch.zeros(len(part)), atol=1e-5, rtol=0)
        torch.testing.assert_close(
            part.var(1, unbiased=False), torch.ones(len(part)), atol=1e-2, rtol=0
        )
    for part in encode_shape(model(family="hybrid"), shapes[0]).values:
        assert abs(float(part.var(unbiased=False)) - 1) < 1e-2


def test_farthest_points_spread_and_ignore_the_order() -> None:
    points = torch.rand(2, 400, 3)
    rows = farthest_points(points, 40)
    chosen = points[torch.arange(2)[:, None], rows]
    gaps = torch.cdist(points, chosen).amin(2).amax(1)
    spacing = torch.cdist(chosen, chosen) + 9 * torch.eye(40)
    # A greedy cover: no point is farther from the chosen than the chosen are from each other.
    assert (gaps <= spacing.amin((1, 2)) + 1e-6).all()
    order = torch.randperm(400)
    again = points[:, order][torch.arange(2)[:, None], farthest_points(points[:, order], 40)]
    torch.testing.assert_close(again, chosen)


def test_maps_return_what_was_put_in() -> None:
    """A linear function splatted at cell centers and sampled between them comes back."""
    size, steps = 8, (torch.arange(8) + 0.5) / 4 - 1
    centers = torch.cartesian_prod(steps, steps, steps)
    shapes = torch.zeros(len(centers), dtype=torch.int64)
    slope = torch.tensor([1.0, -2.0, 0.5])
    grid = splat_grid((centers @ slope)[:, None], centers, shapes, 1, size)[:, :1]
    probes = 1.5 * torch.rand(1, 200, 3) - 0.75
    torch.testing.assert_close(
        sample_grid(grid, probes)[..., 0], probes @ slope, atol=1e-5, rtol=1e-4
    )
    planes = splat_planes(centers, centers, shapes, 1, size)[:, :, :3]
    sampled = sample_planes(planes, probes)[0]
    # Each axis is a plane coordinate twice; on the third plane its mean over all cells is 0.
    torch.testing.assert_close(sampled, 2 * probes[0], atol=1e-5, rtol=1e-4)


def test_attention_mask() -> None:
    attention, x, context = (
        Attention(16, 2, context_width=8),
        torch.randn(1, 3, 16),
        torch.randn(1, 5, 8),
    )
    mask = torch.ones(1, 1, 3, 5, dtype=torch.bool)
    mask[..., 3:] = False
    torch.testing.assert_close(attention(x, context, mask), attention(x, context[:, :3]))


def test_symmetries_turn_a_shape_as_a_whole(shapes: list[ShapeSamples]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        symmetry = Symmetry.random(rng)
        turned = symmetry.shape(shapes[0])
        assert (np.diff(turned.octree_keys) > 0).all()
        again = ShapeSamples.level.fget(turned)  # pyright: ignore
        offsets = turned.octree_features[:, 4:] * (2.0 / 2**again.depth)
        places = again.centers.numpy() + offsets
        original = shapes[0].level.centers.numpy() + shapes[0].octree_features[:, 4:] / 32
        wanted = symmetry.points(original)
        np.testing.assert_allclose(
            places[np.lexsort(places.T)], wanted[np.lexsort(wanted.T)], atol=1e-5
        )
        displacement = (turned.octree_features[:, 4:] * turned.octree_features[:, :3]).sum(1)
        np.testing.assert_allclose(displacement, turned.octree_features[:, 3], atol=1e-5)


@pytest.mark.parametrize("family", ["hybrid", "vecset"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    family, shapes: list[ShapeSamples], tmp_path: Path
) -> None:
    settings = ShapeConfig(
        model=config(family=family, bottleneck="kl"), batch=2, queries=64, test_every=4
    )

    def trainee() -> ShapeMethod:
        return ShapeMethod(settings, shapes, device=torch.device("cpu"), seed=3)

    def leave(step: int) -> None:
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    assert isinstance(trainee(), Trainee)
    ends = []
    for name, stops in (("whole", (4,)), ("halves", (2, 4))):
        for stop in stops:
            made = trainee()
            run = RunDirectory.create(tmp_path / name, method="shape", config=settings, resume=True)
            budget = Budget(4)
            on_step = leave if stop == 2 else None
            train(made, run, budget=budget, cadence=Cadence(log_every=1), on_step=on_step)
        ends.append((tmp_path / name / "scene.safetensors").read_bytes())
    assert ends[0] == ends[1]


@pytest.mark.parametrize("bottleneck", ["normalized", "simvq"])
def test_models_and_latents_survive_their_files(
    bottleneck, shapes: list[ShapeSamples], tmp_path: Path
) -> None:
    saved = save_model(model(bottleneck=bottleneck), tmp_path / "m.safetensors")
    loaded = load_model(saved)
    assert save_model(loaded.model, tmp_path / "n.safetensors").read_bytes() == saved.read_bytes()
    latent = encode_shape(loaded.model, shapes[1])
    path = latent_asset(latent, loaded.model, digest=loaded.digest, step=None).write(
        tmp_path / "a.fwa"
    )
    stored = load_latent(path, loaded.model, digest=loaded.digest)
    for one, other in zip(latent.values, stored.latent.values, strict=True):
        assert (one == other).all()
    assert stored.latent.normalization == latent.normalization
    coarse = latent_asset(latent, loaded.model, digest=loaded.digest).to_bytes()
    if bottleneck == "normalized":
        assert len(coarse) < path.stat().st_size / 3
        again = load_latent(coarse, loaded.model, digest=loaded.digest).latent.values
        for one, other in zip(latent.values, again, strict=True):
            assert (one - other).abs().mean() < 1 / 16
    else:
        assert len(coarse) < latent.floats  # bits, not floats
    with pytest.raises(ValueError, match="--model"):
        load_latent(path, loaded.model, digest="0" * 16)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    with pytest.raises((AssetError, ValueError)):
        load_latent(bytes(damaged), loaded.model, digest=loaded.digest)
    with pytest.raises(ValueError, match="safetensors"):
        load_model(path)


def test_decoding_at_any_resolution_and_in_the_source_frame(shapes: list[ShapeSamples]) -> None:
    made = model()
    latent = encode_shape(made, shapes[0])
    probes = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    distance = distance_of(made, latent.values)
    values = distance(probes)
    np.testing.assert_allclose(values[:10], distance(probes[:10]), atol=1e-6)
    threshold = float(np.median(values))
    shifted = replace(latent)
    bias = made.family.get_parameter("head.out.bias")
    with torch.no_grad():
        bias -= threshold / 0.1
    boxed = decode(made, shifted, resolution=32, in_source=False)
    source = decode(made, shifted, resolution=32)
    np.testing.assert_allclose(
        latent.normalization.to_box(source.vertices), boxed.vertices, atol=1e-9
    )
    fine = decode(made, shifted, resolution=64, in_source=False)
    assert len(fine.faces) > 2 * len(boxed.faces)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["triplane", "hybrid"])
def test_a_minute_beats_the_sphere(family, shapes: list[ShapeSamples]) -> None:
    """Over-fitting four shapes leaves the floor of a ball, an overlap of 0.43, far behind.

    In as many steps the grid is at 0.57, the hierarchy at 0.36 and the vector set at 0.32.
    """
    from fields.shapes.metrics import volume_iou

    settings = ShapeConfig(
        model=config(family=family, width=32, set_width=64), batch=4, queries=512,
        learning_rate=3e-3, test_every=99,
    )  # fmt: skip
    trainee = ShapeMethod(settings, shapes, device=torch.device("cpu"), seed=0)
    for step in range(250):
        trainee.step(step, step / 250)
    trainee.model.eval()
    scores, floors = [], []
    for shape in shapes:
        asked = distance_of(trainee.model, encode_shape(trainee.model, shape).values)
        scores.append(volume_iou(shape.volume_sdf, asked(shape.volume)))
        share = max(float((shape.volume_sdf < 0).mean()), 1e-3)
        ball = np.linalg.norm(shape.volume, axis=1) - (6 * 8 * share / (8 * np.pi)) ** (1 / 3)
        floors.append(volume_iou(shape.volume_sdf, ball))
    assert np.mean(scores) > np.mean(floors) + 0.15
