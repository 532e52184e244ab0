"""Steps that follow from what a decoder knows: the rule, rounding by it, and files."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from splats.compact.judge import judge_without_photos
from splats.compact.precision import Precision, rounded, usual_precision
from splats.formats import load
from splats.formats.fwa_encoding import SceneFacts, encode_quantized
from splats.formats.fwa_grading import COLORS, LOG_SCALES, OPACITY, ROTATIONS, Grading
from splats.formats.fwa_quantization import (
    Integers,
    Steps,
    Values,
    canonical_values,
    on_grids,
    quantize,
)
from splats.gaussians import Gaussians
from splats.scene import SplatScene
from vq.asset import open_asset

STEPS = Steps(2.0**-7, 0.1, 0.05, 0.3, 0.08, grading=Grading(0.02))
FACTS = SceneFacts("RDF", False, "3dgs", {})


def various(count: int, *, seed: int = 0) -> Gaussians:
    """Gaussians of all sizes, shapes and opacities."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    return Gaussians(
        means=normal(count, 3),
        quats=normal(count, 4),
        log_scales=-3 + 1.2 * normal(count, 1) + 0.8 * normal(count, 3),
        logit_opacities=3 * normal(count),
        sh0=normal(count, 1, 3),
        shN=0.2 * normal(count, 8, 3),
    )


@pytest.fixture(scope="module")
def values() -> Values:
    return canonical_values(various(4000))


@pytest.fixture(scope="module")
def integers(values: Values) -> Integers:
    return on_grids(values, STEPS)


def coarseness(integers: Integers, kind: str) -> Tensor:
    k = integers.coarseness(STEPS, kind)
    assert k is not None
    return k[:, 0]


def test_steps_fall_with_the_predicted_change_of_pictures(integers: Integers) -> None:
    """k is the rounded, limited -0.3 log2 of opacity^2, area and anisotropy around usual ones."""
    real = integers.values(STEPS)
    large, middle = real.log_scales[:, 0], real.log_scales[:, 1]
    area = (large + middle) / math.log(2) - math.log2(0.02)
    opacity = torch.nn.functional.logsigmoid(real.logit_opacities[:, 0]) / math.log(2) + 1.5
    anisotropy = torch.log2((2 * torch.sinh(large - middle)) ** 2 + 0.1) - 1.5
    shown = area + 2 * opacity
    for kind, change, most in (
        ("logit_opacities", area, 7),
        ("colors", shown, 8),
        ("rotations", shown + anisotropy, 8),
    ):
        k = coarseness(integers, kind)
        assert k.min() <= 1 and k.max() == most and len(k.unique()) >= 7
        expected = (4 - 0.3 * change).clamp(0, most)
        # Rounded to whole octaves; the hinges for logarithms are off by up to 0.3.
        assert (k - expected).abs().max() < 0.9
        assert abs(float((k - expected).mean())) < 0.2


def test_integers_lie_on_the_grids_that_decoders_find(integers: Integers) -> None:
    """By the rules of the columns alone, as `vq.sets` applies them."""
    graded = STEPS.graded
    assert graded is not None
    columns = {name: integers.log_scales[:, i] for i, name in enumerate(LOG_SCALES)}
    columns[OPACITY] = integers.logit_opacities[:, 0]
    columns |= {name: integers.colors[:, i] for i, name in enumerate(COLORS)}
    columns |= {name: integers.rotations[:, i] for i, name in enumerate(ROTATIONS)}
    for name, rule in graded.coarsenings.items():
        assert max(map(int, rule.parents), default=-1) < int(name)
        k = rule.coarseness(rule.base(columns), columns[name])
        assert torch.equal(columns[name] >> k << k, columns[name])


@pytest.mark.parametrize("grading", [Grading(0.02), Grading(3.0, 1.0, 0.0, 0.3, 0.8)])
def test_kernel_and_torch_find_the_same_integers(grading: Grading) -> None:
    """Also of numbers on ties and of scales that fall below one another."""
    graded = replace(STEPS, grading=grading).graded
    assert graded is not None
    random = torch.Generator().manual_seed(1)
    numbers = 200 * torch.randn(5000, 10, generator=random, dtype=torch.float64)
    numbers[:, :3] = (-400 + numbers[:, :3]).sort(dim=1, descending=True).values
    numbers[::2] = (2 * numbers[::2]).round() / 2
    found = graded.integers(numbers)
    assert torch.equal(found, graded.integers_reference(numbers))
    assert (found[:, :3].diff(dim=1) <= 0).all()


def test_values_move_by_at_most_half_their_step(values: Values, integers: Integers) -> None:
    found = integers.values(STEPS)
    for kind, step in (("logit_opacities", 0.3), ("colors", 0.08), ("rotations", 0.05)):
        width = step * torch.exp2(coarseness(integers, kind) - 4.0)[:, None]
        away = (getattr(found, kind) - getattr(values, kind)).abs()
        assert (away <= 0.5001 * width).all()
    assert (found.log_scales.diff(dim=1) <= 0).all()
    assert (found.log_scales - values.log_scales).abs().max() <= 0.5001 * 1.2


def test_what_is_on_the_grids_stays(integers: Integers) -> None:
    again = on_grids(integers.values(STEPS), STEPS)
    for name, units in vars(integers).items():
        assert torch.equal(units, getattr(again, name)), name


def test_units_of_length_change_nothing() -> None:
    """Areas are in units of the world, like positions."""
    scene = various(2000)
    larger = replace(scene, means=4 * scene.means, log_scales=scene.log_scales + math.log(4))
    there = replace(STEPS, position=4 * STEPS.position, grading=Grading(16 * 0.02))
    one, other = quantize(scene, STEPS), quantize(larger, there)
    assert torch.equal(one.positions, other.positions)
    for kind in ("logit_opacities", "colors", "rotations"):
        k, k_there = one.coarseness(STEPS, kind), other.coarseness(there, kind)
        assert k is not None and k_there is not None
        # Scales lie elsewhere between their integers, some of them coarse.
        assert (k == k_there).double().mean() > 0.75 and (k - k_there).abs().max() <= 2


@pytest.mark.parametrize("fast", [False, True])
def test_files_hold_what_was_rounded(fast: bool, tmp_path: Path) -> None:
    """Exactly, and harmonics within a coder's few steps, which follow those of the color."""
    scene = various(3000)
    writer, order = encode_quantized(scene, FACTS, steps=STEPS, sh_step=0.1, fast=fast)
    path = tmp_path / "a.fwa"
    path.write_bytes(writer.to_bytes())
    found = load(path)
    expected = rounded(
        scene[order], Precision(2.0**-7, 0.1, 0.05, 0.3, 0.08, 0.1, STEPS.grading)
    ).gaussians
    for name in ("means", "log_scales", "quats", "logit_opacities", "sh0"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    octaves = quantize(scene[order], STEPS).harmonics_octaves(STEPS)
    away = (found.shN - scene.shN[order]).flatten(1).square().mean(dim=1).sqrt()
    in_steps = away / (0.1 * torch.exp2(octaves))
    # Uniform rounding makes 0.29; zeros where steps are wide less, dead zones a bit more.
    assert in_steps.max() < 0.75
    fine = octaves <= 0
    assert fine.sum() > 300 and 0.2 < in_steps[fine].mean() < 0.4
    with open_asset(path) as asset:
        assert asset.header.arrays["shN"].to_json()["op"] == "shift"


def test_graded_steps_show_less_at_the_same_size(tmp_path: Path) -> None:
    """Against the same steps for all, a scene whose Gaussians differ is much nearer per byte."""
    scene = various(3000)
    judge = judge_without_photos(SplatScene(scene))
    usual = usual_precision(scene)
    points = []
    for precision in (usual, replace(usual, grading=None)):
        for factor in (1.0, 2.0):
            fine = precision.finer(factor)
            writer, _ = encode_quantized(
                scene, FACTS, steps=fine.steps, sh_step=fine.harmonics, fast=False
            )
            path = tmp_path / "a.fwa"
            path.write_bytes(writer.to_bytes())
            points.append((path.stat().st_size, math.log10(judge.error(load(path)))))
    (size, error), (finer_size, finer_error), *uniform = points
    slope = (uniform[1][1] - uniform[0][1]) / (uniform[1][0] - uniform[0][0])
    for bytes_, found in ((size, error), (finer_size, finer_error)):
        same_size = uniform[0][1] + slope * (bytes_ - uniform[0][0])
        assert found < same_size - 0.3  # 3 dB
