"""Binary USD layers (`.usdc`) by way of OpenUSD's own library, and back.

OpenUSD is not made for hostile files and is optional, so it works in a process of its own: if it
crashes on a damaged file, that is an error message here.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from .contract import FormatError

MAGIC = b"PXR-USDC"
"""The first bytes of every such layer."""

_SECONDS = 600
_LEAST_MEMORY = 4 << 30
_MEMORY_PER_BYTE = 64
_CONVERT = """
import resource, sys
source, target, memory = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
from pxr import Sdf, Usd
stage = Usd.Stage.Open(Sdf.Layer.OpenAsAnonymous(source))
if not stage or not stage.Flatten().Export(target):
    sys.exit("no USD layer")
"""


def convert_layer(source: Path, target: Path, *, blame: Path) -> None:
    """Write the flattened stage of `source` as `target`, whose ending gives the form.

    Args:
        source: `.usda` or `.usdc`.
        target: `.usda` or `.usdc`; replaced if it exists.
        blame: The file that errors name.

    Raises:
        FormatError: OpenUSD cannot read it.
        ImportError: OpenUSD is not installed.
    """
    if find_spec("pxr") is None:
        raise ImportError('binary USD files need OpenUSD: pip install "fieldwright[usd]"')
    memory = max(_LEAST_MEMORY, _MEMORY_PER_BYTE * source.stat().st_size)
    command = [sys.executable, "-c", _CONVERT, str(source), str(target), str(memory)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        message = f"OpenUSD took more than {_SECONDS} s."
        raise FormatError(blame, message, field="layer", offset=0) from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[-300:] or f"it ended with {done.returncode}"
        message = f"OpenUSD cannot read it ({said})."
        raise FormatError(blame, message, field="layer", offset=0)
