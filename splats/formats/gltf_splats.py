"""The attributes of a glTF splat primitive as Gaussians.

Attributes are activated (linear scales, opacities in [0, 1], rotations xyzw); floats, or the
integers that the specification allows.

Reference: github.com/KhronosGroup/glTF, extensions/2.0/Khronos/KHR_gaussian_splatting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..gaussians import Gaussians
from ..sh import SH_C0, num_sh_bases
from .activation import log_scales_of, logits_of
from .gltf_container import Accessor, GltfFile
from .gltf_scene import EXTENSION, splat_primitives
from .placement import placed

COLOR_SPACES = ("srgb_rec709_display", "lin_rec709_display")
"""Values of `colorSpace`; splats trained on ordinary photos are the first."""
MAX_DEGREE = 3
"""Highest degree of the spherical harmonics that the extension names."""

_ALLOWED = {
    "POSITION": (3, ("f4", "i1", "u1", "i2", "u2")),
    "ROTATION": (4, ("f4", "i1", "i2")),
    "SCALE": (3, ("f4", "u1", "u2", "i1", "i2")),
    "OPACITY": (1, ("f4", "u1", "u2")),
    "SH": (3, ("f4",)),
}


@dataclass(frozen=True)
class SplatPrimitive:
    """The checked accessors of one primitive; `chunk` reads rows of them."""

    file: GltfFile
    """Where they are."""
    matrix: Float[Tensor, "4 4"]
    """T_scene_primitive, float64."""
    attributes: dict[str, Accessor]
    """By name without prefix: POSITION, ROTATION, SCALE, OPACITY."""
    colors: tuple[Accessor, ...]
    """Spherical harmonics of K coefficients in order, or COLOR_0 alone where there are none."""
    is_fallback: bool
    """True where `colors` is COLOR_0, linear RGB instead of coefficients."""
    antialiased: bool
    """Noted by us in `extras`."""
    model: str
    """ "2dgs" where `extras` say so, else "3dgs"."""

    def __len__(self) -> int:
        return len(self.attributes["POSITION"].rows)

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 3."""
        return round(len(self.colors) ** 0.5) - 1

    def chunk(self, start: int, stop: int, *, sh_degree: int) -> Gaussians:
        """Gaussians `start` to `stop` in the frame of the scene, harmonics padded to `sh_degree`.

        Raises:
            FormatError: A value is not finite or outside its range.
        """
        read = {name: self._read(name, start, stop) for name in self.attributes}
        colors = [self._finite(accessor, start, stop) for accessor in self.colors]
        if self.is_fallback:
            colors = [(_encode_srgb(colors[0][:, :3]) - 0.5) / SH_C0]
        shN = torch.zeros(len(read["OPACITY"]), num_sh_bases(sh_degree) - 1, 3)
        for place, values in enumerate(colors[1:]):
            shN[:, place] = torch.from_numpy(values)
        gaussians = Gaussians(
            means=torch.from_numpy(read["POSITION"]),
            quats=torch.from_numpy(np.ascontiguousarray(read["ROTATION"][:, [3, 0, 1, 2]])),
            log_scales=log_scales_of(torch.from_numpy(read["SCALE"])),
            logit_opacities=logits_of(torch.from_numpy(read["OPACITY"][:, 0])),
            sh0=torch.from_numpy(colors[0]).float()[:, None],
            shN=shN,
        )
        return placed(gaussians, self.matrix)

    def _read(self, name: str, start: int, stop: int) -> NDArray[np.float32]:
        accessor = self.attributes[name]
        values = self._finite(accessor, start, stop)
        low, high = {"SCALE": (0.0, np.inf), "OPACITY": (0.0, 1.0)}.get(name, (-np.inf, np.inf))
        wrong = (values < low) | (values > high)
        if wrong.any():
            hint = "; drafts of the extension stored logarithms" if name == "SCALE" else ""
            self._refuse(accessor, start, values, wrong, f"{low} to {high}{hint}")
        return values

    def _finite(self, accessor: Accessor, start: int, stop: int) -> NDArray[np.float32]:
        values = accessor.floats(start, stop)
        finite = np.isfinite(values)
        if not finite.all():
            self._refuse(accessor, start, values, ~finite, "a finite number")
        return values

    def _refuse(
        self,
        accessor: Accessor,
        start: int,
        values: NDArray[np.float32],
        wrong: NDArray[np.bool_],
        expected: str,
    ) -> None:
        row, column = (int(place) for place in np.argwhere(wrong)[0])
        offset = accessor.offset + (start + row) * accessor.rows.strides[0]
        raise self.file.fail(
            accessor.name,
            f"Gaussian {start + row}: expected {expected}, got {values[row, column]}.",
            offset + column * accessor.rows.itemsize,
        )


def read_primitives(file: GltfFile) -> list[SplatPrimitive]:
    """The splat primitives of a file, checked.

    Raises:
        FormatError: There are none, or their attributes are not those of the extension.
    """
    found = [
        _primitive(file, name, primitive, matrix)
        for name, primitive, matrix in splat_primitives(file)
    ]
    if not found:
        raise file.fail(
            "meshes", f"no primitive of the scene has the extension {EXTENSION}; no splats here."
        )
    return found


def _primitive(
    file: GltfFile, name: str, primitive: dict[str, Any], matrix: Float[Tensor, "4 4"]
) -> SplatPrimitive:
    extension = file.get(primitive["extensions"], EXTENSION, dict, f"{name}.extensions", None)
    where = f"{name}.extensions.{EXTENSION}"
    kernel = file.get(extension, "kernel", str, where, "ellipse")
    if kernel != "ellipse":
        raise file.fail(f"{where}.kernel", f"expected 'ellipse', got {kernel[:60]!r}.")
    space = file.get(extension, "colorSpace", str, where, COLOR_SPACES[0])
    if space not in COLOR_SPACES:
        raise file.fail(f"{where}.colorSpace", f"expected one of {COLOR_SPACES}, got {space!r}.")
    semantics = file.get(primitive, "attributes", dict, name, None)
    attributes = {
        short: _accessor(file, semantics, key, short, name)
        for short, key in (
            ("POSITION", "POSITION"),
            *((short, f"{EXTENSION}:{short}") for short in ("ROTATION", "SCALE", "OPACITY")),
        )
    }
    colors = _coefficients(file, semantics, name)
    is_fallback = not colors
    if is_fallback:
        if "COLOR_0" not in semantics:
            raise file.fail(
                f"{name}.attributes", f"`{EXTENSION}:SH_DEGREE_0_COEF_0` and COLOR_0 are missing."
            )
        colors = [file.accessor(semantics["COLOR_0"], f"{name}.attributes.COLOR_0")]
        if colors[0].rows.shape[1] < 3:
            raise file.fail(colors[0].name, "COLOR_0 must be VEC3 or VEC4.")
    count = len(attributes["POSITION"].rows)
    for accessor in (*attributes.values(), *colors):
        if len(accessor.rows) != count:
            raise file.fail(
                f"{accessor.name}.count", f"expected {count} as POSITION, got {len(accessor.rows)}."
            )
    extras = primitive.get("extras")
    tags = extras if isinstance(extras, dict) else {}
    return SplatPrimitive(
        file,
        matrix,
        attributes,
        tuple(colors),
        is_fallback,
        antialiased=tags.get("antialiased") is True,
        model="2dgs" if tags.get("model") == "2dgs" else "3dgs",
    )


def _coefficients(file: GltfFile, semantics: dict[str, Any], name: str) -> list[Accessor]:
    """Accessors of all coefficients in order; a degree is all or nothing and needs the lower."""
    prefix = f"{EXTENSION}:SH_DEGREE_"
    named = {key for key in semantics if key.startswith(prefix)}
    found: list[Accessor] = []
    for degree in range(MAX_DEGREE + 1):
        keys = [f"{prefix}{degree}_COEF_{number}" for number in range(2 * degree + 1)]
        if not named & set(keys):
            break
        found += [_accessor(file, semantics, key, "SH", name) for key in keys]
        named -= set(keys)
    if named:
        raise file.fail(
            f"{name}.attributes", f"{min(named)!r} has no complete lower degrees, or is no degree."
        )
    return found


def _accessor(
    file: GltfFile, semantics: dict[str, Any], key: str, kind: str, name: str
) -> Accessor:
    if key not in semantics:
        raise file.fail(f"{name}.attributes", f"{key!r} is missing.")
    accessor = file.accessor(semantics[key], f"{name}.attributes.{key}")
    width, types = _ALLOWED[kind]
    stored = accessor.rows.dtype
    if accessor.rows.shape[1] != width or stored.str[1:] not in types:
        raise file.fail(
            accessor.name,
            f"{key} must have {width} components of type {'/'.join(types)}, got "
            f"{accessor.rows.shape[1]} of {stored.str[1:]}.",
        )
    if kind in ("ROTATION", "OPACITY") and stored.kind != "f" and not accessor.normalized:
        raise file.fail(accessor.name, f"integers of {key} must be normalized.")
    return accessor


def _encode_srgb(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """sRGB of linear values in [0, 1] (IEC 61966-2-1)."""
    linear = linear.clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
