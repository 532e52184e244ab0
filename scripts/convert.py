"""Convert a scene to another format or representation and measure what was lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from jaxtyping import Float
from PIL import Image
from rich.progress import Progress
from rich.table import Table
from torch import Tensor

from captures import Similarity
from captures.rotations import quats_to_rotmats
from fields.conversion import (
    Across,
    Crossing,
    Kind,
    convert_across,
    kind_of_file,
    kind_of_target,
)
from fields.conversion.convert import Denoising
from fields.meshes import MeshOptions
from splats.formats import find_format
from splats.formats.conversion import Conversion, Pictures, convert
from splats.formats.edits import Edits
from splats.scene import scene_file

from .common import Common, console

_METERS = {"mm": 0.001, "cm": 0.01, "m": 1.0, "km": 1000.0, "in": 0.0254, "ft": 0.3048}
_MAX_PICTURES = 64


@dataclass(frozen=True, kw_only=True)
class Convert(Common):
    """Flags of `fieldwright convert`."""

    source: Annotated[Path, tyro.conf.Positional]
    """A splat, mesh or field file, a folder with splats, or a run folder."""
    output: Annotated[Path, tyro.conf.Positional]
    """The file to write; its ending tells the format unless --to does. Names that end with mesh.glb
    or mesh.ply, and .obj, .stl and .off, are meshes, field.fwa is a field."""
    to: str | None = None
    """What OUTPUT shall be: mesh, splats or field, or a format of splats such as spz; None takes it
    from the name of OUTPUT."""
    sh_degree: int | None = None
    """Highest degree of the spherical harmonics to keep."""
    crop: tuple[float, float, float, float, float, float] | None = None
    """Keep what lies in a box: min x y z, max x y z, in the axes and units of the source."""
    min_opacity: float = 0.0
    """Drop Gaussians below this opacity, 0 to 1."""
    max_gaussians: int | None = None
    """Keep at most so many: those with the largest opacity times area."""
    transform: str | None = None
    """JSON, or a file of it: a 4x4 matrix, or {"scale", "rotation" (3x3 or wxyz), "translation"}.
    Applied in the axes of the source."""
    units: str | None = None
    """Change of unit such as mm:m, or a factor on all lengths; after --transform."""
    frame: str | None = None
    """Directions of +X +Y +Z in the source, such as RUB, where its file is silent or wrong."""
    first: float | None = None
    """Of an asset (.fwa): what its first share of bytes shows, such as 0.1, while the rest arrives;
    1 takes what there is of one that was cut off."""
    option: tuple[str, ...] = ()
    """Settings of the target format, each as NAME=VALUE."""
    data: Path | None = None
    """Between representations: the capture whose cameras look at the source; None takes that of a
    run, or automatic ones."""
    cameras: int = 48
    """Between representations: automatic cameras."""
    size: int = 512
    """Between representations: their width and height in pixels."""
    steps: int | None = None
    """To splats or a field: steps of learning from renders of the source; None takes 400 or
    1500."""
    count: int = 60_000
    """To splats: Gaussians on the surface."""
    cell: float | None = None
    """To a mesh: finest detail in units of the source; None takes what 1.5 pixels cover."""
    faces: int | None = None
    """To a mesh: most triangles."""
    texture: int = 0
    """To a mesh: side in pixels of a baked texture; 0 colors the vertices."""
    surface: Literal["depths", "density"] = "depths"
    """A field to a mesh: fuse its median depths, or take a level of its density."""
    denoise: Denoising = "none"
    """To a mesh: take noise off, keeping edges."""
    views: int = 6
    """Pictures that source and output are compared by; 0 renders nothing."""
    picture: Path | None = None
    """Write a PNG with the source, the output and ten times their difference side by side."""
    overwrite: bool = False
    """Replace an existing output."""


def run(config: Convert) -> dict[str, Any]:
    """Convert, print the loss report; returns the `--json` summary."""
    if not 0 <= config.views <= _MAX_PICTURES:
        raise ValueError(f"`--views` must be 0 to {_MAX_PICTURES}, got {config.views}.")
    if config.picture is not None and config.picture.exists() and not config.overwrite:
        raise FileExistsError(f"{config.picture} exists; choose another name or --overwrite.")
    target = kind_of_target(config.output, config.to)
    if kind_of_file(config.source) != target or target == "mesh":
        return _across(config, target)
    is_run = (config.source / "config.json").is_file()
    done = convert(
        scene_file(config.source) if is_run else config.source,
        config.output,
        to=config.to,
        frame=config.frame,
        first=config.first,
        edits=Edits(
            sh_degree=config.sh_degree,
            crop=None if config.crop is None else torch.tensor(config.crop).view(2, 3),
            min_opacity=config.min_opacity,
            max_gaussians=config.max_gaussians,
            placement=_placement(config),
        ),
        options=_options(config),
        pictures=Pictures(count=config.views),
        overwrite=config.overwrite,
    )
    _print(done)
    if config.picture is not None:
        _draw(done.pictures, config.picture)
    return done.summary()


def _across(config: Convert, target: Kind) -> dict[str, Any]:
    """Convert between representations, print the loss report; returns the `--json` summary."""
    for name in ("sh_degree", "max_gaussians", "transform", "units", "frame", "first"):
        if getattr(config, name) is not None:
            raise ValueError(
                f"`--{name.replace('_', '-')}` applies to splats only; convert to splats first, "
                "then change them."
            )
    mesh = MeshOptions(
        surface=config.surface,
        cell=config.cell,
        faces=config.faces,
        texture=config.texture,
        within=config.crop,
    )
    options = Across(
        data=config.data,
        cameras=config.cameras,
        size=config.size,
        steps=config.steps,
        count=config.count,
        mesh=mesh,
        denoise=config.denoise,
    )
    with _bar() as bar:
        done = convert_across(
            config.source,
            config.output,
            target,
            options=options,
            seed=config.seed,
            overwrite=config.overwrite,
            progress=bar,
        )
    _print_crossing(done)
    if config.picture is not None:
        first, second = (pictures.colors for pictures in done.pictures)
        _draw((first[: config.views], second[: config.views]), config.picture)
    return done.summary()


@contextmanager
def _bar() -> Iterator[Callable[[float], None]]:
    """A progress bar that appears with the first share it is told."""
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("learn from renders", total=1.0, visible=False)
        yield lambda share: bar.update(task, completed=share, visible=True)


def _print_crossing(done: Crossing) -> None:
    """The loss report."""
    names = {"splats": "Gaussians", "mesh": "triangles", "field": "parts of the field"}
    loss = done.loss
    table = Table(show_header=False, box=None, title=str(done.output), title_justify="left")
    table.add_row("made", f"{done.source_kind} to {done.target_kind}")
    table.add_row(names[done.target_kind], f"{done.num_primitives:,}")
    table.add_row("bytes", f"{done.num_bytes:,} of {done.source_bytes:,} before")
    table.add_row("made in", f"{done.seconds:.1f} s")
    table.add_row("read in", f"{loss.decode_seconds:.2f} s")
    table.add_row("pictures", f"{loss.psnr:.2f} dB PSNR against the source, from unused cameras")
    table.add_row("silhouettes", f"{loss.silhouette:.1%} intersection over union")
    if loss.depth_error is not None:
        table.add_row("depth", f"{loss.depth_error:.2%} median error")
    console.print(table)


def _options(config: Convert) -> Any:
    """The target format's `Options` from `--option NAME=VALUE`."""
    chosen = find_format(config.output, name=config.to, writing=True).Options
    arguments: list[str] = []
    for text in config.option:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"`--option` must be NAME=VALUE, got {text!r}.")
        arguments += [f"--{name.replace('_', '-')}", value]
    return tyro.cli(chosen, args=_flags(arguments), prog="fieldwright convert --option")


def _flags(arguments: list[str]) -> list[str]:
    """`--name true` as tyro wants booleans: `--name` and `--no-name`."""
    flags: list[str] = []
    for name, value in zip(arguments[::2], arguments[1::2], strict=True):
        lower = value.lower()
        if lower in ("true", "false"):
            flags.append(name if lower == "true" else f"--no-{name[2:]}")
        else:
            flags += [name, value]
    return flags


def _placement(config: Convert) -> Float[Tensor, "4 4"]:
    """T_target_source of `--transform`, then `--units`."""
    matrix = torch.eye(4, dtype=torch.float64)
    if config.transform is not None:
        matrix = _read_transform(config.transform)
    if config.units is not None:
        matrix = matrix.clone()
        matrix[:3] *= _factor(config.units)
    return matrix


def _read_transform(text: str) -> Float[Tensor, "4 4"]:
    """The matrix in a JSON text or file."""
    inline = text.lstrip().startswith(("[", "{"))
    try:
        value = json.loads(text if inline else Path(text).read_text(encoding="utf-8"))
        if isinstance(value, dict):
            return _read_similarity(value).matrix()
        matrix = torch.tensor(value, dtype=torch.float64)
    except (ValueError, TypeError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"`--transform` cannot be read from {text!r}: {error}.") from None
    if matrix.shape != (4, 4):
        raise ValueError(f"`--transform` must be a 4x4 matrix, got {list(matrix.shape)}.")
    return matrix


def _read_similarity(value: dict[str, Any]) -> Similarity:
    """x_target = scale * rotation @ x_source + translation."""
    unknown = set(value) - {"scale", "rotation", "translation"}
    if unknown:
        raise ValueError(f"unknown keys {sorted(unknown)}")
    rotation = torch.tensor(value.get("rotation", torch.eye(3).tolist()), dtype=torch.float64)
    if rotation.shape == (4,):
        rotation = quats_to_rotmats(rotation)
    if rotation.shape != (3, 3) or not torch.allclose(
        rotation @ rotation.T, torch.eye(3, dtype=torch.float64), atol=1e-4
    ):
        raise ValueError("`rotation` is neither a rotation matrix nor a quaternion wxyz")
    translation = torch.tensor(value.get("translation", [0.0] * 3), dtype=torch.float64)
    return Similarity(float(value.get("scale", 1.0)), rotation, translation)


def _factor(units: str) -> float:
    """The factor on lengths of `FROM:TO` or of a number."""
    source, colon, target = units.partition(":")
    if colon and source in _METERS and target in _METERS:
        return _METERS[source] / _METERS[target]
    try:
        factor = float(units)
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise ValueError(
            f"`--units` must be a factor above 0 or FROM:TO of {', '.join(_METERS)}, got {units!r}."
        )
    return factor


def _print(done: Conversion) -> None:
    """The loss report."""
    table = Table(show_header=False, box=None, title=str(done.output), title_justify="left")
    table.add_row("format", done.format_name)
    table.add_row("Gaussians", f"{done.num_primitives:,}")
    table.add_row("bytes", f"{done.num_bytes:,} of {done.source_bytes:,} before")
    table.add_row("bits per Gaussian", f"{done.bits_per_gaussian:.1f}")
    table.add_row("written in", f"{done.encode_seconds:.2f} s")
    if done.decode_seconds is not None:
        table.add_row("read in", f"{done.decode_seconds:.2f} s")
    if done.render_psnr is not None:
        table.add_row("pictures", f"{done.render_psnr:.2f} dB PSNR against the source")
    console.print(table)
    if done.max_errors:
        errors = Table("attribute", "largest error", "mean error", box=None)
        for name, value in done.max_errors.items():
            errors.add_row(name, f"{value:.3g}", f"{done.mean_errors[name]:.3g}")
        console.print(errors)
    else:
        console.print("Every value is stored exactly.")
    for note in done.notes:
        console.print(note)


def _draw(pictures: tuple[Tensor, Tensor] | None, path: Path) -> None:
    """A row per view: source, output, ten times the difference."""
    if pictures is None or not len(pictures[0]):
        raise ValueError("`--picture` needs rendered views; use --views 1 or more.")
    before, after = pictures
    difference = (10 * (before - after).abs()).clamp(max=1)
    rows = torch.cat([before, after, difference], dim=2)
    pixels = rows.mul(255).round().to(torch.uint8).flatten(0, 1).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    console.print(f"Wrote {path}")
