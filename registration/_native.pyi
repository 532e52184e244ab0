"""CPU kernels of registration, compiled from registration/csrc; missing without a compiler."""

def set_num_threads(count: int) -> None:
    """Threads the kernels use, the caller included; 0 means one per available core."""

def num_threads() -> int:
    """Threads in use."""
