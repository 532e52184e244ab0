"""The command on tiny data: outputs, exit codes and messages of every verb of this folder."""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import scripts.train
from captures import load_capture, write_colmap
from captures.paths import cameras_around, orbit_path
from scripts.main import main
from splats.formats import ply
from splats.gaussians import Gaussians
from splats.scene import SplatScene

STABLE_KEYS = {
    "psnr", "ssim", "lpips", "num_test_images", "num_bytes", "num_primitives", "steps",
    "seconds", "peak_memory_bytes", "device", "run",
}  # fmt: skip


def some_gaussians(count: int = 40) -> Gaussians:
    generator = torch.Generator().manual_seed(0)
    return Gaussians(
        means=torch.rand(count, 3, generator=generator) * 2 - 1,
        quats=torch.rand(count, 4, generator=generator),
        log_scales=torch.full((count, 3), -2.0),
        logit_opacities=torch.zeros(count),
        sh0=torch.rand(count, 1, 3, generator=generator),
        shN=torch.zeros(count, 0, 3),
    )


class StubMethod:
    """Counts its steps and writes fixed Gaussians."""

    @dataclass(frozen=True)
    class Config:
        """Settings of the stub."""

        strength: float = 1.0
        """Any number."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.count = 0
        self.num_primitives = 40

    @classmethod
    def create(cls, config: Config, capture: Any, *, device: Any, seed: int) -> StubMethod:
        return cls(config)

    def step(self, step: int, progress: float) -> dict[str, float]:
        self.count += 1
        return {"loss": 1.0 / (1 + step)}

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]

    def renderable(self) -> Any:
        return SplatScene(some_gaussians())

    def save_scene(self, path: Path) -> Path:
        ply.save(some_gaussians(), path, overwrite=True)
        return path

    def preview(self) -> dict[str, float]:
        return {}


@pytest.fixture(scope="module")
def capture_folder(tmp_path_factory):
    """Nine 32 x 24 photos, black but for a bright corner, around the unit cube."""
    folder = tmp_path_factory.mktemp("captures") / "photos"
    photo = np.zeros((24, 32, 3), np.uint8)
    photo[:6, :8] = 200
    write_photos(folder, Image.fromarray(photo))
    return folder


def write_photos(folder: Path, photo: Image.Image) -> None:
    """A capture of nine cameras around the unit cube that all took the same 32 x 24 photo."""
    (folder / "images").mkdir(parents=True)
    names = [f"{index}.png" for index in range(9)]
    for name in names:
        photo.save(folder / "images" / name)
    around = cameras_around(torch.tensor([[-1.0] * 3, [1.0] * 3]), width=32, height=24)
    write_colmap(folder, orbit_path(around, 9), names)


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setattr(scripts.train, "list_plugins", lambda group: ("stub",))
    monkeypatch.setattr(scripts.train, "load_plugin", lambda group, name: StubMethod)


@pytest.fixture
def scene_path(tmp_path):
    return ply.save(some_gaussians(), tmp_path / "scene.ply").path


def run_json(capsys, *args: object) -> dict[str, Any]:
    """The one line that `--json` prints on standard output."""
    code = main([*map(str, args), "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert captured.out.count("\n") == 1
    return json.loads(captured.out)


def run_failing(capsys, *args: object, code: int = 1) -> str:
    """The single line on stderr of a command that fails."""
    assert main([*map(str, args)]) == code
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert "Traceback" not in captured.err
    assert len(lines) == 1, captured.err
    return lines[0]


def test_help_is_quick_because_it_imports_no_torch():
    code = "import sys; from scripts.main import main; main(['--help'])"
    code += "; sys.exit('torch' in sys.modules or 'tyro' in sys.modules)"
    root = Path(scripts.__file__).parent.parent
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert "train" in result.stdout


def test_unknown_names_are_usage_errors_with_suggestions(capsys):
    assert "Did you mean train?" in run_failing(capsys, "trian", code=2)
    message = run_failing(capsys, "train", "splatz", "--out", "x", code=2)
    assert "Unknown method 'splatz'" in message
    assert main([]) == 2


def test_train_eval_render_info(capsys, tmp_path, capture_folder, stub):
    out = tmp_path / "run"
    flags = ("train", "stub", "--data", capture_folder, "--out", out, "--max-steps", 3)
    summary = run_json(capsys, *flags, "--strength", 2.0)
    assert summary.keys() >= STABLE_KEYS
    assert summary["steps"] == 3 and summary["num_test_images"] == 2
    assert summary["num_bytes"] == (out / "scene.ply").stat().st_size
    assert json.loads((out / "config.json").read_text())["config"]["method"]["strength"] == 2.0
    page = (out / "eval" / "report.html").read_text()
    assert page.count("<section>") == 2 and "3 steps in" in page
    assert len(list((out / "eval" / "images").iterdir())) == 8

    again = run_json(capsys, "eval", out)
    for key in ("psnr", "ssim", "num_primitives", "steps"):
        assert again[key] == summary[key]

    assert "not empty" in run_failing(capsys, *flags)
    assert "method.strength" in run_failing(capsys, *flags, "--resume", "--strength", 3.0)
    resumed = run_json(
        capsys, "train", "stub", "--out", out, "--resume", "--max-steps", 5, "--no-evaluate"
    )
    assert resumed["steps"] == 5

    info = run_json(capsys, "info", out)
    assert info["kind"] == "run" and info["num_primitives"] == 40
    target = tmp_path / "o.mp4"
    video = run_json(capsys, "render", out, target, "--seconds", 0.2, "--path", "spiral")
    assert video["num_frames"] == 6 and target.is_file()


def test_training_with_view_says_where_and_ends_like_any_other(
    capsys, tmp_path, capture_folder, stub
):
    pytest.importorskip("viser", reason="viser is not installed")
    flags = ("train", "stub", "--data", capture_folder, "--max-steps", 3, "--no-evaluate")
    assert main([*map(str, flags), "--out", str(tmp_path / "r"), "--view", "--port", "8194"]) == 0
    out = capsys.readouterr().out
    assert out.count("http://") == 1 and "Trained 3 steps" in out


def test_view_without_viser_names_the_extra_before_anything_is_written(
    capsys, tmp_path, capture_folder, scene_path, stub, monkeypatch
):
    monkeypatch.setitem(sys.modules, "viser", None)
    out = tmp_path / "r"
    message = run_failing(capsys, "train", "stub", "--data", capture_folder, "--out", out, "--view")
    assert 'pip install "fieldwright[view]"' in message and not out.exists()
    assert 'pip install "fieldwright[view]"' in run_failing(capsys, "view", scene_path)


def test_transparent_photos_are_scored_on_white_unless_trained_on_another_color(
    capsys, tmp_path, scene_path
):
    photos = tmp_path / "photos"
    write_photos(photos, Image.new("RGBA", (32, 24), (0, 0, 0, 0)))
    ply.save(some_gaussians(1), tmp_path / "one.ply")
    one = ("eval", tmp_path / "one.ply", "--data", photos, "--downscale", 1)
    on_white = run_json(capsys, *one, "--background", "white")["psnr"]
    assert run_json(capsys, *one)["psnr"] == on_white
    assert run_json(capsys, *one, "--background", "black")["psnr"] != on_white


class ShownScenes:
    """Stands in for the viewer and keeps what it was given."""

    url = "http://nowhere"

    def __init__(self, scenes: Any, capture: Any, **_: Any) -> None:
        self.scenes, self.capture = scenes, capture
        ShownScenes.last = self

    last: ShownScenes

    def __enter__(self) -> ShownScenes:
        return self

    def __exit__(self, *_: object) -> None:
        raise KeyboardInterrupt


def test_view_finds_the_photos_of_a_run(capsys, tmp_path, capture_folder, stub, monkeypatch):
    viewer = pytest.importorskip("viewer")
    pytest.importorskip("viser", reason="viser is not installed")
    monkeypatch.setattr(viewer, "SceneViewer", ShownScenes)
    monkeypatch.setattr("scripts.view.threading.Event.wait", lambda *_: True)
    photos, run = tmp_path / "photos", tmp_path / "run"
    shutil.copytree(capture_folder, photos)
    train = ("train", "stub", "--data", photos, "--out", run, "--max-steps", 1, "--no-evaluate")
    run_json(capsys, *train, "--downscale", 2)
    main(["view", str(run)])
    assert "Error" not in capsys.readouterr().err
    shown, source = ShownScenes.last, load_capture(photos, downscale=2)
    expected = source.T_source_capture.apply_to_cameras(source.cameras)
    torch.testing.assert_close(shown.capture.cameras.viewmats, expected.viewmats)
    assert shown.capture.cameras.width == 16
    assert len(shown.scenes[0].renderable.gaussians) == 40
    shutil.rmtree(photos)
    main(["view", str(run)])
    assert ShownScenes.last.capture is None
    assert "is gone" in capsys.readouterr().out


@pytest.mark.parametrize("channel", ["rgb", "depth", "alpha"])
def test_render_needs_no_capture_and_takes_odd_sizes(capsys, tmp_path, scene_path, channel):
    result = run_json(
        capsys, "render", scene_path, tmp_path / "frames", "--seconds", 0.1,
        "--width", 33, "--height", 21, "--channel", channel,
    )  # fmt: skip
    frames = sorted((tmp_path / "frames").iterdir())
    assert len(frames) == result["num_frames"] == 3
    picture = Image.open(frames[0]).convert("RGB")
    assert picture.size == (33, 21)
    assert np.asarray(picture).max() > 50


def test_info_of_a_file_and_a_capture(capsys, scene_path, capture_folder):
    info = run_json(capsys, "info", scene_path)
    assert info["kind"] == "splats" and info["num_primitives"] == 40
    assert sum(info["sections"].values()) == info["num_bytes"] == scene_path.stat().st_size
    info = run_json(capsys, "info", capture_folder)
    assert info["kind"] == "capture" and info["num_images"] == 9


def test_bad_input_gives_one_clear_line(capsys, tmp_path, scene_path, capture_folder, stub):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.ply").write_bytes(b"")
    (tmp_path / "cut.ply").write_bytes(scene_path.read_bytes()[:-7])
    huge = scene_path.read_bytes().replace(b"vertex 40", b"vertex 4000000000")
    (tmp_path / "huge.ply").write_bytes(huge)
    ply.save(some_gaussians(0), tmp_path / "none.ply")
    for name, message in {
        "missing.ply": "does not exist",
        "empty.ply": "the file is empty",
        "cut.ply": "truncated",
        "huge.ply": "its count is wrong",
        "none.ply": "holds no Gaussians",
        "empty": "not a run",
    }.items():
        found = run_failing(capsys, "eval", tmp_path / name, "--data", capture_folder)
        assert found.startswith("Error: ") and message in found
    train = ("train", "stub", "--out", tmp_path / "r")
    assert "empty" in run_failing(capsys, *train, "--data", tmp_path / "empty")
    assert "`--data` must name" in run_failing(capsys, *train)
    assert "pass --data" in run_failing(capsys, "eval", scene_path)
    if not torch.cuda.is_available():
        message = run_failing(
            capsys, "eval", scene_path, "--data", capture_folder, "--device", "cuda"
        )
        assert "needs a CUDA device" in message


def unlink_all_photos(folder: Path) -> None:
    for file in (folder / "images").iterdir():
        file.unlink()


def shrink_a_photo(folder: Path) -> None:
    Image.new("RGB", (31, 24)).save(folder / "images" / "3.png")


def name_a_periscope(folder: Path) -> None:
    path = folder / "sparse" / "0" / "cameras.bin"
    content = bytearray(path.read_bytes())
    content[12:16] = struct.pack("<i", 99)
    path.write_bytes(content)


def register_nothing(folder: Path) -> None:
    (folder / "sparse" / "0" / "images.bin").write_bytes(struct.pack("<Q", 0))


def spoil_a_pose(folder: Path) -> None:
    path = folder / "sparse" / "0" / "images.bin"
    content = bytearray(path.read_bytes())
    content[12:20] = struct.pack("<d", float("nan"))
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (unlink_all_photos, "none exists"),
        (shrink_a_photo, "3.png is 31 x 24 pixels, but its camera says 32 x 24"),
        (name_a_periscope, "unknown camera model id 99"),
        (register_nothing, "registers no images"),
        (spoil_a_pose, "holds NaN"),
    ],
)
def test_damaged_captures_give_one_clear_line(
    capsys, tmp_path, capture_folder, stub, damage, message
):
    photos, run = tmp_path / "photos", tmp_path / "run"
    shutil.copytree(capture_folder, photos)
    damage(photos)
    found = run_failing(capsys, "train", "stub", "--data", photos, "--out", run)
    assert message in found and not run.exists()


@pytest.mark.parametrize("verb", ["train", "eval", "render", "demo"])
def test_existing_outputs_are_kept(capsys, tmp_path, capture_folder, scene_path, stub, verb):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("mine")
    flags = {
        "train": ("stub", "--data", capture_folder, "--out", out),
        "eval": (scene_path, "--data", capture_folder, "--out", out),
        "render": (scene_path, out),
        "demo": ("--out", out),
    }
    found = run_failing(capsys, verb, *flags[verb])
    assert str(out) in found and "--overwrite" in found
    assert [file.name for file in out.iterdir()] == ["thesis.tex"]


def test_full_disk_is_said_in_words(capsys, tmp_path, capture_folder, stub, monkeypatch):
    def no_room(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", no_room)
    flags = ("train", "stub", "--data", capture_folder, "--max-steps", 2, "--out", tmp_path / "r")
    assert "disk is full" in run_failing(capsys, *flags)


@pytest.mark.slow
def test_demo_ends_with_what_it_made(tmp_path):
    command = [sys.executable, "-m", "scripts.main", "demo", "--json", "--max-seconds", "45"]
    root = Path(scripts.__file__).parent.parent
    result = subprocess.run(
        [*command, "--out", "first", "--num-threads", "1"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["psnr"] > 15 and summary["num_test_images"] == 6
    for name in ("scene", "report", "video"):
        assert (tmp_path / summary[name]).stat().st_size > 1000
        assert summary[name] in result.stderr
    assert "fieldwright view first/run" in result.stderr
