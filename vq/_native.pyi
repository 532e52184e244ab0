"""CPU kernels of vq, compiled from vq/csrc; missing where no compiler was found."""

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

def morton_codes(points: NDArray[np.uint32], codes: NDArray[np.uint64]) -> None:
    """Fill codes [N] with the interleaved bits of points [N, 3]; x takes the lowest bit."""

def encode_coefficients(
    values: NDArray[np.int32],
    scaled: NDArray[np.float32] | None,
    centroids: NDArray[np.float32] | None,
    trade: float,
    tables: list[NDArray[np.int32]],
    count_limit: int,
    segment_rows: int,
    neighbors: NDArray[np.int32] | None,
) -> list[bytes]:
    """One stream per segment of values [N, D]; with scaled, values are chosen and filled in."""

def decode_coefficients(
    streams: list[bytes],
    values: NDArray[np.int32],
    tables: list[NDArray[np.int32]],
    count_limit: int,
    segment_rows: int,
    neighbors: NDArray[np.int32] | None,
) -> bool:
    """Fill values [N, D] from the streams; False if no encoder wrote them."""
