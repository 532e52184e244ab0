"""Parameters on their way into a file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def finite_array(name: str, values: Tensor) -> NDArray[Any]:
    """`values` as contiguous numpy on the CPU.

    Raises:
        ValueError: One is NaN or infinite.
    """
    array = np.ascontiguousarray(values.detach().cpu().numpy())
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}` holds NaN or infinity; such a field cannot be written.")
    return array
