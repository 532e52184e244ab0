"""How a training session ended."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Summary:
    """How a call of `train` ended."""

    steps: int
    """Steps done, earlier sessions included."""
    seconds: float
    """Seconds on the budget's clock, earlier sessions and the final save included."""
    num_primitives: int
    """Gaussians or other parts at the end."""
    peak_memory_bytes: int
    """Peak resident memory of the process."""
    peak_cuda_memory_bytes: int
    """Peak memory of CUDA tensors, 0 without CUDA."""
    checkpoint: Path
    """The final checkpoint."""
    scene: Path
    """The deliverable."""
    interrupted_by: str | None
    """"SIGINT" or "SIGTERM" if that ended the run before its budget was spent, else None."""

    def numbers(self) -> dict[str, Any]:
        """What summary.json holds: everything but the paths."""
        return {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if not isinstance(getattr(self, item.name), Path)
        }
