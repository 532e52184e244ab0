"""Resident memory of one forward and backward pass, measured in a process of its own.

Run as `python -m benchmarks.peak_memory COUNT WIDTH HEIGHT`; it prints bytes.
"""

from __future__ import annotations

import subprocess
import sys

from runs import peak_memory_bytes

from .command import CHECKOUT
from .scene import random_scene


def of_forward_backward(count: int, width: int, height: int) -> int:
    """Peak resident bytes of a fresh process, interpreter and torch included."""
    command = [sys.executable, "-m", __name__, str(count), str(width), str(height)]
    printed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return int(printed.stdout)


def main() -> None:
    """Render and differentiate twice, so that memory kept between calls counts too."""
    count, width, height = map(int, sys.argv[1:])
    scene = random_scene(count, width, height, size=0.012)
    for _ in range(2):
        scene.forward_backward()
    sys.stdout.write(f"{peak_memory_bytes()}\n")


if __name__ == "__main__":
    main()
