"""The most memory this process has used."""

from __future__ import annotations

import sys
from pathlib import Path

import torch


def peak_memory_bytes() -> int:
    """Peak resident memory of this process in bytes, since it started.

    On Linux this is VmHWM, because `ru_maxrss` also counts what the parent held at the fork.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource  # absent on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_cuda_memory_bytes() -> int:
    """Peak bytes of tensors on all CUDA devices together; 0 where CUDA was not used."""
    if not torch.cuda.is_initialized():
        return 0
    return sum(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count()))
