"""Trained fields as small files, `fieldwright compress`.

How a kind of field is compressed is an entry point of `fieldwright.compressors` with the kind's
name: a function that takes a `Task`.
"""

from .task import Task

__all__ = ["Task"]
