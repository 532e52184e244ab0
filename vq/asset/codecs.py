"""Codecs by the name that files know them by."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from ..contract import Codec

GROUP = "fieldwright.codecs"


@runtime_checkable
class DependentCodec(Protocol):
    """A codec that knows other arrays before it codes one, such as the points values belong to."""

    name: str
    """The codec's name in files."""
    lossless: bool
    """True where decoding gives back identical bits."""
    num_inputs: int
    """How many arrays it knows."""
    encode: Callable[..., bytes]
    """`encode(array, *inputs)`, else as of `Codec`."""
    decode: Callable[..., NDArray[Any]]
    """`decode(data, *inputs, max_items=...)`, else as of `Codec`."""


@cache
def find_codec(name: str) -> Codec | DependentCodec:
    """The installed codec of this name, with its default settings.

    Raises:
        ValueError: No installed package registers it, or more than one does.
        ImportError: The package that registers it cannot be imported.
    """
    found = entry_points(group=GROUP, name=name)
    targets = {entry.value for entry in found}
    if len(targets) == 1:
        return next(iter(found)).load()()
    if targets:
        raise ValueError(f"codec `{name}` is registered more than once: {sorted(targets)}.")
    installed = ", ".join(sorted(entry_points(group=GROUP).names)) or "none"
    raise ValueError(
        f"codec `{name}` is not installed (there is: {installed}); install the package that "
        f"registers it in the entry points {GROUP}."
    )
