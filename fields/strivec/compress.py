"""Finished Strivec fields in few bytes; an entry point of `fieldwright.compressors`.

All vectors go through the codec of vectors. An array of N numbers on cells of width s costs about
N log2(1 / s) bits and an error of the pictures of a s^2, with `a` measured on rays; both together
are least where a s^2 / N is the same for all arrays, so one price sets all cells and is searched
for until the file fills its budget. Small numbers end up as zeros, which is how ranks are allotted.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from vq.asset import AssetWriter
from vq.plan import VectorCodec

from ..compression import Task
from ..compression.fitting import largest_fitting
from ..grids import load_grid_field
from ..grids.files import field_writer, scene_renderer
from ..grids.rows import write_rows
from ..rays import Rays
from ..samplers import OccupancyGrid
from ..scene import FieldScene
from .coding import balanced, strongest_first, to_rows
from .field import StrivecField

_FINE = 1 / 512
"""Cells of the color network and of the maps before it, in units of their standard deviation."""
_PROBE = 1 / 8
"""Cells that errors are measured at, in units of an array's standard deviation."""
_PRICES = 1e-3, 1e4
"""Where prices lie, in units of the error of all probes together."""
_LEAST = 1e-12


def compress(task: Task) -> Path:
    """Write a field in at most `task.target_size` bytes.

    Raises:
        ValueError: No such field, steps, which there are none for, or too small a size.
    """
    task.refuse_steps(StrivecField.KIND)
    field, sampler, similarity = load_grid_field(StrivecField, task.source)
    assert isinstance(field, StrivecField)
    for scale in field.each():
        densities = strongest_first(balanced(scale.blocks("densities")))
        scale.densities.copy_(densities.reshape_as(scale.densities))
        scale.colors.copy_(balanced(scale.blocks("colors")).reshape_as(scale.colors))
    scene = FieldScene(scene_renderer(field, sampler), T_scene_field=similarity)
    rays = task.rays(scene)()
    probes = {name: _PROBE * float(values.std()) for name, values in _tensors(field).items()}
    errors = _errors(field, sampler, rays, probes, torch.Generator().manual_seed(task.seed))
    total = sum(errors.values())

    def written(fineness: float) -> AssetWriter:
        writer = field_writer(field, sampler, similarity, coded=True)
        rows = _tensors(field)
        count = sum(values.numel() for values in rows.values())
        for name, values in field.state_dict().items():
            if name in rows:
                wanted = total * values.numel() / count / fineness
                step = probes[name] * math.sqrt(wanted / errors[name])
                codec = VectorCodec(step=step, codebooks=())
                writer.array(name, writer.encode(name, rows[name].numpy(), codec))
            elif values.dtype == torch.int32:
                writer.array(name, writer.encode(name, values.numpy(), "adaptive"))
            else:
                write_rows(writer, name, values.numpy(), _FINE * float(values.std()))
        return writer

    low, high = _PRICES
    best = largest_fitting(written, task.target_size, low=low, high=high)
    return best.write(task.output, overwrite=True)


def _tensors(field: StrivecField) -> dict[str, Tensor]:
    """The vectors of all scales as rows, by the names of their parameters."""
    return {
        f"scales.{i}.{name}": to_rows(scale.blocks(name).detach())
        for i, scale in enumerate(field.each())
        for name in ("densities", "colors")
    }


@torch.no_grad()
def _errors(
    field: StrivecField,
    sampler: OccupancyGrid,
    rays: Rays,
    probes: dict[str, float],
    random: torch.Generator,
) -> dict[str, float]:
    """Mean squared change of colors and opacities on rays by noise like that of each probe."""
    truth, found = _seen(field, sampler, rays), {}
    for name, values in field.named_parameters():
        if name not in probes:
            continue
        kept = values.clone()
        values.add_(torch.rand(values.shape, generator=random) - 0.5, alpha=probes[name])
        error = float((_seen(field, sampler, rays) - truth).square().mean())
        found[name] = max(error, _LEAST)
        values.copy_(kept)
    return found


def _seen(field: StrivecField, sampler: OccupancyGrid, rays: Rays) -> Tensor:
    seen = scene_renderer(field, sampler).render_rays(rays)
    return torch.cat([seen.colors, seen.opacities[:, None]], dim=1)
