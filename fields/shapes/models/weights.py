"""Model files: weights as safetensors, the configuration in their header."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from runs import config_from_json, config_to_json
from runs.files import replacing

from .autoencoder import ShapeAutoEncoder
from .config import ModelConfig

FORMAT = "fieldwright shape model"
VERSION = 1
SHIPPED = Path(__file__).resolve().parent / "shipped" / "hybrid.safetensors"
"""The model that `encode` takes unless told otherwise."""


@dataclass(frozen=True)
class LoadedModel:
    """A model from a file."""

    model: ShapeAutoEncoder
    """In evaluation mode."""
    digest: str
    """First 16 hexadecimal digits of the file's SHA-256: latents of another file do not fit."""
    path: Path
    """The file."""


def save_model(model: ShapeAutoEncoder, path: Path) -> Path:
    """Write the weights, learned ones in half precision; an existing file is replaced."""
    from safetensors.torch import save

    half = {name for name, _ in model.named_parameters() if "quantizer" not in name}
    state = {
        name: (value.half() if name in half else value).detach().cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    about = {"format": FORMAT, "version": VERSION, "config": config_to_json(model.config)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        # One entry: several come in an order of their own each time, and bytes must repeat.
        file.write(save(state, metadata={"fieldwright": json.dumps(about)}))
    return path


def load_model(path: Path | None = None, *, device: torch.device | None = None) -> LoadedModel:
    """The model in a file, the shipped one by default, or that of a run folder.

    Raises:
        FileNotFoundError: No such file, or a run that has written no model yet.
        ValueError: The file holds no model, one of another version, or damaged weights.
    """
    from safetensors import SafetensorError, safe_open

    path = SHIPPED if path is None else path
    if path.is_dir():
        path = path / "scene.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; name a model file or a run of `fieldwright shape train`."
        )
    try:
        with safe_open(path, framework="pt") as stored:
            about = json.loads((stored.metadata() or {}).get("fieldwright", "{}"))
            state: dict[str, Tensor] = {key: stored.get_tensor(key) for key in stored.keys()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not readable as safetensors: {error}.") from error
    if about.get("format") != FORMAT or about.get("version") != VERSION:
        raise ValueError(
            f"{path} holds {about.get('format')!r} version {about.get('version')}, expected "
            f"{FORMAT!r} version {VERSION}."
        )
    model = ShapeAutoEncoder(config_from_json(ModelConfig, about["config"]))
    known = model.state_dict()
    try:
        model.load_state_dict(
            {k: v.to(known[k].dtype) if k in known else v for k, v in state.items()}
        )
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit its own configuration: {error}") from error
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return LoadedModel(model.eval().to(device or torch.device("cpu")), digest, path)
