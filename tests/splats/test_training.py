"""Training from photos: quality, exact continuation, masks, corrections and where it starts."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from captures import Cameras, Capture, Similarity, View, psnr
from splats import Gaussians
from splats.formats import save
from splats.scene import SplatScene
from splats.sh import SH_C0
from splats.training.config import SplatsConfig
from splats.training.initialization import points_from_photos
from splats.training.method import SplatsMethod

CPU = torch.device("cpu")


def ring_of_cameras(count: int, size: int, *, height: float = 0.5) -> Cameras:
    """Cameras at distance 1 from the origin, all looking at it."""
    viewmats = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    for i in range(count):
        angle = 2 * math.pi * i / count
        position = torch.tensor([math.cos(angle), math.sin(angle), height], dtype=torch.float64)
        position = position / position.norm()
        z = -position
        x = torch.linalg.cross(z, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
        x = x / x.norm()
        rotation = torch.stack([x, torch.linalg.cross(z, x), z])
        viewmats[i, :3, :3], viewmats[i, :3, 3] = rotation, -rotation @ position
    f = 1.1 * size
    K = torch.tensor([[f, 0, size / 2], [0, f, size / 2], [0, 0, 1]], dtype=torch.float64)
    return Cameras(viewmats, K.repeat(count, 1, 1), size, size)


def textured_plane() -> Gaussians:
    """A dense opaque square at z = 0 with a smooth random texture."""
    side = 56
    line = torch.linspace(-0.45, 0.45, side)
    x, y = torch.meshgrid(line, line, indexing="ij")
    waves = torch.Generator().manual_seed(3)
    k, phase = torch.randn(9, 2, generator=waves) * 12, torch.rand(9, generator=waves) * 6.3
    signal = torch.sin(x[..., None] * k[:, 0] + y[..., None] * k[:, 1] + phase)
    colors = 0.5 + 0.16 * signal.reshape(-1, 3, 3).sum(dim=-1)
    n = side * side
    return Gaussians(
        means=torch.stack([x.flatten(), y.flatten(), torch.zeros(n)], dim=1),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(n, 1),
        log_scales=torch.tensor([0.011, 0.011, 0.001]).log().repeat(n, 1),
        logit_opacities=torch.full((n,), 4.0),
        sh0=(colors[:, None] - 0.5) / SH_C0,
        shN=torch.zeros(n, 0, 3),
    )


@pytest.fixture(scope="module")
def views() -> list[View]:
    """Photos of the plane with exact alpha."""
    output = SplatScene(textured_plane()).render(ring_of_cameras(14, 64), channels=("rgb", "alpha"))
    assert output.rgb is not None and output.alpha is not None
    images, alphas = output.rgb.clamp(0, 1), output.alpha[..., 0].clamp(0, 1)
    return [View(image, alpha) for image, alpha in zip(images, alphas, strict=True)]


def capture_of(views: list[View], *, with_alpha: bool = True) -> Capture:
    """A capture of the ring that holds out every seventh view."""
    if not with_alpha:
        views = [replace(view, alpha=None) for view in views]
    test = tuple(range(0, len(views), 7))
    return Capture(
        source=Path("ring"),
        cameras=ring_of_cameras(len(views), views[0].image.shape[1]),
        image_names=tuple(f"{i}.png" for i in range(len(views))),
        train=tuple(i for i in range(len(views)) if i not in test),
        test=test,
        split="every 7th",
        load_view=views.__getitem__,
    )


def method(capture: Capture, **options: object) -> SplatsMethod:
    defaults = {"num_init": 400, "max_gaussians": 700, "refine_every": 10, "sh_degree": 1}
    config = SplatsConfig(**{**defaults, **options})  # pyright: ignore[reportArgumentType]
    return SplatsMethod.create(config, capture, device=CPU, seed=1)


def parameters(trainee: SplatsMethod) -> list[Tensor]:
    return [param.detach().clone() for _, param in trainee.params.items()]


def held_out_psnr(trainee: SplatsMethod) -> float:
    capture, scene = trainee.capture, trainee.renderable()
    scores = []
    for index in capture.test:
        rendered = scene.render(capture.cameras[index], channels=("rgb",)).rgb
        assert rendered is not None
        scores.append(float(psnr(rendered[0], capture.view(index).image)))
    return sum(scores) / len(scores)


@pytest.mark.parametrize("strategy", ["mcmc", "default"])
def test_training_explains_views_it_never_saw(views: list[View], strategy: str) -> None:
    trainee = method(capture_of(views), strategy=strategy)
    before = held_out_psnr(trainee)
    for step in range(250):
        trainee.step(step, step / 250)
    after = held_out_psnr(trainee)
    # Measured: from 12.6 to 22.2 dB (mcmc) and from 15.4 to 23.0 dB (default).
    assert after > max(20.5, before + 5), (before, after)
    assert trainee.num_primitives <= 700


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "mcmc"},
        {"strategy": "default", "grow_gradient": 1e-5},
        {"strategy": "default", "absgrad": True},
        {"exposure": True, "refine_poses": True, "antialiased": True},
    ],
)
def test_continuing_from_a_saved_state_changes_no_bit(
    views: list[View], options: dict[str, object]
) -> None:
    """Across refinements of the set, the change of resolution and random backgrounds."""
    capture = capture_of(views)
    straight = method(capture, **options)
    for step in range(60):
        straight.step(step, step / 60)
    first = method(capture, **options)
    for step in range(23):
        first.step(step, step / 60)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = method(capture, **options)
    second.load_state_dict(torch.load(file, weights_only=True))
    for step in range(23, 60):
        second.step(step, step / 60)
    assert len(second.params) == len(straight.params)
    assert all(map(torch.equal, parameters(second), parameters(straight)))


def test_what_is_masked_has_no_influence(views: list[View]) -> None:
    """But for the 5 pixels around the mask's edge that the SSIM windows of valid pixels reach."""
    mask = torch.ones(64, 64, dtype=torch.bool)
    mask[:, :20] = False
    noise = torch.rand(64, 15, 3, generator=torch.Generator().manual_seed(0))
    clean, dirty = [], []
    for view in views:
        spoiled = view.image.clone()
        spoiled[:, :15] = noise
        clean.append(View(view.image, mask=mask))
        dirty.append(View(spoiled, mask=mask))
    trained = []
    for masked in (clean, dirty):
        trainee = method(capture_of(masked), init="random", coarse_until=0.0)
        for step in range(30):
            trainee.step(step, step / 30)
        trained.append(parameters(trainee))
    assert all(map(torch.equal, *trained))


def test_exposure_is_learned_per_photo(views: list[View]) -> None:
    gains = torch.linspace(0.6, 1.0, len(views))
    dimmed = [View(view.image * gain) for view, gain in zip(views, gains, strict=True)]
    capture = capture_of(dimmed)
    trainee = method(capture, exposure=True)
    for step in range(400):
        trainee.step(step, step / 400)
    assert trainee._exposure is not None
    learned = trainee._exposure.transforms.detach()[:, :, :3].diagonal(dim1=1, dim2=2).mean(dim=1)
    true = gains[list(capture.train)]
    correlation = torch.corrcoef(torch.stack([learned, true]))[0, 1]
    # Measured: 0.83, and 0.31 for photos without the gains. In 400 steps only part of the gains
    # is learned (0.98 to 1.08 for true ratios of 0.6 to 1), so the order is what is tested.
    assert correlation > 0.7


def test_points_from_photos_lie_on_what_the_photos_show(views: list[View]) -> None:
    points = points_from_photos(capture_of(views), 500, generator=torch.Generator().manual_seed(0))
    off_plane = points.positions[:, 2].abs()
    inside = points.positions[:, :2].abs().max(dim=1).values < 0.5
    assert len(points.positions) == 500
    # The plane is at distance 1; depths are 48 steps between 0.15 and 20.
    assert (off_plane < 0.1).float().mean() > 0.7
    assert inside.float().mean() > 0.8


def test_a_fully_masked_capture_is_refused(views: list[View]) -> None:
    hidden = [View(v.image, mask=torch.zeros(64, 64, dtype=torch.bool)) for v in views]
    with pytest.raises(ValueError, match="fully masked"):
        method(capture_of(hidden))


def test_training_starts_from_a_file_in_the_frame_of_the_source(
    views: list[View], tmp_path: Path
) -> None:
    """Points of another representation, such as a field, become the first Gaussians."""
    similarity = Similarity(3.0, torch.eye(3).double(), torch.tensor([1.0, 2.0, 3.0]).double())
    capture = replace(capture_of(views), T_source_capture=similarity)
    plane = textured_plane()
    save(plane.transformed(similarity), tmp_path / "dense.ply")
    trainee = method(capture, init=str(tmp_path / "dense.ply"), max_gaussians=5000)
    torch.testing.assert_close(trainee.gaussians().means, plane.means, atol=1e-6, rtol=0)
    torch.testing.assert_close(trainee.gaussians().sh0, plane.sh0, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="a file that exists"):
        method(capture, init="elsewhere.ply")
