"""Finished TensoRF fields in few bytes; an entry point of `fieldwright.compressors`.

Planes are written as Tucker decompositions (`coding`) of a share of their numbers, the same for all
planes, which is found such that the file fills its budget. Everything else is small and is rounded
finely.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vq.asset import AssetWriter

from ..compression import Task
from ..compression.fitting import largest_fitting
from ..grids import load_grid_field
from ..grids.files import field_writer
from ..grids.rows import write_rows
from ..ranks import mode_spectra
from ..tensors.vm import PLANE_AXES
from .coding import write_plane
from .factors import VmTensor
from .field import TensorfField

_FINE = 1 / 512
"""Cells of what is no plane, in units of its standard deviation."""


def compress(task: Task) -> Path:
    """Write a field in at most `task.target_size` bytes.

    Raises:
        ValueError: No such field, steps, which there are none for, or too small a size.
    """
    task.refuse_steps(TensorfField.KIND)
    field, sampler, similarity = load_grid_field(TensorfField, task.source)
    assert isinstance(field, TensorfField)
    planes = _planes(field)
    spectra = {name: mode_spectra(plane) for name, plane in planes.items()}

    def written(share: float) -> AssetWriter:
        writer = field_writer(field, sampler, similarity, coded=True)
        for name, values in field.state_dict().items():
            if name in planes:
                write_plane(writer, name, planes[name], spectra[name], share)
            else:
                write_rows(writer, name, values.numpy(), _FINE * float(values.std()))
        return writer

    best = largest_fitting(written, task.target_size, low=1e-3, high=1.0)
    return best.write(task.output, overwrite=True)


def _planes(field: TensorfField) -> dict[str, NDArray[np.float32]]:
    """The planes of a field by their parameters' names; none in CP."""
    found = {}
    for part in ("densities", "colors"):
        factors = getattr(field, part)
        if isinstance(factors, VmTensor):
            for k, (a, b) in enumerate(PLANE_AXES):
                plane = factors.planes[k].detach().numpy()
                shape = (factors.size[a], factors.size[b], plane.shape[1])
                found[f"{part}.planes.{k}"] = plane.reshape(shape)
    return found
