"""Photos or a video to a posed capture: features, matching, mapping, undistortion, report."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageOps

from .frames import VIDEO_SUFFIXES, write_sharp_frames
from .matching import match
from .photos import IMAGE_SUFFIXES
from .reconstruction_report import ReconstructionReport, write_report

logger = logging.getLogger(__name__)

_ORIENTATION = 0x0112  # EXIF tag


@dataclass(frozen=True, kw_only=True)
class FromImagesOptions:
    """How `from_images` reconstructs; the defaults suit photos of a still scene."""

    matcher: Literal["auto", "exhaustive", "sequential"] = "auto"
    """Which pairs are compared; auto takes all pairs of up to 100 photos, else neighbors, as for
    every video."""
    mapper: Literal["incremental", "global"] = "incremental"
    """Incremental is the more robust, global the faster one for hundreds of images."""
    max_frames: int = 150
    """Sharp frames taken from a video; photos are all used."""
    max_image_size: int = 1600
    """Longer side in pixels at which features are extracted."""
    max_features: int | None = None
    """Features kept per image; None takes 8192 of a photo and 2048 of a video's frame, because
    matching time grows with their square and neighboring frames share most of theirs."""
    camera_model: str = "SIMPLE_RADIAL"
    """COLMAP lens model that is solved for when no intrinsics are given."""
    intrinsics: Float[np.ndarray, "3 3"] | None = None
    """Known pinhole matrix in pixels of the (upright) images; it is then kept fixed."""
    seed: int = 0
    """Seed of the mapper."""
    num_threads: int | None = None
    """CPU threads; None takes all. One thread makes the mapping repeatable."""


Progress = Callable[[str, int, int | None], None]
"""Called with the phase, what is done and how much there is (None where unknown)."""

MatchCheck = Callable[[Path], None]
"""Called with the COLMAP database of verified matches before mapping; may remove pairs from it."""


def from_images(
    source: str | Path,
    out: str | Path,
    options: FromImagesOptions | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    check_matches: MatchCheck | None = None,
) -> ReconstructionReport:
    """Solves the poses of photos or of a video's frames and writes a COLMAP capture to `out`.

    `out` gets undistorted `images`, `sparse/0` with pinhole cameras, `report.html`, `report.json`
    and `cameras.png`.

    Args:
        source: a folder of photos, or a video file.
        out: where to write.
        options: None takes the defaults.
        overwrite: replace an existing `out`.
        progress: told about every phase.
        check_matches: looks at the matches, and may remove some, before they are mapped.

    Raises:
        FileNotFoundError: `source` is missing or holds no images.
        FileExistsError: `out` exists and `overwrite` is off.
        ValueError: a video or image is unreadable, `intrinsics` is no pinhole matrix, or no image
            could be registered.
        ImportError: pycolmap, PyAV (videos) or matplotlib is missing.
    """
    options = options or FromImagesOptions()
    source, out = Path(source), Path(out)
    _check(source, out, options, overwrite)
    pycolmap = _pycolmap()
    tell = progress or (lambda phase, done, total: None)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        work, made = Path(temporary) / "work", Path(temporary) / "made"
        (work / "photos").mkdir(parents=True)
        tell("Images", 0, None)
        names = _gather(source, work / "photos", options.max_frames)
        tell("Features", 0, None)
        max_features = options.max_features or (2048 if source.is_file() else 8192)
        _extract(pycolmap, work, names, options, max_features)
        tell("Matching", 0, None)
        # The frames of a video are in order, so comparing neighbors is enough however few they are.
        ordered = options.matcher == "auto" and source.is_file()
        matcher = "sequential" if ordered else options.matcher
        match(work / "database.db", names, matcher=matcher, threads=_threads(options))
        if check_matches is not None:
            tell("Checking", 0, None)
            check_matches(work / "database.db")
        model = _map(pycolmap, work, names, options, tell)
        tell("Undistortion", 0, None)
        _undistort(pycolmap, work, made, model)
        report = _report(model, names, made, out)
        if out.exists():
            shutil.rmtree(out)
        os.replace(made, out)
    return report


def read_intrinsics(path: str | Path) -> Float[np.ndarray, "3 3"]:
    """A 3 x 3 pinhole matrix from a text file with three numbers per line."""
    try:
        K = np.loadtxt(path, dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{path} must hold 3 lines of 3 numbers: {error}.") from error
    if K.shape != (3, 3):
        raise ValueError(f"{path} must hold a 3 x 3 matrix, got shape {list(K.shape)}.")
    return K


def _check(source: Path, out: Path, options: FromImagesOptions, overwrite: bool) -> None:
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist; give a folder of photos or a video.")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists already; choose another folder or pass --overwrite.")
    inside = source.resolve().is_relative_to(out.resolve())
    if inside:
        raise ValueError(f"{out} holds the source {source}; choose another output folder.")
    K = options.intrinsics
    if K is not None and not (K[0, 0] > 0 and K[1, 1] > 0 and np.allclose(K[2], [0, 0, 1])):
        raise ValueError(f"`intrinsics` must be [[fx 0 cx] [0 fy cy] [0 0 1]], got {K.tolist()}.")


def _pycolmap() -> Any:
    try:
        import pycolmap
    except ImportError as error:
        raise ImportError(
            'Solving poses needs pycolmap; install it with pip install "fieldwright[capture]".'
        ) from error
    pycolmap.logging.minloglevel = pycolmap.logging.Level.ERROR.value
    return pycolmap


def _threads(options: FromImagesOptions) -> int:
    return options.num_threads or -1


def _gather(source: Path, folder: Path, max_frames: int) -> list[str]:
    """Upright images in `folder`, and their names in order."""
    if source.is_file():
        if source.suffix.lower() not in VIDEO_SUFFIXES:
            raise ValueError(
                f"{source} is neither a folder nor a video ({', '.join(VIDEO_SUFFIXES)})."
            )
        return write_sharp_frames(source, folder, max_frames=max_frames)
    photos = sorted(path for path in source.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if len(photos) < 2:
        raise FileNotFoundError(
            f"{source} holds {len(photos)} images ({', '.join(IMAGE_SUFFIXES)}); at least 2 are "
            "needed, and 20 or more make a good capture."
        )
    # COLMAP separates the names of a pair by a space, so no name may hold one.
    names = [path.relative_to(source).as_posix().replace(" ", "_") for path in photos]
    if len(set(names)) < len(names):
        raise ValueError(f"{source} holds names that differ only by space and _; rename them.")
    for path, name in zip(photos, names, strict=True):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_upright(path, target)
    return names


def _write_upright(path: Path, target: Path) -> None:
    """Copies a photo; one with an EXIF orientation is turned upright, its other EXIF data kept."""
    try:
        with Image.open(path) as image:
            if image.getexif().get(_ORIENTATION, 1) == 1:
                image.load()
                shutil.copyfile(path, target)
                return
            upright = ImageOps.exif_transpose(image)
            upright.save(target, quality=97, subsampling=0, exif=upright.getexif())
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read as an image ({error}); remove it.") from error


def _extract(
    pycolmap, work: Path, names: Sequence[str], options: FromImagesOptions, max_features: int
) -> None:
    reader = pycolmap.ImageReaderOptions()
    reader.camera_model = options.camera_model
    sizes = set()
    for name in names:
        with Image.open(work / "photos" / name) as image:
            sizes.add(image.size)
    one_camera = len(sizes) == 1
    if options.intrinsics is not None:
        K = options.intrinsics
        reader.camera_model = "PINHOLE"
        reader.camera_params = f"{K[0, 0]},{K[1, 1]},{K[0, 2]},{K[1, 2]}"
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.num_threads = _threads(options)
    extraction.max_image_size = options.max_image_size
    extraction.sift.max_num_features = max_features
    extraction.use_gpu = False
    pycolmap.extract_features(
        work / "database.db",
        work / "photos",
        image_names=list(names),
        camera_mode=pycolmap.CameraMode.SINGLE if one_camera else pycolmap.CameraMode.AUTO,
        reader_options=reader,
        extraction_options=extraction,
        device=pycolmap.Device.cpu,
    )


def _map(pycolmap, work: Path, names, options: FromImagesOptions, tell: Progress) -> Any:
    """The largest model; a poor first attempt is repeated with relaxed thresholds."""
    best = None
    for relaxed in (False, True):
        models = _attempt(pycolmap, work, len(names), options, tell, relaxed=relaxed)
        for model in models:
            if best is None or _size(model) > _size(best):
                best = model
        if best is not None and best.num_reg_images() >= 0.8 * len(names):
            return best
        if not relaxed:
            logger.info("Few images registered; mapping again with relaxed thresholds.")
    if best is None:
        raise ValueError(
            f"None of the {len(names)} images could be registered: too few matching features. Take "
            "photos with about 70 percent overlap, in focus, of a textured scene that stands still."
        )
    return best


def _size(model) -> tuple[int, int]:
    return model.num_reg_images(), model.num_points3D()


def _attempt(pycolmap, work: Path, num_images: int, options, tell, *, relaxed: bool) -> list[Any]:
    target = work / ("relaxed" if relaxed else "mapped")
    target.mkdir()
    database, photos = work / "database.db", work / "photos"
    if options.mapper == "global" and not relaxed:
        tell("Mapping", 0, None)
        settings = pycolmap.GlobalPipelineOptions()
        settings.num_threads, settings.random_seed = _threads(options), options.seed
        return list(pycolmap.global_mapping(database, photos, target, settings).values())
    settings = pycolmap.IncrementalPipelineOptions()
    settings.num_threads, settings.random_seed = _threads(options), options.seed
    settings.min_model_size = min(3, num_images)
    if options.intrinsics is not None:
        settings.ba_refine_focal_length = False
        settings.ba_refine_extra_params = False
    if relaxed:
        settings.min_num_matches = 10
        settings.mapper.init_min_num_inliers = 40
        settings.mapper.init_min_tri_angle = 4.0
        settings.mapper.abs_pose_min_num_inliers = 15
        settings.mapper.abs_pose_min_inlier_ratio = 0.12
    registered = 2
    tell("Mapping", registered, num_images)

    def count() -> None:
        nonlocal registered
        registered = min(registered + 1, num_images)
        tell("Mapping", registered, num_images)

    models = pycolmap.incremental_mapping(
        database, photos, target, options=settings, next_image_callback=count
    )
    return list(models.values())


def _undistort(pycolmap, work: Path, made: Path, model) -> None:
    solved = work / "solved"
    solved.mkdir()
    model.write(solved)
    pycolmap.undistort_images(made, solved, work / "photos", jpeg_quality=97)
    files = list((made / "sparse").iterdir())
    (made / "sparse" / "0").mkdir()
    for path in files:
        os.replace(path, made / "sparse" / "0" / path.name)
    shutil.rmtree(made / "stereo", ignore_errors=True)  # folders and scripts of dense stereo
    for script in made.glob("run-*.sh"):
        script.unlink()


def _report(model, names: Sequence[str], made: Path, out: Path) -> ReconstructionReport:
    images = [image for image in model.images.values() if image.has_pose]
    registered = {image.name for image in images}
    report = ReconstructionReport(
        num_images=len(names),
        num_registered=len(registered),
        num_points=model.num_points3D(),
        reprojection_error=float(model.compute_mean_reprojection_error()),
        track_length=float(model.compute_mean_track_length()),
        missing=tuple(name for name in names if name not in registered),
        output=out,
    )
    points = list(model.points3D.values())
    rotations = [image.cam_from_world().rotation.matrix() for image in images]
    write_report(
        report,
        made,
        positions=np.array([image.projection_center() for image in images]),
        up=-np.mean([rotation[1] for rotation in rotations], axis=0),
        points=np.array([point.xyz for point in points]).reshape(-1, 3),
        colors=np.array([point.color for point in points]).reshape(-1, 3) / 255,
    )
    return report
