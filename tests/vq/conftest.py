"""Real data that several tests of vq use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture(scope="session")
def real_harmonics(shared_data: Path) -> NDArray[np.uint8]:
    """Spherical harmonics of `toy-cat` as its compressed PLY stores them, uint8 `[23261, 45]`."""
    path = shared_data / "splats" / "toy-cat" / "scene.compressed.ply"
    if not path.is_file():
        pytest.skip("toy-cat is not in shared/data/splats")
    # The element `sh` is the last of the file: 45 bytes per Gaussian.
    return np.frombuffer(path.read_bytes()[-23261 * 45 :], np.uint8).reshape(23261, 45).copy()
