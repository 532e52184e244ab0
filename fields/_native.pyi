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

class TrivecModel:
    """Leaves on loan; their arrays must outlive it."""

    def __init__(
        self,
        vectors: int,
        densities: int,
        colors: int,
        masks: int,  # uint64 [leaves]
        ranks: int,  # uint8 [leaves]
        leaves: int,
        nodes: int,
        rank: int,
        bases: int,
        shift: float,
        unit: float,
    ) -> None: ...

class TrivecRays:
    """Rays on loan; their arrays must outlive it."""

    def __init__(
        self,
        origins: int,
        directions: int,
        jitter: int,
        bases: int,
        step: float,
        early_stop: float,
    ) -> None: ...

class TrivecTape:
    """What a forward pass keeps for its backward pass."""

    def __init__(self) -> None: ...
    @property
    def num_samples(self) -> int:
        """Samples that were evaluated."""

def trivec_forward(
    model: TrivecModel,
    children: int,  # int32 [M, 8]
    x: float,
    y: float,
    z: float,
    side: float,
    rays: TrivecRays,
    colors: int,
    opacities: int,
    distances: int,
    medians: int,
    count: int,
    tape: TrivecTape | None,
) -> None:
    """Draw rays; fills the tape if there is one."""

def trivec_backward(
    model: TrivecModel,
    rays: TrivecRays,
    tape: TrivecTape,
    colors: int,
    opacities: int,
    distances: int,
    for_vectors: int,
    for_densities: int,
    for_colors: int,
    seen: int,  # uint8 [leaves]
) -> None:
    """Gradients of `trivec_forward`; uses the tape up."""

def trivec_points(
    model: TrivecModel,
    leaves: int,  # int32 [count]
    local: int,
    bases: int,
    densities: int,
    colors: int,
    count: int,
) -> None:
    """Density and color at points inside leaves."""

def trivec_lattice(model: TrivecModel, side: int, densities: int) -> None:
    """Densities on a lattice of each leaf, faces included."""

def cp_forward(
    vectors: int,
    offsets: int,  # int64 [samples + 1]
    tensors: int,  # int32 [pairs]
    local: int,
    weights: int,
    nodes: int,
    rank: int,
    summed: bool,
    out: int,
    samples: int,
) -> None:
    """Weighted products of local CP tensors at samples."""

def cp_backward(
    vectors: int,
    offsets: int,  # int64 [samples + 1]
    tensors: int,  # int32 [pairs]
    local: int,
    weights: int,
    nodes: int,
    rank: int,
    summed: bool,
    gradients: int,
    out: int,
    samples: int,
    count: int,
) -> None:
    """Gradients of `cp_forward` towards the vectors of `count` tensors."""

def vm_forward(
    plane0: int,
    plane1: int,
    plane2: int,
    line0: int,
    line1: int,
    line2: int,
    points: int,
    x: int,
    y: int,
    z: int,
    rank: int,
    summed: bool,
    out: int,
    samples: int,
) -> None:
    """Products of planes and lines at points."""

def vm_backward(
    plane0: int,
    plane1: int,
    plane2: int,
    line0: int,
    line1: int,
    line2: int,
    points: int,
    x: int,
    y: int,
    z: int,
    rank: int,
    summed: bool,
    gradients: int,
    for_plane0: int,
    for_plane1: int,
    for_plane2: int,
    for_line0: int,
    for_line1: int,
    for_line2: int,
    samples: int,
) -> None:
    """Adds the gradients of `vm_forward` to zeroed arrays."""

def march_count(
    origins: int,
    directions: int,
    begins: int,
    counts: int,  # int64 [rays]
    occupied: int,  # uint8 [n, n, n]
    low_and_scale: int,
    resolution: int,
    step: float,
    out: int,  # int64 [rays]
    rays: int,
) -> None:
    """Steps of each ray in occupied cells."""

def march_write(
    origins: int,
    directions: int,
    begins: int,
    counts: int,  # int64 [rays]
    occupied: int,  # uint8 [n, n, n]
    low_and_scale: int,
    resolution: int,
    step: float,
    offsets: int,  # int64 [rays + 1]
    out: int,
    rays: int,
) -> None:
    """Distances at which those steps begin."""

def cubes_count(
    points: int,
    coarse: int,  # int32 [side, side, side]
    bricks: int,  # int32 [bricks, 8, 8, 8]
    side: int,
    low_and_pitch: int,
    half: float,
    out: int,  # int64 [count]
    count: int,
) -> None:
    """Cubes that cover each point."""

def cubes_write(
    points: int,
    coarse: int,  # int32 [side, side, side]
    bricks: int,  # int32 [bricks, 8, 8, 8]
    side: int,
    low_and_pitch: int,
    half: float,
    offsets: int,  # int64 [count + 1]
    cubes: int,  # int32 [pairs]
    local: int,
    weights: int,
    count: int,
) -> None:
    """Those cubes, where in them the points lie, and their shares."""
