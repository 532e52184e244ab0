"""Training methods, scene kinds, codecs and file formats, found through entry points.

Our own are registered in pyproject.toml like anybody's, so a new one is a file and a line.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

METHODS = "fieldwright.methods"
SCENES = "fieldwright.scenes"
FORMATS = "fieldwright.formats"
COMPRESSORS = "fieldwright.compressors"


def list_plugins(group: str) -> tuple[str, ...]:
    """Sorted names installed in an entry point group; nothing is imported.

    Args:
        group: For example `METHODS`.
    """
    return tuple(sorted(entry_points(group=group).names))


def load_plugin(group: str, name: str) -> Any:
    """Import and return the object that an installed package registered as `name` in `group`.

    Raises:
        ValueError: The name is unknown (the message lists those installed) or registered twice.
        ImportError: The plug-in, or something it needs, cannot be imported.
    """
    found = list(entry_points(group=group, name=name))
    targets = {entry.value for entry in found}
    if not found:
        installed = ", ".join(list_plugins(group)) or "nothing"
        raise ValueError(f"`{name}` is not in {group}; installed there: {installed}.")
    if len(targets) > 1:
        owners = ", ".join(f"{_owner(entry)} ({entry.value})" for entry in found)
        raise ValueError(f"`{name}` in {group} is registered more than once: {owners}.")
    try:
        return found[0].load()
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"cannot load `{name}` of {group} from {found[0].value}: {error}"
        ) from error


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "an unknown package"
