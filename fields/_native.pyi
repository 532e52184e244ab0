"""CPU kernels of fields, compiled from fields/csrc; missing where no compiler was found.

Arguments are addresses of dense float32 values unless a comment says otherwise, inputs first, then
what is written. Callers check shapes.
"""

import numpy as np
from numpy.typing import NDArray

def set_num_threads(count: int) -> None:
    """Threads the kernels use, the caller included; 0 means one per available core."""

def num_threads() -> int:
    """Threads in use."""

def set_isa(name: str) -> None:
    """Instruction set: auto, portable, avx2 or avx512."""

def isa() -> str:
    """Name of the instruction set in use."""

def composite_forward(
    densities: int,
    colors: int,
    starts: int,
    ends: int,
    offsets: int,  # int64 [rays + 1]
    out_colors: int,
    opacities: int,
    distances: int,
    medians: int,
    distortions: int,
    rays: int,
    early_stop: float,
) -> None:
    """Blend packed samples along their rays."""

def composite_backward(
    densities: int,
    colors: int,
    starts: int,
    ends: int,
    offsets: int,  # int64 [rays + 1]
    for_colors: int,
    for_opacities: int,
    for_distances: int,
    for_distortions: int,
    out_densities: int,
    out_colors: int,
    rays: int,
    early_stop: float,
) -> None:
    """Gradients of `composite_forward` towards densities and colors."""

def rasterize_triangles(
    corners: NDArray[np.float64],
    inverse_depths: NDArray[np.float64],
    faces: NDArray[np.int32],
    weights: NDArray[np.float32],
    nearness: NDArray[np.float32],
) -> None:
    """Draws projected triangles [F, 3, 2] with inverse depths [F, 3] into a z-buffer.

    Written: faces [H, W], -1 on entry; weights [H, W, 3] and inverse depths [H, W], 0 on entry.
    """

def integrate_depths(
    corners: NDArray[np.float64],
    spacing: float,
    truncation: float,
    pose: NDArray[np.float64],
    depths: NDArray[np.float32],
    weights: NDArray[np.float32],
    colors: NDArray[np.float32],
    sums: NDArray[np.float32],
    sum_weights: NDArray[np.float32],
) -> None:
    """Adds a depth map [H, W] to the signed distances of bricks with the given corners [B, 3].

    `pose` is world to camera [3, 4], then intrinsics [2, 3]. Added to: sums [B, 8, 8, 8, 5] and
    sum_weights [B, 8, 8, 8].
    """
