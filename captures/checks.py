"""Shape checks that name the argument, what was expected and what was found."""

from __future__ import annotations

from torch import Tensor


def ensure_shape(name: str, tensor: Tensor, shape: tuple[int | str, ...], hint: str = "") -> None:
    """Raise `ValueError` unless `tensor` has exactly `shape`; no broadcasting is tolerated.

    Args:
        name: The argument's name as the caller wrote it.
        tensor: The value to check.
        shape: One entry per dimension: an int must match, a string names a free size, and a
            leading `"..."` allows any number of batch dimensions.
        hint: What to do about it, added after the message.
    """
    found = tuple(tensor.shape)
    expected = shape
    if expected and expected[0] == "...":
        expected = expected[1:]
        found = found[len(found) - len(expected) :] if len(found) >= len(expected) else found
    matches = len(found) == len(expected) and all(
        isinstance(want, str) or want == have for want, have in zip(expected, found, strict=True)
    )
    if not matches:
        wanted = ", ".join(str(size) for size in shape)
        suffix = f"; {hint}" if hint else "."
        raise ValueError(f"`{name}` must be [{wanted}], got {list(tensor.shape)}{suffix}")
