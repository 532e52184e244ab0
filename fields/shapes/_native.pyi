"""CPU kernels of fields.shapes, compiled from fields/shapes/csrc; missing without a compiler."""

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

class TriangleBvh:
    """A hierarchy over triangles."""

    def __init__(self, vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> None:
        """Of vertices [V, 3] and faces [F >= 1, 3]."""

    def closest(
        self, points: NDArray[np.float32], distances: NDArray[np.float32], faces: NDArray[np.int32]
    ) -> None:
        """Fill the distance to the surface and the nearest face of each point [N, 3]."""

    def crossings(
        self,
        points: NDArray[np.float32],
        direction: NDArray[np.float64],
        counts: NDArray[np.int32],
    ) -> None:
        """Fill the number of faces that the ray from each point crosses."""

    def winding(
        self, points: NDArray[np.float32], beta: float, numbers: NDArray[np.float32]
    ) -> None:
        """Fill the generalised winding number of each point."""
