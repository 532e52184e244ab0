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

def earlier_neighbors(points: NDArray[np.uint32], neighbors: NDArray[np.int32]) -> None:
    """Fill neighbors [N, k] with the nearest earlier points of points [N, 3], -1 past the end."""

def encode_points(points: NDArray[np.uint32], bits: int) -> bytes:
    """Points [N >= 1, 3] below 2^bits in Morton order as bytes."""

def decode_points(data: bytes, bits: int, points: NDArray[np.uint32]) -> bool:
    """Fill points [N, 3]; False if no encoder wrote the bytes."""

def column_features(
    neighbors: NDArray[np.int32],
    parents: list[NDArray[np.uint32]],
    values: NDArray[np.uint32],
    stride: int,
    features: NDArray[np.int32],
) -> None:
    """Fill features with the inputs of the prediction of every stride-th value."""

def encode_column(
    neighbors: NDArray[np.int32],
    parents: list[NDArray[np.uint32]],
    weights: NDArray[np.int16],
    bits: int,
    coarseness: NDArray[np.int64],
    own: int,
    most: int,
    values: NDArray[np.uint32],
) -> bytes:
    """One column of values below 2^bits as bytes; coarseness [N] or [0], see ColumnContext."""

def decode_column(
    data: bytes,
    neighbors: NDArray[np.int32],
    parents: list[NDArray[np.uint32]],
    weights: NDArray[np.int16],
    bits: int,
    coarseness: NDArray[np.int64],
    own: int,
    most: int,
    values: NDArray[np.uint32],
) -> bool:
    """Fill values [N]; False if no encoder wrote the bytes."""

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

def reconstruct(
    values: NDArray[np.int32],
    indices: NDArray[np.int64] | None,
    matrix: NDArray[np.float64],
    shifts: NDArray[np.float64],
    scale: float,
    base: NDArray[np.float64],
    unit: float,
    out: NDArray[np.float32],
) -> None:
    """Fill out [N, D] with (base[0] + base[1 + index] + sizes @ matrix) unit, all but the last
    exact; the size of a value v is |v| scale + shifts[:, min(|v|, 3)], signed as v."""

def rans_encode(
    tokens: NDArray[np.uint16],
    frequencies: NDArray[np.uint32],
    firsts: NDArray[np.int64],
    precisions: NDArray[np.int64],
    ends: NDArray[np.int64],
    bounds: NDArray[np.int64],
    lanes: int,
    states: NDArray[np.uint32],
    words: NDArray[np.uint16],
    num_words: NDArray[np.int64],
) -> None:
    """Code the columns of tokens; block b's words end before words[bounds[b + 1] + b + 1]."""

def rans_decode(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    num_words: NDArray[np.int64],
    frequencies: NDArray[np.uint32],
    firsts: NDArray[np.int64],
    precisions: NDArray[np.int64],
    ends: NDArray[np.int64],
    bounds: NDArray[np.int64],
    lanes: int,
    states: NDArray[np.uint32],
    tokens: NDArray[np.uint16],
    consumed: NDArray[np.int64],
) -> None:
    """Fill tokens from the blocks in data; consumed[b] is below 0 where words were missing."""

def search_nearest(
    points: NDArray[np.float32],
    rows: NDArray[np.float32],
    ids: NDArray[np.int32],
    leading: int,
    pairs: int,
    tiles: NDArray[np.int16],
    half_norms: NDArray[np.int32],
    slack: NDArray[np.float32],
    hub_tiles: NDArray[np.int16],
    hub_norms: NDArray[np.int32],
    reach: NDArray[np.float32],
    step: float,
    positions: NDArray[np.int32],
    costs: NDArray[np.float32],
    bounds: NDArray[np.uint16] | None,
    drift: NDArray[np.uint16] | None,
) -> int:
    """Move positions to each point's nearest center, fill costs and bounds; returns how many pairs
    of a point and a group were scanned."""

def search_groups(
    points: NDArray[np.float32],
    rows: NDArray[np.int32],
    row_starts: NDArray[np.int64],
    codes: NDArray[np.float32],
    code_starts: NDArray[np.int64],
    indices: NDArray[np.int32],
    costs: NDArray[np.float32],
) -> None:
    """Fill indices and costs with the nearest code in its group for each of rows."""

def sum_by_center(
    points: NDArray[np.float32],
    weights: NDArray[np.float32] | None,
    positions: NDArray[np.int32],
    sums: NDArray[np.float64],
    totals: NDArray[np.float64],
) -> None:
    """Add the weighted points and the weights to the rows of their centers."""
