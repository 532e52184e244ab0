"""The sharpest frames of a video, spread evenly over its time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v")

_SHARPNESS_WIDTH = 640  # sharpness is judged at this width, where sensor noise is averaged out


def sharpness(gray: Float[np.ndarray, "H W"]) -> float:
    """Variance of the Laplacian of a gray image; larger is sharper.

    Reference: Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000.
    """
    if min(gray.shape) < 3:
        return 0.0
    inner = gray[1:-1, 1:-1]
    around = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:]
    return float((around - 4 * inner).var())


def sharpest_per_window(scores: list[float], num_windows: int) -> list[int]:
    """Index of the best score within each of `num_windows` equal stretches of the sequence."""
    edges = np.linspace(0, len(scores), min(num_windows, len(scores)) + 1).round().astype(int)
    return [int(start + np.argmax(scores[start:end])) for start, end in pairwise(edges)]


def write_sharp_frames(video: Path, folder: Path, *, max_frames: int) -> list[str]:
    """Decodes `video` and writes at most `max_frames` sharp frames into `folder`.

    Returns:
        The names of the JPEG files in the order of time.

    Raises:
        ValueError: `video` cannot be decoded or holds no frame.
        ImportError: PyAV is missing.
    """
    scores = [sharpness(_gray(frame)) for frame in _decoded(video)]
    if not scores:
        raise ValueError(f"{video} holds no video frames; record or convert it to an MP4 file.")
    chosen = set(sharpest_per_window(scores, max_frames))
    names = []
    for number, frame in enumerate(_decoded(video)):
        if number in chosen:
            names.append(f"frame_{number:06d}.jpg")
            image = frame.to_image().rotate(getattr(frame, "rotation", 0), expand=True)
            image.save(folder / names[-1], quality=97, subsampling=0)
    return names


def _gray(frame: Any) -> Float[np.ndarray, "H W"]:
    width = min(_SHARPNESS_WIDTH, frame.width)
    height = max(1, round(frame.height * width / frame.width))
    return frame.reformat(width=width, height=height, format="gray").to_ndarray().astype(np.float32)


def _decoded(video: Path) -> Iterator[Any]:
    try:
        import av
        from av.error import FFmpegError
    except ImportError as error:
        raise ImportError(
            'Reading a video needs PyAV; install it with pip install "fieldwright[capture]".'
        ) from error
    try:
        with av.open(str(video)) as container:
            if not container.streams.video:
                raise ValueError(f"{video} has no video stream; choose a video or a photo folder.")
            yield from container.decode(container.streams.video[0])
    except FFmpegError as error:
        raise ValueError(
            f"{video} cannot be decoded ({error}); check that it plays or convert it to MP4."
        ) from error
