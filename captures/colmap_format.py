"""COLMAP's sparse model files, binary and text: exactly what they store, nothing interpreted.

Format: https://colmap.github.io/format.html. Key points and tracks are skipped, because nothing
here uses them, and written empty.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

CAMERA_MODELS: dict[int, tuple[str, int]] = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
    12: ("SIMPLE_DIVISION", 4),
    13: ("DIVISION", 5),
    14: ("SIMPLE_FISHEYE", 3),
    15: ("FISHEYE", 4),
    16: ("EUCM", 6),
    17: ("EQUIRECTANGULAR", 2),
}
"""Name and number of parameters of each model id that COLMAP writes."""

_MODEL_IDS = {name: (model_id, count) for model_id, (name, count) in CAMERA_MODELS.items()}
_MAX_SIDE = 1 << 20  # larger than any sensor; a bigger number is a damaged file
_FILES = ("cameras", "images", "points3D")


@dataclass(frozen=True)
class ColmapCamera:
    """Intrinsics shared by any number of images."""

    model: str
    """COLMAP's name of the camera model."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    params: tuple[float, ...]
    """In the order of COLMAP's documentation of the model."""


@dataclass(frozen=True)
class ColmapImage:
    """One registered image."""

    name: str
    """Path relative to the image folder."""
    camera_id: int
    """Key into `ColmapModel.cameras`."""
    quat: tuple[float, float, float, float]
    """World-to-camera rotation (w, x, y, z)."""
    translation: tuple[float, float, float]
    """World-to-camera translation."""


@dataclass(frozen=True)
class ColmapModel:
    """One sparse reconstruction."""

    cameras: dict[int, ColmapCamera]
    """By camera id."""
    images: tuple[ColmapImage, ...]
    """In file order."""
    positions: Float[ndarray, "M 3"]
    """Sparse points, float64, world frame."""
    colors: UInt8[ndarray, "M 3"]
    """sRGB."""


def find_model(folder: Path) -> Path | None:
    """The folder of the model files: `sparse/0`, `sparse`, or `folder` itself; None if absent."""
    for candidate in (folder / "sparse" / "0", folder / "sparse", folder):
        for suffix in (".bin", ".txt"):
            if all((candidate / f"{name}{suffix}").is_file() for name in _FILES[:2]):
                return candidate
    return None


def read_model(folder: Path) -> ColmapModel:
    """The model in `folder`; binary files win over text files. `points3D` may be missing.

    Raises:
        ValueError: A file is truncated, has absurd counts or values, or names an unknown camera
            model; the message gives the path, the byte offset or line, and the field.
    """
    binary = all((folder / f"{name}.bin").is_file() for name in _FILES[:2])
    suffix = ".bin" if binary else ".txt"
    read_cameras, read_images, read_points = (
        (_read_cameras_bin, _read_images_bin, _read_points_bin)
        if binary
        else (_read_cameras_txt, _read_images_txt, _read_points_txt)
    )
    cameras = read_cameras(folder / f"cameras{suffix}")
    images = read_images(folder / f"images{suffix}")
    for image in images:
        if image.camera_id not in cameras:
            raise ValueError(
                f"{folder / f'images{suffix}'}: image {image.name!r} uses camera "
                f"{image.camera_id}, but cameras{suffix} holds only {sorted(cameras)[:10]}."
            )
    points = folder / f"points3D{suffix}"
    positions, colors = read_points(points) if points.is_file() else _stack_points([], [])
    return ColmapModel(cameras, images, positions, colors)


def write_model(folder: Path, model: ColmapModel, *, binary: bool = True) -> None:
    """Write cameras, images and points3D into `folder`, which must exist; replaces them."""
    suffix, encode = (".bin", _encode_bin) if binary else (".txt", _encode_txt)
    for name, content in zip(_FILES, encode(model), strict=True):
        temporary = folder / f".{name}{suffix}.{os.getpid()}.tmp"
        temporary.write_bytes(content)
        os.replace(temporary, folder / f"{name}{suffix}")


class _ByteReader:
    """Reads little-endian fields from a memory-mapped file and knows where it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        with path.open("rb") as handle:
            self.size = os.fstat(handle.fileno()).st_size
            # An empty file cannot be mapped.
            self.data: mmap.mmap | bytes = (
                mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) if self.size else b""
            )

    def error(self, what: str, offset: int | None = None) -> ValueError:
        return ValueError(f"{self.path}, byte {self.offset if offset is None else offset}: {what}")

    def unpack(self, layout: struct.Struct, field: str) -> tuple:
        if self.offset + layout.size > self.size:
            raise self.error(
                f"truncated in {field}: {layout.size} bytes expected, "
                f"{self.size - self.offset} left; copy the file again or rerun COLMAP."
            )
        values = layout.unpack_from(self.data, self.offset)
        self.offset += layout.size
        return values

    def count(self, field: str, item_bytes: int) -> int:
        """A 64-bit count that the rest of the file can hold."""
        start = self.offset
        (count,) = self.unpack(_U64, field)
        if count * item_bytes > self.size - self.offset:
            raise self.error(
                f"{field} says {count} items of at least {item_bytes} bytes, "
                f"but only {self.size - self.offset} bytes follow; the file is damaged.",
                start,
            )
        return count

    def skip(self, num_bytes: int) -> None:
        self.offset += num_bytes

    def name(self, field: str) -> str:
        end = self.data.find(b"\0", self.offset)
        if end < 0:
            raise self.error(f"truncated in {field}: no terminating zero byte.")
        raw = self.data[self.offset : end]
        start, self.offset = self.offset, end + 1
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise self.error(f"{field} is not UTF-8 ({error.reason}).", start) from error

    def finish(self) -> None:
        if self.offset != self.size:
            raise self.error(f"{self.size - self.offset} bytes follow the last record.")


_U64 = struct.Struct("<Q")
_CAMERA = struct.Struct("<iiQQ")
_IMAGE = struct.Struct("<i7di")
_POINT = struct.Struct("<Q3d3Bd")
_KEYPOINT_BYTES = 24
_TRACK_BYTES = 8
_NO_ERROR = -1.0  # what COLMAP stores where no reprojection error was computed


def _checked_camera(
    where: str, model: str, width: int, height: int, params: tuple[float, ...]
) -> ColmapCamera:
    if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE):
        raise ValueError(f"{where}: image size {width} x {height} is impossible.")
    if not all(map(math.isfinite, params)):
        raise ValueError(f"{where}: camera parameters must be finite, got {params}.")
    return ColmapCamera(model, width, height, params)


def _checked_image(where: str, name: str, camera_id: int, pose: tuple[float, ...]) -> ColmapImage:
    if not all(map(math.isfinite, pose)):
        raise ValueError(f"{where}: the pose of image {name!r} holds NaN or infinity: {pose}.")
    if not name:
        raise ValueError(f"{where}: an image has an empty name.")
    qw, qx, qy, qz, tx, ty, tz = pose
    length = math.hypot(qw, qx, qy, qz)
    if not 1e-6 < length < 1e6:
        raise ValueError(f"{where}: the quaternion of image {name!r} has length {length:g}.")
    return ColmapImage(name, camera_id, (qw, qx, qy, qz), (tx, ty, tz))


def _stack_points(
    positions: list[tuple[float, ...]], colors: list[tuple[int, ...]]
) -> tuple[Float[ndarray, "M 3"], UInt8[ndarray, "M 3"]]:
    return (
        np.array(positions, dtype=np.float64).reshape(-1, 3),
        np.array(colors, dtype=np.uint8).reshape(-1, 3),
    )


def _read_cameras_bin(path: Path) -> dict[int, ColmapCamera]:
    reader = _ByteReader(path)
    cameras = {}
    for _ in range(reader.count("number of cameras", _CAMERA.size)):
        where = f"{path}, byte {reader.offset}"
        camera_id, model_id, width, height = reader.unpack(_CAMERA, "camera")
        if model_id not in CAMERA_MODELS:
            raise ValueError(
                f"{where}: unknown camera model id {model_id}; known: 0 to {max(CAMERA_MODELS)}."
            )
        model, num_params = CAMERA_MODELS[model_id]
        params = reader.unpack(struct.Struct(f"<{num_params}d"), f"parameters of a {model} camera")
        cameras[camera_id] = _checked_camera(where, model, width, height, params)
    reader.finish()
    return cameras


def _read_images_bin(path: Path) -> tuple[ColmapImage, ...]:
    reader = _ByteReader(path)
    images = []
    for _ in range(reader.count("number of images", _IMAGE.size)):
        where = f"{path}, byte {reader.offset}"
        _, *pose, camera_id = reader.unpack(_IMAGE, "image pose")
        name = reader.name("image name")
        reader.skip(_KEYPOINT_BYTES * reader.count("number of key points", _KEYPOINT_BYTES))
        images.append(_checked_image(where, name, camera_id, tuple(pose)))
    reader.finish()
    return tuple(images)


def _read_points_bin(path: Path) -> tuple[Float[ndarray, "M 3"], UInt8[ndarray, "M 3"]]:
    reader = _ByteReader(path)
    positions, colors = [], []
    for _ in range(reader.count("number of points", _POINT.size)):
        _, x, y, z, red, green, blue, _ = reader.unpack(_POINT, "point")
        reader.skip(_TRACK_BYTES * reader.count("track length", _TRACK_BYTES))
        positions.append((x, y, z))
        colors.append((red, green, blue))
    reader.finish()
    return _stack_points(positions, colors)


def _text_lines(path: Path) -> Iterator[tuple[str, str]]:
    """(where, line) of the lines that are no comment; empty ones included."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}, byte {error.start}: not UTF-8 text.") from error
    for number, line in enumerate(lines, start=1):
        if not line.startswith("#"):
            yield f"{path}, line {number}", line.strip()


def _floats(where: str, field: str, words: list[str]) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in words)
    except ValueError as error:
        raise ValueError(f"{where}: {field} must be numbers, got {' '.join(words)!r}.") from error


def _ints(where: str, field: str, words: list[str]) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in words)
    except ValueError as error:
        found = " ".join(words)
        raise ValueError(f"{where}: {field} must be whole numbers, got {found!r}.") from error


def _read_cameras_txt(path: Path) -> dict[int, ColmapCamera]:
    cameras = {}
    for where, line in _text_lines(path):
        if not line:
            continue
        words = line.split()
        if len(words) < 4:
            raise ValueError(
                f"{where}: expected CAMERA_ID MODEL WIDTH HEIGHT PARAMS, got {line!r}."
            )
        if words[1] not in _MODEL_IDS:
            raise ValueError(
                f"{where}: unknown camera model {words[1]!r}; known: {', '.join(_MODEL_IDS)}."
            )
        num_params = _MODEL_IDS[words[1]][1]
        params = _floats(where, "camera parameters", words[4:])
        if len(params) != num_params:
            raise ValueError(f"{where}: {words[1]} has {num_params} parameters, got {len(params)}.")
        camera_id, width, height = _ints(where, "camera id and size", [words[0], *words[2:4]])
        cameras[camera_id] = _checked_camera(where, words[1], width, height, params)
    return cameras


def _read_images_txt(path: Path) -> tuple[ColmapImage, ...]:
    images = []
    lines = _text_lines(path)
    for where, line in lines:
        if not line:
            continue
        words = line.split(maxsplit=9)
        if len(words) != 10:
            raise ValueError(
                f"{where}: expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, got {line!r}."
            )
        pose = _floats(where, "image pose", words[1:8])
        _, camera_id = _ints(where, "image and camera id", [words[0], words[8]])
        images.append(_checked_image(where, words[9], camera_id, pose))
        next(lines, None)  # the key points, an empty line where there are none
    return tuple(images)


def _read_points_txt(path: Path) -> tuple[Float[ndarray, "M 3"], UInt8[ndarray, "M 3"]]:
    positions, colors = [], []
    for where, line in _text_lines(path):
        if not line:
            continue
        words = line.split(maxsplit=8)
        if len(words) < 8:
            raise ValueError(f"{where}: expected POINT3D_ID X Y Z R G B ERROR TRACK, got {line!r}.")
        color = _ints(where, "color", words[4:7])
        if not all(0 <= value <= 255 for value in color):
            raise ValueError(f"{where}: color must lie in 0 to 255, got {color}.")
        positions.append(_floats(where, "position", words[1:4]))
        colors.append(color)
    return _stack_points(positions, colors)


def _encode_bin(model: ColmapModel) -> Iterator[bytes]:
    """The contents of cameras.bin, images.bin and points3D.bin."""
    cameras = [_U64.pack(len(model.cameras))]
    for camera_id, camera in model.cameras.items():
        model_id = _MODEL_IDS[camera.model][0]
        cameras.append(_CAMERA.pack(camera_id, model_id, camera.width, camera.height))
        cameras.append(struct.pack(f"<{len(camera.params)}d", *camera.params))
    yield b"".join(cameras)

    images = [_U64.pack(len(model.images))]
    for image_id, image in enumerate(model.images, start=1):
        images.append(_IMAGE.pack(image_id, *image.quat, *image.translation, image.camera_id))
        images.append(image.name.encode() + b"\0" + _U64.pack(0))
    yield b"".join(images)

    points = [_U64.pack(len(model.positions))]
    rows = zip(model.positions.tolist(), model.colors.tolist(), strict=True)
    for point_id, (position, color) in enumerate(rows, start=1):
        points.append(_POINT.pack(point_id, *position, *color, _NO_ERROR) + _U64.pack(0))
    yield b"".join(points)


def _encode_txt(model: ColmapModel) -> Iterator[bytes]:
    """The contents of cameras.txt, images.txt and points3D.txt; floats keep all their bits."""
    lines = ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    for camera_id, camera in model.cameras.items():
        params = " ".join(map(repr, camera.params))
        lines.append(f"{camera_id} {camera.model} {camera.width} {camera.height} {params}")
    yield _joined(lines)

    lines = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME, then a line of POINTS2D[]"]
    for image_id, image in enumerate(model.images, start=1):
        pose = " ".join(map(repr, (*image.quat, *image.translation)))
        lines += [f"{image_id} {pose} {image.camera_id} {image.name}", ""]
    yield _joined(lines)

    lines = ["# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[]"]
    rows = zip(model.positions.tolist(), model.colors.tolist(), strict=True)
    for point_id, (position, color) in enumerate(rows, start=1):
        words = [*map(repr, position), *map(str, color), str(_NO_ERROR)]
        lines.append(f"{point_id} {' '.join(words)}")
    yield _joined(lines)


def _joined(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
