"""Wrong arguments of `rasterization` are named, with what was expected and what was found."""

from __future__ import annotations

from typing import Any

import pytest
import torch

pytestmark = pytest.mark.usefixtures("without_type_checks")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"means": torch.zeros(60, 4)}, r"`means` must be \[\.\.\., N, 3\], got \[60, 4\]"),
        ({"quats": torch.zeros(1, 4)}, r"`quats` must be \[60, 4\], got \[1, 4\]; \(w, x, y, z\)"),
        ({"scales": torch.zeros(60, 1)}, r"`scales` must be \[60, 3\], got \[60, 1\]"),
        ({"scales": None}, r"`quats` and `scales` must be given unless `covars` is"),
        ({"opacities": torch.zeros(60, 1)}, r"`opacities` must be \[60\], got \[60, 1\]"),
        ({"colors": torch.zeros(1, 3)}, r"`colors` must be \[60, D\], got \[1, 3\]"),
        ({"colors": torch.zeros(60, 0)}, r"`colors` must have at least one channel"),
        ({"sh_degree": 1}, r"`colors` must be \[60, K, 3\], got \[60, 3\]; SH coefficients"),
        ({"sh_degree": 5}, r"`sh_degree` must be None or 0 to 4, got 5"),
        (
            {"sh_degree": 2, "colors": torch.zeros(60, 4, 3)},
            r"`colors` must hold at least 9 SH coefficients for `sh_degree` 2, got 4",
        ),
        ({"viewmats": torch.zeros(1, 3, 4)}, r"`viewmats` must be .* got \[1, 3, 4\]; .*0 0 0 1"),
        ({"viewmats": torch.zeros(0, 4, 4)}, r"`viewmats` must hold at least one camera"),
        ({"Ks": torch.zeros(3, 3)}, r"`Ks` must be \[1, 3, 3\], got \[3, 3\]"),
        ({"backgrounds": torch.zeros(3)}, r"`backgrounds` must be \[1, 3\], got \[3\]"),
        ({"masks": torch.ones(1, 3, 2, dtype=torch.bool)}, r"`masks` must be \[1, 2, 3\], got"),
        ({"masks": torch.ones(1, 2, 3)}, r"`masks` must be torch.bool on cpu"),
        ({"viewmats": torch.eye(4).double()[None]}, r"`viewmats` must be torch.float32 on cpu"),
        ({"width": 0}, r"`width` must be a positive int, got 0"),
        ({"height": 2.5}, r"`height` must be a positive int, got 2.5"),
        ({"render_mode": "rgb"}, r"`render_mode` must be one of 'RGB', 'D', .*, got 'rgb'"),
        ({"camera_model": "lidar"}, r"`camera_model` must be one of 'pinhole'.*, got 'lidar'"),
        ({"rasterize_mode": "fast"}, r"`rasterize_mode` must be one of 'classic'.*, got 'fast'"),
        ({"backend": "cuda"}, r"`backend` must be one of 'auto', 'cpu'.*, got 'cuda'"),
        ({"backend": "gsplat"}, r"`backend` 'gsplat' needs tensors on 'cuda', got 'cpu'"),
        ({"sparse_grad": True}, r"`sparse_grad` must be False for backend 'reference'"),
        ({"distributed": True}, r"`distributed` must be left at False, got True"),
        ({"with_ut": True}, r"`with_ut` must be left at False, got True"),
        ({"radial_coeffs": torch.zeros(1, 4)}, r"`radial_coeffs` must be left at None"),
    ],
)
def test_wrong_arguments_are_named(make_scene, change: dict[str, Any], message: str) -> None:
    scene = make_scene(dtype=torch.float32)
    with pytest.raises(ValueError, match=message):
        scene.render(**{"backend": "reference", **change})


def test_double_precision_is_not_sent_to_a_float32_backend(make_scene) -> None:
    with pytest.raises(ValueError, match=r"`means` must be torch.float32 for backend 'cpu'"):
        make_scene().render(backend="cpu")


def test_unknown_keyword_is_a_type_error_and_switched_off_options_pass(make_scene) -> None:
    scene = make_scene()
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        scene.render(backend="reference", nonsense=1)
    expected = scene.render(backend="reference")[0]
    image = scene.render(backend="reference", distributed=False, segmented=True, packed=False)[0]
    assert torch.equal(image, expected)
