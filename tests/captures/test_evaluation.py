"""Evaluation against numbers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from captures import Cameras, Capture, RenderOutput, Similarity, View
from captures.evaluation import choose_background, evaluate, to_8_bit


class Flat:
    """Renders one colour everywhere and remembers its cameras."""

    num_bytes = 100
    num_primitives = 10

    def __init__(self, value: float) -> None:
        self.value = value
        self.cameras: list[Cameras] = []

    def render(self, cameras, *, channels=("rgb", "alpha", "depth"), background=None):
        self.cameras.append(cameras)
        shape = (len(cameras), cameras.height, cameras.width)
        rgb = torch.full((*shape, 3), self.value)
        return RenderOutput(rgb, torch.ones(*shape, 1), torch.ones(*shape, 1))

    def bounds(self):
        return torch.zeros(2, 3)


def capture_of(*views: View, **changes) -> Capture:
    height, width = views[0].image.shape[:2]
    count = len(views)
    viewmats = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    cameras = Cameras(
        viewmats, torch.eye(3, dtype=torch.float64).repeat(count, 1, 1), width, height
    )
    return Capture(
        source=Path("nowhere"),
        cameras=cameras,
        image_names=tuple(f"{index}.png" for index in range(count)),
        train=(),
        test=tuple(range(count)),
        split="all",
        load_view=lambda index: views[index],
        **changes,
    )


def test_psnr_is_the_mean_over_images_of_8_bit_values():
    views = (View(torch.full((16, 16, 3), 0.2)), View(torch.full((16, 16, 3), 0.6)))
    result = evaluate(Flat(0.5), capture_of(*views))
    steps = [(128 - 51) / 255, (153 - 128) / 255]  # 0.5 * 255 = 127.5 rounds up
    expected = [-20 * math.log10(step) for step in steps]
    assert [image.psnr for image in result.images] == pytest.approx(expected, abs=1e-4)
    assert result.psnr == pytest.approx(sum(expected) / 2, abs=1e-4)
    assert result.bits_per_primitive == 80


def test_values_beyond_the_range_are_clamped():
    result = evaluate(Flat(7.0), capture_of(View(torch.full((16, 16, 3), 0.9))))
    assert result.psnr == pytest.approx(-20 * math.log10((255 - 230) / 255), abs=1e-4)
    assert to_8_bit(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 1.0]


def test_masked_pixels_do_not_count():
    image = torch.full((16, 16, 3), 0.2)
    image[:, 8:] = 1.0
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:, :8] = True
    result = evaluate(Flat(0.5), capture_of(View(image, mask=mask)))
    assert result.psnr == pytest.approx(-20 * math.log10(77 / 255), abs=1e-4)


def test_transparent_photos_are_put_over_the_background():
    view = View(torch.zeros(16, 16, 3), alpha=torch.zeros(16, 16))
    result = evaluate(Flat(0.5), capture_of(view), background=torch.ones(3))
    assert result.psnr == pytest.approx(-20 * math.log10(127 / 255), abs=1e-4)


def test_cameras_are_moved_to_the_frame_of_the_file():
    shift = Similarity(translation=torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    capture = capture_of(View(torch.zeros(16, 16, 3)))
    capture = replace(capture, T_source_capture=shift)
    scene = Flat(0.5)
    evaluate(scene, capture)
    assert scene.cameras[0].positions.tolist() == [[1.0, 2.0, 3.0]]
    scene = Flat(0.5)
    evaluate(scene, capture, frame="capture")
    assert scene.cameras[0].positions.tolist() == [[0.0, 0.0, 0.0]]


def test_nothing_held_out_is_an_error():
    with pytest.raises(ValueError, match="--test-every"):
        evaluate(Flat(0.5), capture_of(View(torch.zeros(16, 16, 3))), [])


def test_background_is_that_of_the_training_else_what_the_literature_scores_on():
    opaque = capture_of(View(torch.zeros(16, 16, 3)))
    transparent = capture_of(View(torch.zeros(16, 16, 3), alpha=torch.zeros(16, 16)))
    assert choose_background(opaque, "random") == choose_background(opaque) == "black"
    assert choose_background(transparent, "random") == choose_background(transparent) == "white"
    assert choose_background(transparent, "black") == "black"
    assert choose_background(opaque, "white") == "white"


def test_scene_that_leaves_out_a_channel_is_named():
    scene = Flat(0.5)
    scene.render = lambda cameras, **_: RenderOutput()  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValueError, match="rendered no rgb"):
        evaluate(scene, capture_of(View(torch.zeros(16, 16, 3))))
