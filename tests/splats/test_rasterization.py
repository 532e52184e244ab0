"""`rasterization`: what must hold for every backend that runs on this machine."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from captures import Similarity
from splats import Gaussians, rasterization
from splats.rasterizer.selection import BackendName

NATIVE = find_spec("splats._native") is not None and find_spec("splats.rasterizer.cpu") is not None
BACKENDS = [
    pytest.param("reference", id="reference"),
    pytest.param(
        "cpu",
        id="cpu",
        marks=pytest.mark.skipif(not NATIVE, reason="the native kernels are not built"),
    ),
]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> BackendName:
    """Name of a backend that runs CPU tensors."""
    return request.param


@pytest.fixture
def dtype(backend: BackendName) -> torch.dtype:
    """The most precise dtype of the backend."""
    return torch.float64 if backend == "reference" else torch.float32


@pytest.fixture
def atol(backend: BackendName) -> float:
    """Rounding of values near 1 that pass through a rotation and a blend."""
    return 1e-10 if backend == "reference" else 2e-4


def pair_of_gaussians(dtype: torch.dtype) -> dict[str, Any]:
    """A red Gaussian at z = 2 and a blue one at z = 3 on the optical axis of one camera."""
    return {
        "means": torch.tensor([[0, 0, 2], [0, 0, 3]], dtype=dtype),
        "quats": torch.tensor([[1, 0, 0, 0]] * 2, dtype=dtype),
        "scales": torch.full((2, 3), 0.5, dtype=dtype),
        "opacities": torch.tensor([0.8, 0.9], dtype=dtype),
        "colors": torch.tensor([[1, 0, 0], [0, 0, 1]], dtype=dtype),
        "viewmats": torch.eye(4, dtype=dtype)[None],
        "Ks": torch.tensor([[[20, 0, 7.5], [0, 20, 7.5], [0, 0, 1]]], dtype=dtype),
        "width": 15,
        "height": 15,
    }


def test_two_gaussians_blend_by_hand(backend: BackendName, dtype: torch.dtype) -> None:
    """At the centre pixel each alpha is the opacity, so the whole pixel is known."""
    arguments = pair_of_gaussians(dtype)
    background = torch.tensor([[0.0, 1.0, 0.0]], dtype=dtype)
    image, alpha, meta = rasterization(
        **arguments, backgrounds=background, render_mode="RGB+D", backend=backend
    )
    expected = torch.tensor([0.8, 0.02, 0.18, 0.8 * 2 + 0.18 * 3], dtype=dtype)
    torch.testing.assert_close(image[0, 7, 7], expected, atol=1e-6, rtol=1e-6)  # 7e-7 seen
    torch.testing.assert_close(alpha[0, 7, 7, 0].item(), 0.98, atol=1e-6, rtol=0)
    variance = (20 * 0.5 / 2) ** 2 + 0.3
    radius = math.ceil(math.sqrt(2 * math.log(255 * 0.8) * variance))
    assert meta["radii"][0, 0].tolist() == [radius, radius]
    # Ten pixels aside the nearer one has fallen off by its own variance.
    near = 0.8 * math.exp(-0.5 * 49 / variance)
    far = 0.9 * math.exp(-0.5 * 49 / ((20 * 0.5 / 3) ** 2 + 0.3))
    edge = torch.tensor([near, (1 - near) * (1 - far), (1 - near) * far], dtype=dtype)
    torch.testing.assert_close(image[0, 7, 0, :3], edge, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("layout", ["contiguous", "strided", "reversed"])
def test_nearer_gaussian_occludes_whatever_its_place_in_memory(
    backend: BackendName, dtype: torch.dtype, layout: str
) -> None:
    arguments = pair_of_gaussians(dtype)
    expected = rasterization(**arguments, backend=backend)[0]
    for name in ("means", "quats", "scales", "opacities", "colors"):
        tensor = arguments[name]
        if layout == "strided":
            wide = torch.full((4, *(2 * n for n in tensor.shape[1:])), 7.0, dtype=dtype)
            view = wide[(slice(None, None, 2), *(slice(None, None, 2) for _ in tensor.shape[1:]))]
            view.copy_(tensor)
            assert not view.is_contiguous()
            arguments[name] = view
        elif layout == "reversed":
            arguments[name] = tensor.flip(0)
    assert torch.equal(rasterization(**arguments, backend=backend)[0], expected)


def test_equal_depths_blend_in_index_order(backend: BackendName, dtype: torch.dtype) -> None:
    arguments = pair_of_gaussians(dtype)
    arguments["means"][:, 2] = 2
    image = rasterization(**arguments, backend=backend)[0]
    torch.testing.assert_close(image[0, 7, 7].tolist(), [0.8, 0.0, 0.18], atol=1e-6, rtol=0)


def test_pixel_stops_before_the_gaussian_that_would_make_it_opaque(
    backend: BackendName, dtype: torch.dtype
) -> None:
    """Transmittance 0.02, then 0.0004; the third would leave 4e-6 <= 1e-4 and is not blended."""
    arguments = pair_of_gaussians(dtype)
    for name in ("means", "quats", "scales", "colors"):
        arguments[name] = arguments[name][[0, 1, 1]]
    arguments["means"][2, 2] = 4
    arguments["opacities"] = torch.tensor([0.98, 0.98, 1.0], dtype=dtype)
    alpha = rasterization(**arguments, backend=backend)[1]
    torch.testing.assert_close(alpha[0, 7, 7, 0].item(), 1 - 4e-4, atol=1e-6, rtol=0)


def test_alpha_is_clamped(backend: BackendName, dtype: torch.dtype) -> None:
    arguments = pair_of_gaussians(dtype)
    arguments["opacities"] = torch.tensor([1.0, 0.0], dtype=dtype)
    alpha = rasterization(**arguments, backend=backend)[1]
    torch.testing.assert_close(alpha.max().item(), 0.99, atol=1e-6, rtol=0)


def test_order_of_gaussians_does_not_matter(make_scene, backend, dtype, atol) -> None:
    scene = make_scene(dtype=dtype)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    shuffled = replace(
        scene,
        **{
            name: getattr(scene, name)[order]
            for name in ("means", "quats", "scales", "opacities", "colors")
        },
    )
    image, alpha, meta = scene.render(backend=backend)
    other_image, other_alpha, other_meta = shuffled.render(backend=backend)
    assert torch.equal(image, other_image) and torch.equal(alpha, other_alpha)
    assert torch.equal(meta["radii"][:, order], other_meta["radii"])


@pytest.mark.parametrize("sh_degree", [0, 1, 2, 3, 4])
def test_world_frame_does_not_matter(make_scene, backend, dtype, atol, sh_degree: int) -> None:
    """Turning, moving and scaling the world and the cameras together changes no pixel."""
    scene = make_scene(sh_degree=sh_degree, dtype=dtype, cameras=2)
    gaussians = Gaussians(
        scene.means,
        scene.quats,
        scene.scales.log(),
        scene.opacities.logit(),
        scene.colors[:, :1],
        scene.colors[:, 1:],
    )
    w = torch.tensor([[0, -0.9, 0.4], [0.9, 0, -1.3], [-0.4, 1.3, 0]], dtype=torch.float64)
    similarity = Similarity(
        scale=1.7,
        rotation=torch.linalg.matrix_exp(w),
        translation=torch.tensor([0.3, -2.0, 1.1], dtype=torch.float64),
    )
    moved = gaussians.transformed(similarity)
    # x' = s R x + t, and the camera sees R_c x + t_c = (R_c R^T (x' - t)) / s + t_c, times s.
    rotation = scene.viewmats[:, :3, :3].double() @ similarity.rotation.T
    viewmats = scene.viewmats.double().clone()
    viewmats[:, :3, :3] = rotation
    viewmats[:, :3, 3] = similarity.scale * viewmats[:, :3, 3] - rotation @ similarity.translation
    other = replace(
        scene,
        means=moved.means,
        quats=moved.quats,
        scales=moved.log_scales.exp(),
        colors=torch.cat([moved.sh0, moved.shN], dim=1),
        viewmats=viewmats.to(dtype),
    )
    image = scene.render(backend=backend, render_mode="RGB+ED")[0]
    other_image = other.render(backend=backend, render_mode="RGB+ED")[0]
    other_image[..., 3] /= similarity.scale
    difference = (image - other_image).abs()
    # Float32 may move a pixel across the 1/255 threshold; float64 does not here.
    assert (difference > 10 * atol).float().mean() <= (0 if dtype == torch.float64 else 2e-3)
    assert difference.max() < 0.02


@pytest.mark.parametrize("batch", [(), (2,), (1, 2)])
def test_batches_equal_single_scenes(make_scene, backend, dtype, batch: tuple[int, ...]) -> None:
    scenes = [make_scene(40, cameras=2, dtype=dtype, seed=s) for s in range(math.prod(batch))]
    names = ("means", "quats", "scales", "opacities", "colors", "viewmats", "Ks", "backgrounds")
    stacked = replace(
        scenes[0],
        **{
            name: torch.stack([getattr(s, name) for s in scenes]).reshape(
                *batch, *getattr(scenes[0], name).shape
            )
            for name in names
        },
    ).with_gradients()
    image, alpha, meta = stacked.render(backend=backend, render_mode="RGB+ED", absgrad=True)
    meta["means2d"].retain_grad()
    (image.square().sum() + alpha.sum()).backward()
    assert image.shape == (*batch, 2, 29, 40, 4) and alpha.shape == (*batch, 2, 29, 40, 1)
    assert meta["radii"].shape == (*batch, 2, 40, 2) and meta["radii"].dtype == torch.int32
    assert meta["n_batches"] == len(scenes) and meta["n_cameras"] == 2
    for index, scene in enumerate(scene.with_gradients() for scene in scenes):
        one_image, one_alpha, one_meta = scene.render(
            backend=backend, render_mode="RGB+ED", absgrad=True
        )
        one_meta["means2d"].retain_grad()
        (one_image.square().sum() + one_alpha.sum()).backward()
        flat = slice(index, index + 1)
        assert torch.equal(image.reshape(-1, *one_image.shape)[index], one_image)
        for name, leaf in scene.leaves().items():
            grads = getattr(stacked, name).grad.reshape(-1, *leaf.shape)[flat]
            assert torch.equal(grads[0], leaf.grad), name
        means2d, one_means2d = meta["means2d"], one_meta["means2d"]
        shape = one_means2d.shape
        assert torch.equal(means2d.grad.reshape(-1, *shape)[index], one_means2d.grad)
        assert torch.equal(means2d.absgrad.reshape(-1, *shape)[index], one_means2d.absgrad)


def test_cameras_equal_single_cameras(make_scene, backend, dtype) -> None:
    scene = make_scene(cameras=3, dtype=dtype)
    image, alpha, _ = scene.render(backend=backend)
    for camera in range(3):
        one = replace(
            scene,
            viewmats=scene.viewmats[camera : camera + 1],
            Ks=scene.Ks[camera : camera + 1],
            backgrounds=scene.backgrounds[camera : camera + 1],
        )
        one_image, one_alpha, _ = one.render(backend=backend)
        assert torch.equal(one_image[0], image[camera])
        assert torch.equal(one_alpha[0], alpha[camera])


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 9])
def test_channels_are_independent(make_scene, backend, dtype, channels: int) -> None:
    scene = make_scene(channels=channels, dtype=dtype)
    image, alpha, _ = scene.render(backend=backend)
    assert image.shape[-1] == channels
    for channel in range(channels):
        one = replace(
            scene,
            colors=scene.colors[:, channel : channel + 1],
            backgrounds=scene.backgrounds[:, channel : channel + 1],
        )
        one_image, one_alpha, _ = one.render(backend=backend)
        torch.testing.assert_close(one_image[..., 0], image[..., channel], atol=1e-6, rtol=1e-6)
        assert torch.equal(one_alpha, alpha)
    chunked = scene.render(backend=backend, channel_chunk=2)[0]
    torch.testing.assert_close(chunked, image, atol=1e-6, rtol=1e-6)


def test_render_modes_are_parts_of_one_image(make_scene, backend, dtype) -> None:
    scene = make_scene(dtype=dtype)
    images = {
        mode: scene.render(backend=backend, render_mode=mode)[0]
        for mode in ("RGB", "D", "ED", "RGB+D", "RGB+ED")
    }
    alpha = scene.render(backend=backend)[1]
    close: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(images["RGB+D"][..., :3], images["RGB"], **close)
    torch.testing.assert_close(images["RGB+D"][..., 3:], images["D"], **close)
    torch.testing.assert_close(images["ED"], images["D"] / alpha.clamp_min(1e-10), **close)
    torch.testing.assert_close(images["RGB+ED"][..., 3:], images["ED"], **close)
    assert (images["ED"][alpha > 0] > 0).all()


def test_backgrounds_show_where_nothing_is(make_scene, backend, dtype) -> None:
    scene = make_scene(dtype=dtype)
    image, alpha, _ = scene.render(backend=backend)
    bare = replace(scene, backgrounds=None).render(backend=backend)[0]
    expected = bare + (1 - alpha) * scene.backgrounds[:, None, None]
    torch.testing.assert_close(image, expected, atol=1e-6, rtol=1e-5)
    empty = scene.map(lambda t: t).render(backend=backend, near_plane=1e3)
    assert torch.equal(empty[0], scene.backgrounds[:, None, None].expand_as(empty[0]))
    assert not empty[1].any() and not empty[2]["radii"].any()


@pytest.mark.parametrize("render_mode", ["RGB", "RGB+ED"])
def test_masked_tiles_show_only_the_background(make_scene, backend, dtype, render_mode) -> None:
    scene = make_scene(dtype=dtype, cameras=2)
    masks = torch.rand(2, 2, 3, generator=torch.Generator().manual_seed(0)) > 0.5
    image, alpha, _ = scene.render(backend=backend, render_mode=render_mode)
    masked, masked_alpha, meta = scene.render(backend=backend, render_mode=render_mode, masks=masks)
    assert (meta["tile_width"], meta["tile_height"], meta["tile_size"]) == (3, 2, 16)
    shown = masks.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, :29, :40, None]
    depth = torch.zeros(2, image.shape[-1] - 3, dtype=dtype)
    background = torch.cat([scene.backgrounds, depth], dim=-1)[:, None, None]
    assert torch.equal(masked, torch.where(shown, image, background))
    assert torch.equal(masked_alpha, torch.where(shown, alpha, 0))


@pytest.mark.parametrize("count", [0, 1])
def test_few_gaussians(make_scene, backend, dtype, count: int) -> None:
    scene = make_scene(count, cameras=2, dtype=dtype, sh_degree=2).with_gradients()
    image, alpha, meta = scene.render(backend=backend, absgrad=True, render_mode="RGB+ED")
    (image.sum() + alpha.sum()).backward()
    assert image.shape == (2, 29, 40, 4) and meta["means2d"].shape == (2, count, 2)
    background = scene.backgrounds.grad
    torch.testing.assert_close(background, (1 - alpha).sum(dim=(1, 2)).expand(2, 3).detach())
    for name, leaf in scene.leaves().items():
        assert leaf.grad is None or torch.isfinite(leaf.grad).all(), name


def test_covariances_replace_quats_and_scales(make_scene, backend, dtype, atol) -> None:
    scene = make_scene(dtype=dtype)
    from splats.rasterizer.projection import covariances

    covars = covariances(scene.quats.double(), scene.scales.double()).to(dtype)
    image = scene.render(backend=backend)[0]
    other = scene.render(backend=backend, covars=covars, quats=None, scales=None)[0]
    torch.testing.assert_close(other, image, atol=10 * atol, rtol=0)


def test_colors_per_camera(make_scene, backend, dtype) -> None:
    for sh_degree in (None, 3):
        scene = make_scene(cameras=2, dtype=dtype, sh_degree=sh_degree)
        per_camera = replace(scene, colors=torch.stack([scene.colors, 0.3 * scene.colors]))
        image = scene.render(backend=backend)[0]
        both = per_camera.render(backend=backend)[0]
        dimmed = replace(scene, colors=0.3 * scene.colors).render(backend=backend)[0]
        torch.testing.assert_close(both, torch.stack([image[0], dimmed[1]]), atol=1e-6, rtol=1e-6)


def test_lower_sh_degree_ignores_higher_coefficients(make_scene, backend, dtype) -> None:
    scene = make_scene(dtype=dtype, sh_degree=3)
    low = replace(scene, colors=scene.colors[:, :4], sh_degree=1).render(backend=backend)[0]
    assert torch.equal(replace(scene, sh_degree=1).render(backend=backend)[0], low)


def test_antialiasing_dims_small_gaussians_by_their_blur(backend, dtype) -> None:
    """A far Gaussian of variance v per axis keeps the integral v / (v + 0.3) of its opacity."""
    arguments = pair_of_gaussians(dtype)
    arguments["scales"] = torch.full((2, 3), 0.04, dtype=dtype)
    classic = rasterization(**arguments, backend=backend)[1]
    sharp, meta = rasterization(**arguments, rasterize_mode="antialiased", backend=backend)[1:]
    variance = (20 * 0.04 / 2) ** 2
    expected = 0.8 * variance / (variance + 0.3)
    torch.testing.assert_close(meta["opacities"][0, 0].item(), expected, atol=1e-6, rtol=1e-5)
    assert sharp[0, 7, 7, 0] < classic[0, 7, 7, 0]


def test_culling_by_depth_radius_and_image(backend, dtype) -> None:
    arguments = pair_of_gaussians(dtype)

    def visible(**options: Any) -> list[bool]:
        meta = rasterization(**{**arguments, **options}, backend=backend)[2]
        return (meta["radii"][0] > 0).all(dim=-1).tolist()

    assert visible() == [True, True]
    assert visible(near_plane=2.5) == [False, True]
    assert visible(far_plane=2.5) == [True, False]
    assert visible(radius_clip=14.0) == [True, False]
    assert visible(opacities=torch.tensor([1 / 256, 0.5], dtype=dtype)) == [False, True]
    aside = torch.tensor([[0, 0, -2], [9, 0, 3]], dtype=dtype)
    assert visible(means=aside) == [False, False]
    assert visible(means=torch.full((2, 3), math.nan, dtype=dtype)) == [False, False]


def test_gradients_of_culled_gaussians_are_zero(make_scene, backend, dtype) -> None:
    scene = make_scene(dtype=dtype, sh_degree=1).with_gradients()
    image, _, meta = scene.render(backend=backend, rasterize_mode="antialiased")
    image.square().sum().backward()
    culled = (meta["radii"][0] == 0).any(dim=-1)
    assert 0 < culled.sum() < len(culled)
    for name in ("means", "quats", "scales", "opacities", "colors"):
        gradient = getattr(scene, name).grad
        assert not gradient[culled].any(), name
        assert torch.isfinite(gradient).all(), name


def test_absgrad_is_the_sum_of_absolute_gradients_per_pixel(make_scene, backend, dtype) -> None:
    """Backward through one pixel at a time gives signed gradients whose magnitudes must add up."""
    scene = make_scene(12, size=(9, 7), dtype=dtype, scale=0.4).with_gradients()
    image, _, meta = scene.render(backend=backend, absgrad=True)
    means2d = meta["means2d"]
    means2d.retain_grad()
    weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(2), dtype=dtype)
    (image * weights).sum().backward()
    gathered = means2d.absgrad.clone()
    total = torch.zeros_like(gathered)
    plain, _, plain_meta = scene.render(backend=backend)
    for row in range(7):
        for column in range(9):
            loss = (plain[0, row, column] * weights[0, row, column]).sum()
            (grad,) = torch.autograd.grad(loss, plain_meta["means2d"], retain_graph=True)
            total += grad.abs()
    torch.testing.assert_close(gathered, total, atol=1e-5, rtol=1e-4)
    assert (gathered >= means2d.grad.abs() - 1e-5).all() and gathered.max() > 0


def test_runs_repeat_to_the_bit(make_scene, backend, dtype) -> None:
    def run() -> list[torch.Tensor]:
        scene = make_scene(200, cameras=2, sh_degree=3, dtype=dtype).with_gradients()
        image, alpha, _ = scene.render(backend=backend, render_mode="RGB+ED")
        (image.square().sum() + alpha.sum()).backward()
        return [image, alpha, *(leaf.grad for leaf in scene.leaves().values())]

    for first, second in zip(run(), run(), strict=True):
        assert torch.equal(first, second)


def test_no_gradient_is_recorded_when_none_is_asked_for(make_scene, backend, dtype) -> None:
    with torch.no_grad():
        image, alpha, meta = make_scene(dtype=dtype).with_gradients().render(backend=backend)
    assert not (image.requires_grad or alpha.requires_grad or meta["means2d"].requires_grad)
