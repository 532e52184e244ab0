"""CPU kernels of splats, compiled from splats/csrc; missing where no compiler was found.

The rasterizer's kernels take addresses: 0 for an absent array, else the first of dense float32
values unless a comment says otherwise. Callers check shapes; see splats/rasterizer/cpu.py.
"""

from collections.abc import Sequence

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

class Bins:
    """Depth order and tile lists of one camera."""

    @property
    def width(self) -> int:
        """Image width, pixels."""

    @property
    def height(self) -> int:
        """Image height, pixels."""

    @property
    def num_visible(self) -> int:
        """Gaussians that touch the image."""

    @property
    def num_pairs(self) -> int:
        """(tile, Gaussian) pairs."""

    @property
    def num_tiles(self) -> int:
        """Tiles of 8 x 8 pixels."""

    @property
    def num_bytes(self) -> int:
        """Memory held, bytes."""

def project(N: int, view: int, K: int, width: int, height: int, /, *rest: float) -> None:
    """EWA projection; radii are 0 where a Gaussian is culled.

    `view` is the address of [4, 4] world to camera, `K` of [3, 3]. The rest: eps2d, near_plane,
    far_plane, radius_clip; addresses of means [N, 3], quats [N, 4], scales [N, 3], opacities [N];
    written: radii [N, 2] int32, means2d [N, 2], depths [N], conics [N, 3], compensations [N] or 0.
    """

def project_backward(
    N: int, view: int, K: int, width: int, height: int, eps2d: float, /, *addresses: int
) -> None:
    """Gradients of `project`.

    Addresses of means, quats, scales, radii; v_means2d, v_depths or 0, v_conics, v_compensations
    or 0; added to: v_means, v_quats, v_scales, v_view [12] float64 (dL/dR, then dL/dt) or 0.
    """

def sh_colors(N: int, degree: int, /, *rest: int) -> None:
    """Colors of visible Gaussians seen from the camera: 0.5 added, negative values set to 0.

    The rest: addresses of view and means; sh0 and the floats from one Gaussian's to the next; shN
    and its stride; radii; written: colors [N, 3].
    """

def sh_colors_backward(N: int, degree: int, /, *rest: int) -> None:
    """Gradients of `sh_colors`.

    The rest: the arguments of `sh_colors`; v_colors; added to: v_means or 0, v_sh0, v_shN,
    v_view [12] float64 or 0.
    """

def bin(N: int, width: int, height: int, /, *addresses: int) -> Bins:
    """Sort by depth and list for every tile the Gaussians that reach it.

    Addresses of means2d, conics, opacities, depths, radii, and a mask [H, W] uint8 or 0.
    """

def blend(bins: Bins, channels: int, /, *addresses: int) -> None:
    """Front-to-back compositing.

    Addresses of colors [N, D], background [D] or 0; written: image [H, W, D], alpha [H, W],
    transmittance [H, W], and used [num_tiles] uint32, the list entries walked in each tile.
    """

def blend_backward(bins: Bins, channels: int, /, *rest: int) -> None:
    """Gradients of `blend`.

    The rest: the addresses of `blend`; v_image, v_alpha; N; written: v_means2d [N, 2],
    v_conics [N, 3], v_colors [N, D], v_opacities [N]; added to: v_abs_means2d [N, 2] or 0,
    v_background [D] float64 or 0.
    """

def photometric_loss(
    image: NDArray[np.float32],
    target: NDArray[np.float32],
    mask: NDArray[np.uint8] | None,
    gradient: NDArray[np.float32],
    ssim_weight: float,
) -> tuple[float, float, float]:
    """Writes d loss / d image; returns (loss, l1, ssim). Images are [H, W, 3]."""

def adam(
    parameters: Sequence[NDArray[np.float32]],
    gradients: Sequence[NDArray[np.float32]],
    first_moments: Sequence[NDArray[np.float32]],
    second_moments: Sequence[NDArray[np.float32]],
    learning_rates: Sequence[float],
    steps: Sequence[int],
    visible: NDArray[np.uint8] | None,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> None:
    """One in-place Adam step of the visible rows of every parameter."""

def position_noise(
    means: NDArray[np.float32],
    quats: NDArray[np.float32],
    log_scales: NDArray[np.float32],
    logit_opacities: NDArray[np.float32],
    normals: NDArray[np.float32],
    scale: float,
    steepness: float,
    threshold: float,
) -> None:
    """Adds covariance-shaped, opacity-gated noise to `means` in place."""

def move_columns(
    rows: int,
    moves: Sequence[tuple[int, int, int, int, Sequence[int], Sequence[int]]],
    swap: bool,
) -> bool:
    """Copies columns of 4-byte values between tables of `rows` rows.

    Each move holds the address of the source's first row and its bytes per row, the same of the
    target, and the byte offsets in a row that are copied from and to. `swap` reverses the bytes of
    each value. Returns True where a value read as a float32 is infinite or not a number.
    """

def graded_integers(
    numbers: NDArray[np.float64],
    rules: Sequence[tuple[int, int, int, Sequence[tuple[Sequence[int], Sequence[int], int, int]]]],
    descending: int,
    integers: NDArray[np.int64],
) -> None:
    """Writes the nearest integers [N, C] to `numbers` that the rules of their columns allow.

    A rule is (most, constant, own, terms) of a `vq.sets.coarsening.Coarsening`; a term is columns,
    factors and bounds. The first `descending` columns never ascend along a row.
    """

def hash_grid(
    points: NDArray[np.float32],
    table: NDArray[np.float32],
    levels: Sequence[tuple[int, int, bool]],
    features: NDArray[np.float32],
) -> None:
    """Writes the interpolated features [N, L * F] of the points [N, 3].

    A level is its cells along an axis, its entries in `table` [entries, F] and whether they are
    hashed.
    """

def hash_grid_backward(
    points: NDArray[np.float32],
    table: NDArray[np.float32],
    levels: Sequence[tuple[int, int, bool]],
    v_features: NDArray[np.float32],
    v_table: NDArray[np.float32] | None,
    v_points: NDArray[np.float32] | None,
) -> None:
    """Adds to the gradient of the table and writes that of the points."""
