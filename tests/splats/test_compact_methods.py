"""c3dgs and compact3d: exact continuation, and files that hold what training has shown."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from captures import Capture, View, psnr
from fields.scene_files import open_scene
from splats import formats
from splats.compact import c3dgs, c3dgs_file, masks
from splats.compact.c3dgs import C3dgsConfig, C3dgsMethod
from splats.compact.c3dgs_file import KIND, read
from splats.compact.c3dgs_scene import C3dgsScene
from splats.compact.codebooks import Codebook
from splats.compact.compact3d import Compact3dConfig, Compact3dMethod
from splats.compact.contribution import halved
from splats.compact.visibility import may_show
from splats.gaussians import Gaussians
from splats.rasterizer import rasterization
from splats.scene import SplatScene
from splats.sh import sh_basis
from splats.training.method import SplatsMethod
from splats.training.optimizer import SelectiveAdam
from splats.training.parameters import Parameters
from splats.training.parametrization import Pinhole
from vq.asset import open_asset

from .ball_captures import SIZE, ball_capture, cameras, image

STEPS = 40
METHODS = {
    "c3dgs": (
        C3dgsMethod,
        C3dgsConfig,
        {"quantize_from": 0.5, "lr_masks": 0.3, "grid_levels": 4, "stages": 3},
    ),
    "c3dgs of the paper": (
        C3dgsMethod,
        C3dgsConfig,
        {"quantize_from": 0.5, "lr_masks": 0.3, "grid_levels": 4, "base_colors": False},
    ),
    "compact3d": (
        Compact3dMethod,
        Compact3dConfig,
        {"codes": 64, "codes_sh": 16, "quantize_from": 0.5, "assign_every": 5},
    ),
}


@pytest.fixture(scope="module")
def capture() -> Capture:
    """See `ball_capture`."""
    return ball_capture()


def method(name: str, capture: Capture, **options: Any) -> SplatsMethod:
    """A trainee of a few hundred Gaussians."""
    kind, config, own = METHODS[name]
    shared = {"num_init": 300, "max_gaussians": 400, "refine_every": 10, "init": "random"}
    settings = config(**{**shared, **own, **options})
    return kind.create(settings, capture, device=torch.device("cpu"), seed=1)


def trained(name: str, capture: Capture, steps: int = STEPS, **options: Any) -> SplatsMethod:
    """The same after training."""
    trainee = method(name, capture, **options)
    for step in range(steps):
        trainee.step(step, step / steps)
    return trainee


@pytest.mark.parametrize(
    ("name", "strategy", "stop"),
    [
        ("c3dgs", "mcmc", 13),
        ("c3dgs", "default", 31),
        ("c3dgs of the paper", "mcmc", 31),
        ("compact3d", "mcmc", 31),
        ("compact3d", "default", 13),
    ],
)
def test_continuing_from_a_saved_state_changes_no_bit(
    capture: Capture, name: str, strategy: str, stop: int
) -> None:
    """Before and after quantization begins; masks, moments, field and codebooks included."""
    straight = trained(name, capture, strategy=strategy)
    first = method(name, capture, strategy=strategy)
    for step in range(stop):
        first.step(step, step / STEPS)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = method(name, capture, strategy=strategy)
    second.load_state_dict(torch.load(file, weights_only=True))
    for step in range(stop, STEPS):
        second.step(step, step / STEPS)
    assert second.parametrization.quantizing  # pyright: ignore[reportAttributeAccessIssue]
    for (found, a), (expected, b) in zip(
        second.params.items(), straight.params.items(), strict=True
    ):
        assert found == expected and torch.equal(a, b)
    a, b = second.gaussians(), straight.gaussians()
    assert torch.equal(a.quats, b.quats) and torch.equal(a.sh0, b.sh0)


@pytest.mark.parametrize("name", list(METHODS))
def test_file_shows_what_training_has_shown(capture: Capture, name: str, tmp_path: Path) -> None:
    """In the frame of the source, which is turned, shifted and scaled."""
    trainee = trained(name, capture)
    trainee.save_scene(tmp_path / "scene.ply")
    # From farther off, through a longer lens: rounding may move a Gaussian that a camera is in
    # across its near plane.
    far, long = capture.cameras.viewmats.clone(), capture.cameras.Ks.clone()
    far[:, :3, 3] *= 4
    long[:, :2, :2] *= 4
    views = replace(capture.cameras, viewmats=far, Ks=long)
    moved = capture.T_source_capture.apply_to_cameras(views)
    for file in sorted(tmp_path.glob("*.fwa")):
        scene = open_scene(file)
        assert scene.num_bytes == file.stat().st_size
        for index in range(len(moved)):
            same = psnr(image(scene, moved[index]), image(trainee.renderable(), views[index]))
            assert same > 45, (file.name, index, same)


@pytest.mark.parametrize("name", ["c3dgs", "c3dgs of the paper"])
def test_plain_file_holds_what_was_trained(capture: Capture, name: str, tmp_path: Path) -> None:
    trainee = trained(name, capture, stages=3)
    assert isinstance(trainee, C3dgsMethod)
    trainee.save_scene(tmp_path / "scene.ply")
    shown = trainee.parametrization.model(trainee.params).geometry
    expected = shown.transformed(capture.T_source_capture)
    found, _ = read(tmp_path / "plain.fwa")
    assert torch.allclose(found.geometry.log_scales, expected.log_scales, atol=0.02)
    assert torch.allclose(found.geometry.quats, expected.quats, atol=0.01)
    assert torch.allclose(found.geometry.sh0, expected.sh0, atol=0.002)
    assert (tmp_path / "scene.fwa").stat().st_size < (tmp_path / "plain.fwa").stat().st_size
    with open_asset(tmp_path / "plain.fwa") as asset:
        assert asset.header.kind == KIND
        assert ("colors" in asset.sections) == (name == "c3dgs") == bool(expected.sh0.any())
        size = math.ceil(2 * 3 * 6 * len(found.geometry) / 8)  # 6 indices of 6 bits each
        assert asset.sections["indices"] - size < 64


def test_plain_file_with_rows_of_whole_bytes_is_read_as_before(
    capture: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainee = trained("c3dgs", capture, stages=3, codes=32)  # 30 bits a row
    now = formats.load(trainee.save_scene(tmp_path / "scene.ply").with_name("plain.fwa"))

    def padded(indices: np.ndarray, codes: int) -> np.ndarray:
        bits = np.unpackbits(indices[..., None], axis=-1)[..., -5:]
        return np.packbits(bits.reshape(len(indices), -1), axis=1)

    monkeypatch.setattr(c3dgs_file, "_packed", padded)
    (tmp_path / "before").mkdir()
    file = trainee.save_scene(tmp_path / "before" / "scene.ply").with_name("plain.fwa")
    assert file.stat().st_size > (tmp_path / "plain.fwa").stat().st_size
    then = formats.load(file)
    assert torch.equal(now.log_scales, then.log_scales) and torch.equal(now.quats, then.quats)

    monkeypatch.setattr(c3dgs_file, "_packed", lambda *_: padded(*_)[:, :3])
    with pytest.raises(ValueError, match="indices"):
        formats.load(trainee.save_scene(tmp_path / "scene.ply").with_name("plain.fwa"))


def test_what_no_picture_shows_is_left_out(
    capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainee = trained("c3dgs", capture)
    assert isinstance(trainee, C3dgsMethod)
    with torch.no_grad():
        trainee.params["logit_opacities"][::4] = math.log(1 / 254) - 1e-3
    fewer = trainee.renderable()
    monkeypatch.setattr(c3dgs, "ALPHA_THRESHOLD", 0.0)
    everything = trainee.renderable()
    assert 0 < len(fewer.gaussians) <= 0.8 * len(everything.gaussians)
    kept = torch.isin(everything.gaussians.means[:, 0], fewer.gaussians.means[:, 0])
    for name, values in vars(everything.gaussians[kept]).items():
        assert torch.equal(values, getattr(fewer.gaussians, name)), name
    for index in range(4):
        camera = capture.cameras[index]
        # Observed: 6e-8 in three values, one unit in the last place; what shows adds up to 1/255.
        torch.testing.assert_close(
            image(fewer, camera), image(everything, camera), rtol=0, atol=2e-7
        )


@pytest.mark.parametrize(
    "name", ["c3dgs", pytest.param("c3dgs of the paper", marks=pytest.mark.slow), "compact3d"]
)
def test_fresh_process_decodes_the_same_bits(capture: Capture, name: str, tmp_path: Path) -> None:
    trained(name, capture).save_scene(tmp_path / "scene.ply")
    code = (
        "import sys, torch\n"
        "from splats import formats\n"
        "g = formats.load(sys.argv[1])\n"
        "torch.save({k: getattr(g, k) for k in ('means', 'quats', 'log_scales', "
        "'logit_opacities')}, sys.argv[2])\n"
    )
    target = tmp_path / "decoded.pt"
    command = [sys.executable, "-c", code, str(tmp_path / "scene.fwa"), str(target)]
    subprocess.run(command, check=True, cwd=Path(__file__).resolve().parents[2])
    here = formats.load(tmp_path / "scene.fwa")
    for key, value in torch.load(target, weights_only=True).items():
        assert torch.equal(getattr(here, key), value), key


@pytest.mark.parametrize("name", ["c3dgs", "c3dgs of the paper"])
def test_color_field_becomes_harmonics_that_any_format_holds(
    capture: Capture, name: str, tmp_path: Path
) -> None:
    trainee = trained(name, capture)
    assert isinstance(trainee, C3dgsMethod)
    file = trainee.save_scene(tmp_path / "scene.ply")
    formats.save(formats.load(file), tmp_path / "baked.ply")
    moved = capture.T_source_capture.apply_to_cameras(capture.cameras)
    own, ply = open_scene(file), open_scene(tmp_path / "baked.ply")
    assert isinstance(own, C3dgsScene) and isinstance(ply, SplatScene)
    assert ply.gaussians.sh_degree == 3
    # Harmonics of the network are the file's; one that the direction enters is more than degree 3.
    harmonics = trainee.parametrization.field.harmonics
    for index in range(8):
        same = psnr(image(ply, moved[index]), image(own, moved[index]))
        assert same > (60 if harmonics else 35)
    model = own.model
    generator = torch.Generator().manual_seed(0)
    directions = normalize(torch.randn(len(model.geometry), 3, generator=generator), dim=1)
    turn = model.T_scene_field.rotation.float()
    assert not torch.allclose(turn, torch.eye(3), atol=0.1)
    seen = model.geometry.sh0[:, 0] + model.field(model.places(), directions @ turn)
    basis = sh_basis(3, directions)
    baked = model.baked()
    values = torch.cat([baked.sh0, baked.shN], dim=1)
    found = torch.einsum("nkc,nk->nc", values, basis / basis[:, :1])
    variation = (seen - seen.mean()).norm()
    assert (found - seen).norm() < (1e-6 if harmonics else 0.3) * variation


def test_rates_of_centers_follow_the_pixel_or_the_cameras(capture: Capture) -> None:
    def coarse(index: int) -> View:
        view = capture.view(index)
        assert view.alpha is not None
        return View(view.image[::2, ::2], view.alpha[::2, ::2])

    small = replace(capture, cameras=halved(capture.cameras), load_view=coarse)
    for unit, factor in (("pixel", 2.0), ("extent", 1.0)):
        rates = []
        for photos in (capture, small):
            trainee = method("compact3d", photos, means_unit=unit)
            trainee.step(0, 0.0)
            rates.append(trainee.optimizer.param_groups[0]["lr"])
        assert rates[1] == pytest.approx(factor * rates[0])


def test_codes_settle_while_masks_go_on(capture: Capture) -> None:
    """Rates of what is quantized fall from `quantize_from` on, by their share of the time left."""
    trainee = method("c3dgs", capture, settle=0.01, quantize_from=0.5)
    fixed = trainee.config

    def rates(trainee: SplatsMethod, progress: float) -> dict[str, float]:
        trainee._set_learning_rates(progress)
        groups = zip(trainee.params.items(), trainee.optimizer.param_groups, strict=True)
        return {name: group["lr"] for (name, _), group in groups}

    before, late = rates(trainee, 0.4), rates(trainee, 0.75)
    expected = {"log_scales": fixed.lr_scales, "quats": fixed.lr_quats, "sh0": fixed.lr_sh0}
    for name, rate in expected.items():
        assert before[name] == rate
        assert late[name] == pytest.approx(rate * 0.1)
    for name in ("logit_opacities", masks.NAME):
        assert before[name] == late[name] > 0
    paper = method("c3dgs of the paper", capture, settle=1.0)
    assert rates(paper, 0.99)["quats"] == paper.config.lr_quats


def test_masks_pass_gradients_and_remove_what_is_off(capture: Capture) -> None:
    logits = torch.tensor([1.0, -10.0, -4.0], requires_grad=True)
    mask = masks.binary(logits)
    assert mask.tolist() == [1.0, 0.0, 1.0]
    mask.sum().backward()
    soft = logits.detach().sigmoid()
    assert logits.grad is not None and torch.allclose(logits.grad, soft * (1 - soft))
    trainee = trained("c3dgs", capture, mask_weight=1e3, lr_masks=0.5)
    assert trainee.num_primitives < 300  # a heavy weight on masks removes most


def test_compact3d_rows_share_codes_and_are_sorted(capture: Capture, tmp_path: Path) -> None:
    trainee = trained("compact3d", capture)
    file = trainee.save_scene(tmp_path / "scene.ply")
    found = formats.load(file)
    assert len(torch.unique(found.log_scales, dim=0)) <= 64
    assert len(torch.unique(found.shN.flatten(1), dim=0)) <= 16
    changes = (found.log_scales[1:] != found.log_scales[:-1]).any(dim=1).sum()
    assert changes < 64


def test_compact3d_prunes_what_is_transparent_before_it_quantizes(capture: Capture) -> None:
    trainee = method("compact3d", capture, quantize_from=0.85, strategy="default", num_init=400)
    for step in range(20):
        trainee.step(step, step / STEPS)
    count = trainee.num_primitives
    trainee.params["logit_opacities"].data[:7] = -20
    trainee.step(24, 24 / STEPS)
    assert trainee.num_primitives == count - 7
    assert isinstance(trainee, Compact3dMethod) and not trainee.parametrization.quantizing


def test_codes_are_the_means_of_their_members() -> None:
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    book = Codebook(8)
    book.assign(x, iterations=3)
    book.assign(x, iterations=2)
    assert book.codes is not None and book.indices is not None
    book.follow(x)
    for k in range(8):
        members = x[book.indices == k]
        assert torch.allclose(book.codes[k], members.mean(dim=0), atol=1e-5)


def test_extra_rows_follow_their_gaussians() -> None:
    generator = torch.Generator().manual_seed(0)
    start = Gaussians(
        means=torch.randn(6, 3, generator=generator),
        quats=torch.randn(6, 4, generator=generator),
        log_scales=torch.zeros(6, 3),
        logit_opacities=torch.zeros(6),
        sh0=torch.zeros(6, 1, 3),
        shN=torch.zeros(6, 0, 3),
    )
    params = Parameters(start, {"marks": torch.arange(6.0)})
    optimizer = SelectiveAdam([{"params": [param]} for _, param in params.items()])
    params["marks"].grad = torch.ones(6)
    optimizer.step()
    rows = params.rows(torch.tensor([4, 4]))
    params.append(rows, optimizer)
    params.replace(torch.tensor([0]), replace(rows, means=rows.means + 1)[:1], optimizer)
    params.keep(torch.tensor([7, 0, 5]), optimizer)
    assert torch.allclose(params["marks"], torch.tensor([4.0, 4.0, 5.0]) - 1e-3)
    moments = optimizer.state[params["marks"]]["exp_avg"]
    assert moments[0] == 0 and moments[1] == 0 and moments[2] > 0
    with pytest.raises(ValueError, match="`marks` must be"):
        Parameters(start, {"marks": torch.zeros(5)})


def test_damaged_files_are_refused(capture: Capture, tmp_path: Path) -> None:
    file = trained("c3dgs", capture, steps=20).save_scene(tmp_path / "scene.ply")
    data = bytearray(file.read_bytes())
    for place in np.random.default_rng(0).integers(0, len(data), 40):
        broken = bytearray(data)
        broken[place] ^= 1 << 3
        target = tmp_path / "broken.fwa"
        target.write_bytes(broken)
        with pytest.raises(ValueError):
            formats.load(target)


def test_what_a_view_may_show_holds_all_that_is_drawn() -> None:
    """And leaves out most of what is not, in front of the camera and behind."""
    generator = torch.Generator().manual_seed(3)
    count = 4000
    means = 3 * torch.randn(count, 3, generator=generator)
    scales = (torch.randn(count, 3, generator=generator) - 3).exp()
    quats = torch.randn(count, 4, generator=generator)
    view = cameras(1)
    viewmats, Ks = view.viewmats.float(), view.Ks.float()
    _, _, meta = rasterization(
        means, quats, scales, torch.ones(count), torch.rand(count, 3), viewmats, Ks, SIZE, SIZE,
        near_plane=1e-3, packed=False,
    )  # fmt: skip
    drawn = meta["radii"][0, :, 0] > 0
    found = may_show(means, scales, Pinhole(viewmats[0], Ks[0], SIZE, SIZE))
    assert 0 < drawn.sum() < count / 2
    assert not (drawn & ~found).any()
    assert found.sum() < 1.5 * drawn.sum()
