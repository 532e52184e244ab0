"""Latent geometry, diffusion, alignment and resolution: properties with known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fields.shapes.alignment import (
    Similarity,
    Subspaces,
    assignment_accuracy,
    matching_accuracy,
    pooled,
    relative,
    set_distance,
)
from fields.shapes.geometry import (
    PosteriorMetric,
    fitted_variances,
    geodesic,
    hamiltonian_samples,
    pulled_back,
    straight,
)
from fields.shapes.models import ModelConfig, ShapeAutoEncoder, layout_of
from fields.shapes.models.cascade import CascadedDiffusion, Schedule, Stage, fit_cascade, heun
from fields.shapes.resolution_free import resolution_invariance
from fields.shapes.samples import ShapeSamples


def circle(z: torch.Tensor) -> torch.Tensor:
    """(angle, radius) to the plane: the pulled-back metric is that of polar coordinates."""
    return torch.stack([z[:, 1] * z[:, 0].cos(), z[:, 1] * z[:, 0].sin()], dim=1)


def test_pulled_back_geodesics_are_straight_in_the_decoded_space() -> None:
    start, end = torch.tensor([0.0, 1.0]).double(), torch.tensor([1.2, 1.5]).double()
    curve = geodesic(start, end, pulled_back(circle), count=17, iterations=300)
    decoded = circle(curve)
    line = straight(decoded[0], decoded[-1], 17)
    torch.testing.assert_close(decoded, line, atol=1e-4, rtol=0)
    assert (curve[0] == start).all() and (curve[-1] == end).all()


def test_a_linear_decoder_has_straight_geodesics() -> None:
    matrix = torch.randn(7, 4).double()
    energy = pulled_back(lambda z: z @ matrix.T)
    start, end = torch.randn(4).double(), torch.randn(4).double()
    line = straight(start, end, 9)
    torch.testing.assert_close(geodesic(start, end, energy), line, atol=1e-6, rtol=0)
    # The energy of the uniform line is its squared length.
    torch.testing.assert_close(energy(line), (matrix @ (end - start)).square().sum())


def test_posterior_geodesics_go_around_sure_places() -> None:
    metric = PosteriorMetric(torch.zeros(1, 2).double(), torch.full((1, 2), 0.2).double(), 1.0)
    start = torch.tensor([-1.0, 0.05]).double()
    curve = geodesic(start, start * torch.tensor([-1.0, 1.0]), metric.energy, count=15)
    line = straight(curve[0], curve[-1], 15)
    assert metric.energy(curve) < 0.8 * metric.energy(line)
    assert curve[:, 1].max() > 0.3


def test_the_posterior_metric_and_its_volume() -> None:
    metric = PosteriorMetric(torch.randn(5, 3).double(), torch.rand(5, 3).double() + 0.1)
    z = torch.randn(4, 3).double().requires_grad_()
    direct = torch.full((4, 3), metric.floor).double()
    for mean, variance in zip(metric.means, metric.variances, strict=True):
        gap = ((z - mean) ** 2 / variance).sum(1, keepdim=True)
        direct = direct + torch.exp(-gap / metric.temperature**2) / variance
    torch.testing.assert_close(metric.diagonal(z), direct)
    torch.testing.assert_close(metric.log_volume(z), 0.5 * direct.log().sum(1))
    assert torch.autograd.gradcheck(metric.log_volume, z)
    assert float(metric.log_volume(metric.means).min()) > float(
        metric.log_volume(metric.means + 100).max()
    )
    with pytest.raises(ValueError, match="positive"):
        PosteriorMetric(torch.zeros(1, 2), torch.zeros(1, 2))


def test_hamiltonian_samples_have_the_right_moments() -> None:
    deviation = torch.tensor([0.5, 2.0])
    generator = torch.Generator().manual_seed(0)
    samples, accepted = hamiltonian_samples(
        lambda z: -0.5 * (z / deviation).square().sum(1),
        torch.zeros(2000, 2),
        steps=100,
        step_size=0.17,
        generator=generator,
    )
    torch.testing.assert_close(samples.std(0), deviation, rtol=0.06, atol=0)
    assert 0.8 < accepted <= 1


def test_fitted_variances_follow_the_spread() -> None:
    codes = torch.randn(500, 3) * torch.tensor([1.0, 1.0, 10.0])
    variances = fitted_variances(codes)
    assert (variances > 0).all() and variances[:, 2].mean() > variances[:, 0].mean()


def test_exact_denoisers_give_exact_samples() -> None:
    """For Gaussian data the denoiser is known, and Heun's method must reproduce the variance."""
    spread, mean = 0.5, 2.0
    noise = torch.randn(4000, 1, 2, generator=torch.Generator().manual_seed(0))

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        share = spread**2 / (spread**2 + sigma[:, None, None] ** 2)
        return mean + share * (x - mean)

    samples = heun(denoise, noise, Schedule(steps=30))
    torch.testing.assert_close(samples.mean(), torch.tensor(mean), atol=0.03, rtol=0)
    torch.testing.assert_close(samples.std(), torch.tensor(spread), atol=0.02, rtol=0)


def test_an_untrained_stage_is_right_for_unit_gaussians() -> None:
    layout = layout_of(ModelConfig(family="hierarchy", floats=1024))
    cascade = CascadedDiffusion(layout, width=32, blocks=1)
    latents = [torch.randn(256, part.tokens, part.channels) for part in layout.parts]
    loss = cascade.loss(latents, generator=torch.Generator().manual_seed(0))
    assert float(loss) == pytest.approx(1, abs=0.02)
    samples = cascade.sample(16, generator=torch.Generator().manual_seed(1))
    for part, made in zip(layout.parts, samples, strict=True):
        assert made.shape == (16, part.tokens, part.channels)
        assert float(made.std()) == pytest.approx(1, abs=0.1)


def test_set_stages_are_equivariant() -> None:
    layout = layout_of(ModelConfig(family="hierarchy", floats=1024))
    stage = Stage(layout.parts[0], layout.parts[1:], width=32, blocks=2)
    torch.nn.init.normal_(stage.leave.weight, std=0.1)
    x = torch.randn(2, 32, 16)
    coarser = [torch.randn(2, part.tokens, part.channels) for part in layout.parts[1:]]
    order, sigma = torch.randperm(32), torch.tensor([0.3, 2.0])
    turned = stage(x[:, order], sigma, coarser)
    torch.testing.assert_close(turned, stage(x, sigma, coarser)[:, order], atol=1e-5, rtol=1e-4)
    shuffled = [part.flip(1) for part in coarser]
    torch.testing.assert_close(stage(x, sigma, shuffled), stage(x, sigma, coarser))


@pytest.mark.slow
def test_a_cascade_learns_that_levels_belong_together() -> None:
    """Fine latents that copy the coarse one's sign: samples must keep the pairing."""
    layout = layout_of(ModelConfig(family="hierarchy", floats=1024))
    generator = torch.Generator().manual_seed(0)
    sign = torch.randint(0, 2, (256, 1, 1), generator=generator) * 2.0 - 1
    latents = [sign.expand(-1, part.tokens, part.channels).clone() for part in layout.parts]
    torch.manual_seed(0)
    cascade = CascadedDiffusion(layout, width=32, blocks=1)
    losses = fit_cascade(cascade, latents, steps=400, batch=16, learning_rate=3e-3)
    assert np.mean(losses[-20:]) < 0.3 * losses[0], np.mean(losses[-20:]) / losses[0]
    fine, _, coarse = cascade.sample(256, generator=generator, schedule=Schedule(steps=12))
    # By chance half of the pairs agree, 0.5 +- 0.03.
    assert (fine.mean((1, 2)).sign() == coarse.mean((1, 2)).sign()).float().mean() > 0.85
    assert 64 < (coarse.mean((1, 2)) > 0).sum() < 192  # both modes
    given = [latents[1][:8], latents[2][:8]]
    detailed = cascade.sample(8, generator=generator, coarsest=given)
    assert (detailed[0].mean((1, 2)).sign() == sign[:8, 0, 0]).float().mean() > 0.9


def random_turn(d: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def test_relative_representations_survive_similarities() -> None:
    rng = np.random.default_rng(0)
    codes, anchors = rng.normal(size=(50, 12)), rng.normal(size=(20, 12))
    turn = random_turn(12)

    def mapped(x: np.ndarray) -> np.ndarray:
        return 3.0 * x @ turn.T + 7.0

    one, other = relative(codes, anchors), relative(mapped(codes), mapped(anchors))
    np.testing.assert_allclose(one, other, atol=1e-9)
    assert matching_accuracy(one, other) == 1
    assert matching_accuracy(codes, mapped(codes) - mapped(codes).mean(0)) < 0.3


def test_procrustes_recovers_a_similarity() -> None:
    codes = np.random.default_rng(1).normal(size=(40, 6))
    turn = random_turn(6, 1)
    found = Similarity.fit(codes, 2.5 * codes @ turn.T + 1)
    np.testing.assert_allclose(found.rotation, turn, atol=1e-9)
    assert found.scale == pytest.approx(2.5)
    np.testing.assert_allclose(found(codes), 2.5 * codes @ turn.T + 1, atol=1e-9)


def test_common_subspaces_of_encoders_that_share_a_part() -> None:
    rng = np.random.default_rng(2)
    shared = rng.normal(size=(400, 3))
    left = np.concatenate([shared, rng.normal(size=(400, 5))], 1) @ rng.normal(size=(8, 10))
    right = np.concatenate([shared, rng.normal(size=(400, 9))], 1) @ rng.normal(size=(12, 15))
    found = Subspaces.fit(left[:200], right[:200], dims=5, ridge=1e-6)
    assert (found.correlations[:3] > 0.99).all() and found.correlations[3] < 0.6
    a, b = Subspaces.fit(left[:200], right[:200], dims=3, ridge=1e-6).project(
        left[200:], right[200:]
    )
    assert matching_accuracy(a, b) > 0.95 and assignment_accuracy(a, b) > 0.95
    assert matching_accuracy(a, rng.normal(size=a.shape)) < 0.1
    with pytest.raises(ValueError, match="paired"):
        Subspaces.fit(left[:10], right[:9], dims=2)


def test_sets_have_no_order() -> None:
    rng = np.random.default_rng(3)
    tokens = rng.normal(size=(64, 8))
    order = rng.permutation(64)
    assert set_distance(tokens, tokens[order]) == pytest.approx(0, abs=1e-9)
    moved = tokens + 1e-3
    assert set_distance(tokens, moved[order]) == pytest.approx(1e-3 * 8**0.5, rel=1e-6)
    np.testing.assert_allclose(pooled(tokens), pooled(tokens[order]))


@pytest.mark.parametrize("family", ["hybrid", "grid"])
def test_the_finest_discretization_is_its_own_reference(family, shapes: list[ShapeSamples]) -> None:
    torch.manual_seed(0)
    made = ShapeAutoEncoder(ModelConfig(family=family, floats=1024, width=16)).eval()
    torch.nn.init.normal_(made.family.head.out.weight, std=0.3)  # pyright: ignore
    found = resolution_invariance(made, shapes[0], counts=(100, 1000, 3000), probes=500)
    assert [row.num_points for row in found] == [100, 1000, 3000]
    assert found[-1].latent_change == 0 and found[-1].field_change == 0
    assert found[-1].sign_agreement == 1
    assert found[0].latent_change > found[1].latent_change > 0
