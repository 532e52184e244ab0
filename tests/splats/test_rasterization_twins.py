"""Fast backends against the float64 reference: values and gradients.

Two rules of blending are discontinuous, the alpha threshold and the stop at low transmittance,
and a third (the clamp of alpha) bends. Float32 may fall on the other side of them, so pixels near
one get a looser bound, and gradients are those of a loss that leaves them out.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor

from splats.rasterizer.backend import ALPHA_THRESHOLD, MAX_ALPHA, MIN_TRANSMITTANCE

NATIVE = find_spec("splats._native") is not None and find_spec("splats.rasterizer.cpu") is not None
native = pytest.mark.skipif(not NATIVE, reason="the native kernels are not built")
BACKENDS = [
    pytest.param("cpu", "cpu", marks=native, id="cpu"),
    pytest.param(
        "gsplat",
        "cuda",
        id="gsplat",
        marks=[
            pytest.mark.cuda,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        ],
    ),
]
MARGIN = 1e-3
"""Relative distance from a discontinuity below which float32 may fall on its other side."""


def near_discontinuity(meta: dict[str, Any]) -> Tensor:
    """Pixels [C, H, W] where some Gaussian is within MARGIN of a rule's threshold."""
    ys, xs = torch.meshgrid(
        torch.arange(meta["height"]).double() + 0.5,
        torch.arange(meta["width"]).double() + 0.5,
        indexing="ij",
    )
    masks = []
    for camera, radii in enumerate(meta["radii"]):
        order = meta["depths"][camera].argsort(stable=True)
        order = order[(radii[order] > 0).all(dim=-1)]
        x, y = meta["means2d"][camera, order].unbind(-1)
        a, b, c = meta["conics"][camera, order].unbind(-1)
        dx, dy = xs[..., None] - x, ys[..., None] - y
        raw = meta["opacities"][camera, order] * torch.exp(
            -0.5 * (a * dx**2 + c * dy**2) - b * dx * dy
        )
        used = torch.where(raw >= ALPHA_THRESHOLD, raw.clamp_max(MAX_ALPHA), 0)
        left = (1 - used).cumprod(dim=-1)
        near = (raw / ALPHA_THRESHOLD - 1).abs() < MARGIN
        near |= (raw / MAX_ALPHA - 1).abs() < MARGIN
        near |= (left / MIN_TRANSMITTANCE - 1).abs() < MARGIN
        masks.append(near.any(dim=-1))
    return torch.stack(masks)


def twist(gradient: Tensor | None, viewmats: Tensor) -> Tensor | None:
    """Gradient [C, 6] along rotations and translations of the camera, from that of its entries."""
    if gradient is None:
        return None
    gradient = gradient.double().cpu()
    moved = gradient[:, :3] @ viewmats[:, :3].double().mT  # of [w]x V, as a matrix of w
    turn = moved - moved.mT
    return torch.cat([turn[:, [2, 0, 1], [1, 2, 0]], gradient[:, :3, 3]], dim=1)


def compare(scene: Any, backend: str, device: str, **options: Any) -> None:
    """Render `scene` with both backends and compare images, alphas, meta and all gradients."""
    reference = scene.with_gradients()
    image, alpha, meta = reference.render(backend="reference", absgrad=True, **options)
    band = near_discontinuity({k: v.detach() if torch.is_tensor(v) else v for k, v in meta.items()})
    assert band.double().mean() < 0.25, "the scene must have enough pixels away from thresholds"
    fast = scene.map(lambda t: t.to(device, torch.float32)).with_gradients()
    fast_image, fast_alpha, fast_meta = fast.render(backend=backend, absgrad=True, **options)

    # Worst seen away from thresholds: 2e-5 of the image's range.
    inside = ~band
    span = max(1.0, image.abs().max().item())
    for ours, exact in ((fast_image.cpu().double(), image), (fast_alpha.cpu().double(), alpha)):
        difference = (ours - exact).detach()
        assert difference[inside].abs().max() < 1e-4 * span
        # One flip changes a pixel by about 1/255 of what it hides; they cancel on average.
        assert difference.abs().max() < 0.02 * span
        assert difference.mean().abs() < 1e-4 * span
    flips = (fast_meta["radii"].cpu() - meta["radii"]).abs()
    assert flips.max() <= 1 and flips.double().mean() < 0.01

    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(image.shape, generator=generator, dtype=torch.float64) * inside[..., None]
    for rendered, extra, leaf_meta in ((image, alpha, meta), (fast_image, fast_alpha, fast_meta)):
        leaf_meta["means2d"].retain_grad()
        loss = (rendered * weights.to(rendered)).sum() + (extra * weights[..., :1].to(extra)).sum()
        loss.backward()
    gradients = {
        name: (leaf.grad, reference.leaves()[name].grad) for name, leaf in fast.leaves().items()
    }
    # Entries of a rigid transform are not free: how it may move is what gradients must agree on.
    ours, exact = gradients["viewmats"]
    gradients["viewmats"] = twist(ours, scene.viewmats), twist(exact, scene.viewmats)
    gradients["means2d"] = (fast_meta["means2d"].grad, meta["means2d"].grad)
    gradients["absgrad"] = (fast_meta["means2d"].absgrad, meta["means2d"].absgrad)
    for name, (ours, exact) in gradients.items():
        if exact is None:
            assert ours is None or not ours.any(), name
            continue
        error = (ours.cpu().double() - exact).norm() / exact.norm().clamp_min(1e-12)
        assert error < 1e-3, f"{name}: relative error {error:.1e}"


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
class TestTwins:
    """Every option of the front, one at a time."""

    @pytest.mark.parametrize("camera_model", ["pinhole", "ortho", "fisheye"])
    @pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
    def test_camera_models(self, make_scene, backend, device, camera_model, rasterize_mode) -> None:
        scene = make_scene(80, cameras=2)
        compare(scene, backend, device, camera_model=camera_model, rasterize_mode=rasterize_mode)

    @pytest.mark.parametrize("render_mode", ["D", "ED", "RGB+D", "RGB+ED"])
    def test_render_modes(self, make_scene, backend, device, render_mode) -> None:
        compare(make_scene(80), backend, device, render_mode=render_mode)

    @pytest.mark.parametrize("sh_degree", [0, 1, 2, 3, 4])
    def test_spherical_harmonics(self, make_scene, backend, device, sh_degree) -> None:
        compare(make_scene(80, cameras=2, sh_degree=sh_degree), backend, device)

    @pytest.mark.parametrize("channels", [1, 2, 4])
    def test_channels(self, make_scene, backend, device, channels) -> None:
        compare(make_scene(80, channels=channels), backend, device)

    @pytest.mark.parametrize("scale", [0.02, 1.0])
    def test_small_and_large_gaussians(self, make_scene, backend, device, scale) -> None:
        compare(make_scene(60, scale=scale, size=(33, 17)), backend, device)


@native
@pytest.mark.parametrize("isa", ["portable", "avx2", "avx512"])
def test_every_instruction_set_matches_the_reference(make_scene, isa: str) -> None:
    from splats import _native

    before = _native.isa()
    try:
        _native.set_isa(isa)
    except ValueError as error:
        if isa == "portable" or "has no" not in str(error):
            raise
        # The one thing that cannot be tested here: instructions that the processor lacks.
        pytest.skip(f"this processor: {error}")
    try:
        compare(make_scene(80, sh_degree=3), "cpu", "cpu", rasterize_mode="antialiased")
    finally:
        _native.set_isa(before)


@native
def test_bits_do_not_depend_on_the_number_of_threads(make_scene) -> None:
    from splats import _native

    before = _native.num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 7):
            _native.set_num_threads(threads)
            scene = make_scene(300, cameras=2, sh_degree=3, dtype=torch.float32).with_gradients()
            image, alpha, meta = scene.render(backend="cpu", absgrad=True, render_mode="RGB+ED")
            (image.square().sum() + alpha.sum()).backward()
            gradients = [leaf.grad for leaf in scene.leaves().values()]
            results.append([image, alpha, meta["means2d"].absgrad, *gradients])
    finally:
        _native.set_num_threads(before)
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            assert torch.equal(first, second)
