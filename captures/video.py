"""Frames to an mp4 file or a folder of PNG images."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8


def write_video(
    path: Path,
    frames: Iterable[UInt8[np.ndarray, "H W 3"]],
    *,
    fps: float = 30.0,
    overwrite: bool = False,
) -> int:
    """Encode `frames` (sRGB) as H.264, or MPEG-4 part 2 where PyAV lacks libx264.

    Frames of odd width or height get their last column or row twice, because 4:2:0 video needs
    even sizes.

    Args:
        path: Ends with .mp4; moved into place once complete.
        frames: All of one size; consumed one at a time.
        fps: Frames per second.
        overwrite: Replace an existing file.

    Returns:
        Number of frames written.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False.
        ImportError: PyAV is missing.
        ValueError: There are no frames, or their sizes differ.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError(
            'Writing videos needs PyAV: pip install "fieldwright[video]"; or write a folder of '
            "PNG frames instead."
        ) from error
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another name or pass --overwrite.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    count = 0
    try:
        with av.open(str(temporary), "w", options={"movflags": "+faststart"}) as container:
            stream: Any = None
            for frame in frames:
                height, width, _ = frame.shape
                even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
                if stream is None:
                    stream = _add_stream(container, even.shape[1], even.shape[0], fps)
                if (stream.height, stream.width) != even.shape[:2]:
                    raise ValueError(
                        f"`frames` must all be {stream.width} x {stream.height}, got one of "
                        f"{width} x {height}."
                    )
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
                container.mux(stream.encode(picture))
                count += 1
            if stream is None:
                raise ValueError("`frames` must hold at least one frame, got none.")
            container.mux(stream.encode())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def write_frames(
    folder: Path, frames: Iterable[UInt8[np.ndarray, "H W 3"]], *, overwrite: bool = False
) -> int:
    """Write `frames` (sRGB) as `folder`/00000.png and so on; returns how many.

    Raises:
        FileExistsError: The folder has content and `overwrite` is False.
    """
    from PIL import Image

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not overwrite:
        raise FileExistsError(f"{folder} is not empty; choose another one or pass --overwrite.")
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for frame in frames:
        Image.fromarray(frame).save(folder / f"{count:05d}.png")
        count += 1
    return count


def _add_stream(container: Any, width: int, height: int, fps: float) -> Any:
    from av import codecs_available

    codec = "libx264" if "libx264" in codecs_available else "mpeg4"
    stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
    stream.width, stream.height = width, height
    stream.pix_fmt = "yuv420p"
    # Visually lossless settings of either encoder.
    stream.options = {"crf": "17", "preset": "medium"} if codec == "libx264" else {"qscale": "2"}
    return stream
