"""CPU kernels of fields, compiled from fields/csrc; missing where no compiler was found.

Arguments are addresses of dense float32 values unless a comment says otherwise, inputs first, then
what is written. Callers check shapes.
"""

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
