"""Finished tri-vector fields in few bytes; an entry point of `fieldwright.compressors`."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from ..compression import Task
from ..scene import FieldScene
from .config import TrivecConfig
from .files import load_trivec, save_coded
from .method import TrivecMethod
from .renderer import TrivecRenderer
from .sensitivity import measure_sensitivity

_FROM = 0.7
"""Share of a training's budget whose learning rates a refinement begins with."""

logger = logging.getLogger(__name__)


def compress(task: Task) -> Path:
    """Write a field in at most `task.target_size` bytes.

    With steps, components that will not fit are left out first, and the rest is trained on the
    photos under the noise of being rounded.

    Raises:
        ValueError: No such field, a size below the smallest file, or steps without fitting photos.
    """
    field, similarity = load_trivec(task.source)
    if task.steps:
        task.require_frame(similarity)
        assert task.capture is not None
        config = TrivecConfig(target_size=task.target_size, nodes=field.num_nodes, refine_at=())
        method = TrivecMethod.create(
            config, task.capture, device=torch.device("cpu"), seed=task.seed
        )
        method.start_from(field)
        for done in range(task.steps):
            method.step(done, _FROM + (1 - _FROM) * done / task.steps)
        return method.save_scene(task.output)
    step = 1 / (field.num_nodes - 1)
    scene = FieldScene(TrivecRenderer(field, step=step), T_scene_field=similarity)
    sensitivity = measure_sensitivity(
        field, task.rays(scene), step=step, generator=torch.Generator().manual_seed(task.seed)
    )
    return save_coded(
        field,
        sensitivity,
        task.output,
        target_size=task.target_size,
        T_source_field=similarity,
        overwrite=True,
    )
