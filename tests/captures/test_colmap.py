"""COLMAP models: round trips, the reference implementation as a twin, and damaged files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captures import Cameras, SparsePoints, load_capture, write_colmap
from captures.colmap import load_colmap
from captures.colmap_format import (
    CAMERA_MODELS,
    ColmapCamera,
    ColmapImage,
    ColmapModel,
    read_model,
    write_model,
)
from captures.rotations import quats_to_rotmats, rotmats_to_quats

WIDTH, HEIGHT = 24, 16


def make_cameras(count: int = 5, *, seed: int = 0) -> Cameras:
    generator = torch.Generator().manual_seed(seed)
    viewmats = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    quats = torch.randn(count, 4, dtype=torch.float64, generator=generator)
    viewmats[:, :3, :3] = quats_to_rotmats(quats)
    viewmats[:, :3, 3] = torch.randn(count, 3, dtype=torch.float64, generator=generator)
    K = torch.tensor([[20.0, 0, 11.5], [0, 21.0, 8.25], [0, 0, 1]], dtype=torch.float64)
    return Cameras(viewmats, K.repeat(count, 1, 1), WIDTH, HEIGHT)


def make_points(count: int = 7) -> SparsePoints:
    generator = torch.Generator().manual_seed(1)
    colors = torch.randint(0, 256, (count, 3), generator=generator) / 255
    return SparsePoints(torch.randn(count, 3, generator=generator), colors)


def write_images(folder: Path, names: list[str], size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (10 * index, 20, 30)).save(path)


def make_scene(folder: Path, *, binary: bool = True, images: str = "images") -> Cameras:
    cameras = make_cameras()
    names = [f"{index:02d}.png" for index in range(len(cameras))]
    write_images(folder / images, names)
    write_colmap(folder, cameras, names, make_points(), binary=binary)
    return cameras


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("place", ["sparse/0", "sparse", "."])
def test_written_models_load_as_they_were(tmp_path: Path, binary: bool, place: str) -> None:
    cameras = make_scene(tmp_path, binary=binary)
    model = tmp_path / "sparse" / "0"
    for file in list(model.iterdir()):
        file.rename(tmp_path / place / file.name)
    capture = load_capture(tmp_path, normalize=False)
    # Only the normalisation of the quaternion rounds; worst seen 4e-16.
    torch.testing.assert_close(capture.cameras.viewmats, cameras.viewmats, rtol=0, atol=1e-14)
    assert torch.equal(capture.cameras.Ks, cameras.Ks)
    assert capture.points is not None
    assert torch.equal(capture.points.positions, make_points().positions)
    assert torch.equal(capture.points.colors, make_points().colors)


def test_text_and_binary_rewrite_to_identical_bytes(tmp_path: Path) -> None:
    make_scene(tmp_path)
    binary, text, again = tmp_path / "sparse" / "0", tmp_path / "text", tmp_path / "again"
    text.mkdir()
    again.mkdir()
    write_model(text, read_model(binary), binary=False)
    write_model(again, read_model(text), binary=True)
    for name in ("cameras", "images", "points3D"):
        assert (again / f"{name}.bin").read_bytes() == (binary / f"{name}.bin").read_bytes()


def test_quaternions_and_matrices_are_inverses() -> None:
    generator = torch.Generator().manual_seed(3)
    quats = torch.randn(200, 4, dtype=torch.float64, generator=generator)
    # Half turns, where w vanishes, are the hard case.
    quats = torch.cat([quats, torch.eye(4, dtype=torch.float64)])
    rotmats = quats_to_rotmats(quats)
    torch.testing.assert_close(quats_to_rotmats(rotmats_to_quats(rotmats)), rotmats)
    assert (torch.linalg.det(rotmats) > 0.999).all()


def test_the_reference_implementation_reads_what_we_write(tmp_path: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    cameras = make_scene(tmp_path)
    theirs = pycolmap.Reconstruction(str(tmp_path / "sparse" / "0"))
    by_name = {image.name: image for image in theirs.images.values()}
    for index, viewmat in enumerate(cameras.viewmats):
        pose = by_name[f"{index:02d}.png"].cam_from_world().matrix()
        np.testing.assert_allclose(pose, viewmat[:3].numpy(), atol=1e-14)
    assert len(theirs.cameras) == 1 and theirs.num_points3D() == 7


@pytest.mark.parametrize("binary", [True, False])
def test_we_read_what_the_reference_implementation_writes(tmp_path: Path, binary: bool) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs, options.num_frames_per_rig, options.num_points3D = 2, 3, 20
    theirs = pycolmap.synthesize_dataset(options)
    (theirs.write_binary if binary else theirs.write_text)(str(tmp_path))
    ours = read_model(tmp_path)
    assert len(ours.images) == theirs.num_reg_images() > 2
    for image in ours.images:
        pose = next(i for i in theirs.images.values() if i.name == image.name).cam_from_world()
        rotation = quats_to_rotmats(torch.tensor(image.quat, dtype=torch.float64))
        np.testing.assert_allclose(rotation.numpy(), pose.rotation.matrix(), atol=1e-12)
        np.testing.assert_allclose(image.translation, pose.translation, atol=1e-12)
    theirs_positions = np.array([point.xyz for point in theirs.points3D.values()])
    np.testing.assert_allclose(
        np.sort(ours.positions, axis=0), np.sort(theirs_positions, axis=0), atol=1e-12
    )


def test_distortion_survives_a_round_trip(tmp_path: Path) -> None:
    plain = make_cameras(3)
    distortion = torch.tensor([[0.01, -0.02, 1e-3, -2e-3]] * 3, dtype=torch.float64)
    names = ["a.png", "b.png", "c.png"]
    write_images(tmp_path / "images", names)
    for model in ("pinhole", "fisheye"):
        cameras = Cameras(plain.viewmats, plain.Ks, WIDTH, HEIGHT, model, distortion)
        write_colmap(tmp_path, cameras, names, overwrite=True)
        loaded = load_capture(tmp_path, undistort=False).cameras
        assert loaded.model == model
        assert loaded.distortion is not None and torch.equal(loaded.distortion, distortion)


def test_existing_models_are_not_overwritten(tmp_path: Path) -> None:
    cameras = make_scene(tmp_path)
    names = [f"{index}.png" for index in range(len(cameras))]
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_colmap(tmp_path, cameras, names)
    with pytest.raises(ValueError, match="one name per camera"):
        write_colmap(tmp_path, cameras, names[:2], overwrite=True)


def test_reduced_image_folders(tmp_path: Path) -> None:
    """`images_4` with sizes rounded down is taken for a factor of 4 and its size believed."""
    cameras = make_cameras()
    cameras = Cameras(cameras.viewmats, cameras.Ks, 25, 18)
    names = [f"{index:02d}.png" for index in range(len(cameras))]
    write_images(tmp_path / "images", names, (25, 18))
    write_images(tmp_path / "images_4", [name.replace("png", "jpg") for name in names], (6, 4))
    write_colmap(tmp_path, cameras, names)
    capture = load_capture(tmp_path, downscale=4)
    assert (capture.cameras.width, capture.cameras.height) == (6, 4)
    expected = cameras.Ks[0].clone()
    expected[0] *= 6 / 25
    expected[1] *= 4 / 18
    torch.testing.assert_close(capture.cameras.Ks[0], expected)
    assert "with another tool" in capture.resolution
    assert load_capture(tmp_path, downscale=8).cameras.width == 3
    assert load_capture(tmp_path).cameras.width == 25


def test_only_reduced_images_exist(tmp_path: Path) -> None:
    cameras = make_scene(tmp_path)
    (tmp_path / "images").rename(tmp_path / "originals")
    names = [f"{index:02d}.png" for index in range(len(cameras))]
    write_images(tmp_path / "images_2", names, (WIDTH // 2, HEIGHT // 2))
    assert load_capture(tmp_path).cameras.width == WIDTH // 2
    with pytest.raises(ValueError, match="only images reduced by 2"):
        load_capture(tmp_path, downscale=1)
    write_images(tmp_path / "images_2", names, (WIDTH, HEIGHT))
    with pytest.raises(ValueError, match="expected 1/2"):
        load_capture(tmp_path)


def write_camera(folder: Path, model: str, params: tuple[float, ...]) -> None:
    image = ColmapImage("a.png", 1, (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    camera = ColmapCamera(model, WIDTH, HEIGHT, params)
    empty = np.zeros((0, 3))
    folder.mkdir(exist_ok=True)
    write_model(folder, ColmapModel({1: camera}, (image,), empty, empty.astype(np.uint8)))


@pytest.mark.parametrize("model", ["RAD_TAN_THIN_PRISM_FISHEYE", "EUCM", "EQUIRECTANGULAR"])
def test_models_that_cannot_be_undistorted_are_named(tmp_path: Path, model: str) -> None:
    count = next(count for name, count in CAMERA_MODELS.values() if name == model)
    write_images(tmp_path / "images", ["a.png"])
    write_camera(tmp_path, model, (20.0,) * count)
    with pytest.raises(ValueError, match=f"{model} cannot be undistorted"):
        load_capture(tmp_path)


def test_unknown_camera_models(tmp_path: Path) -> None:
    make_scene(tmp_path)
    path = tmp_path / "sparse" / "0" / "cameras.bin"
    content = bytearray(path.read_bytes())
    content[12:16] = struct.pack("<i", 99)
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"cameras\.bin, byte 8: unknown camera model id 99"):
        load_capture(tmp_path)


def test_unknown_camera_models_in_text(tmp_path: Path) -> None:
    make_scene(tmp_path, binary=False)
    path = tmp_path / "sparse" / "0" / "cameras.txt"
    path.write_text(path.read_text().replace("PINHOLE", "PERISCOPE"))
    with pytest.raises(ValueError, match="line 2: unknown camera model 'PERISCOPE'"):
        load_capture(tmp_path)


def test_zero_registered_images(tmp_path: Path) -> None:
    make_scene(tmp_path)
    (tmp_path / "sparse" / "0" / "images.bin").write_bytes(struct.pack("<Q", 0))
    with pytest.raises(ValueError, match="registers no images; rerun the reconstruction"):
        load_capture(tmp_path)


def test_nan_poses(tmp_path: Path) -> None:
    make_scene(tmp_path)
    path = tmp_path / "sparse" / "0" / "images.bin"
    content = bytearray(path.read_bytes())
    content[12:20] = struct.pack("<d", float("nan"))
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"pose of image '00\.png' holds NaN"):
        load_capture(tmp_path)


def test_missing_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_scene(tmp_path)
    (tmp_path / "images" / "02.png").unlink()
    capture = load_capture(tmp_path)
    assert capture.image_names == ("00.png", "01.png", "03.png", "04.png")
    assert len(caplog.records) == 1 and "1 of them are missing" in caplog.text
    for file in (tmp_path / "images").iterdir():
        file.unlink()
    with pytest.raises(FileNotFoundError, match="lists 5 images and none exists"):
        load_capture(tmp_path)


def test_an_image_of_an_unknown_camera(tmp_path: Path) -> None:
    make_scene(tmp_path)
    (tmp_path / "sparse" / "0" / "cameras.bin").write_bytes(struct.pack("<Q", 0))
    with pytest.raises(ValueError, match="uses camera 1, but"):
        load_capture(tmp_path)


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
def test_every_truncation_is_reported_with_its_offset(tmp_path: Path, name: str) -> None:
    make_scene(tmp_path)
    path = tmp_path / "sparse" / "0" / f"{name}.bin"
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=rf"{name}\.bin, byte \d+: "):
            read_model(path.parent)
    path.write_bytes(content + b"\0")
    with pytest.raises(ValueError, match="1 bytes follow the last record"):
        read_model(path.parent)


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
def test_absurd_counts_allocate_nothing(tmp_path: Path, name: str) -> None:
    make_scene(tmp_path)
    path = tmp_path / "sparse" / "0" / f"{name}.bin"
    path.write_bytes(struct.pack("<Q", 2**63) + path.read_bytes()[8:])
    with pytest.raises(ValueError, match=r"byte 0: number of .* says 9223372036854775808 items"):
        read_model(path.parent)


@pytest.mark.parametrize("binary", [True, False])
def test_random_damage_raises_only_clear_errors(tmp_path: Path, binary: bool) -> None:
    make_scene(tmp_path, binary=binary)
    random = np.random.default_rng(0)
    folder = tmp_path / "sparse" / "0"
    files = sorted(folder.iterdir())
    for _ in range(300):
        path = files[random.integers(len(files))]
        content = path.read_bytes()
        damaged = bytearray(content)
        for _ in range(random.integers(1, 8)):
            damaged[random.integers(len(damaged))] = random.integers(256)
        if random.random() < 0.3:
            damaged = damaged[: random.integers(len(damaged))]
        path.write_bytes(bytes(damaged))
        try:
            load_colmap(tmp_path)
        except (ValueError, OSError) as error:
            assert str(error)
        path.write_bytes(content)
