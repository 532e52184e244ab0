"""The node tree of a glTF file: which splat primitives stand where.

Reference: Khronos glTF 2.0 specification, section 3.5 (scenes and nodes).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from captures.rotations import quats_to_rotmats

from .gltf_container import GltfFile
from .placement import check_placement

EXTENSION = "KHR_gaussian_splatting"
"""Name of the extension, and prefix of its attributes."""

_READABLE = {EXTENSION, "KHR_mesh_quantization"}
_POINTS = 0


def splat_primitives(
    file: GltfFile,
) -> Iterator[tuple[str, dict[str, Any], Float[Tensor, "4 4"]]]:
    """Every splat primitive of the default scene with its place in the JSON and its matrix.

    Yields:
        (name, primitive, T_scene_primitive), the matrix float64.

    Raises:
        FormatError: The tree is malformed, or the file requires an extension unknown here.
    """
    for name in file.get(file.document, "extensionsRequired", list, "", []):
        if name not in _READABLE:
            raise file.fail(
                "extensionsRequired",
                f"{name!r} is not read here; write the file without it.",
            )
    waiting = [(root, torch.eye(4, dtype=torch.float64)) for root in _roots(file)]
    seen: set[int] = set()
    while waiting:
        index, parent = waiting.pop()
        node = file.item("nodes", index, "children")
        name = f"nodes[{index}]"
        if index in seen:
            raise file.fail(name, "the node hangs in the tree twice; expected one parent at most.")
        seen.add(index)
        matrix = parent @ _node_matrix(file, node, name)
        children = file.get(node, "children", list, name, [])
        waiting += [(child, matrix) for child in reversed(children)]
        if "mesh" not in node:
            continue
        mesh = file.item("meshes", node["mesh"], f"{name}.mesh")
        where = f"meshes[{node['mesh']}].primitives"
        for number, primitive in enumerate(file.get(mesh, "primitives", list, where, None)):
            if not isinstance(primitive, dict):
                raise file.fail(f"{where}[{number}]", "expected an object.")
            if EXTENSION not in file.get(primitive, "extensions", dict, where, {}):
                continue
            if primitive.get("mode") != _POINTS:
                raise file.fail(f"{where}[{number}].mode", "expected 0 (points) for splats.")
            try:
                check_placement(matrix)
            except ValueError as error:
                raise file.fail(name, str(error)) from None
            yield f"{where}[{number}]", primitive, matrix


def _roots(file: GltfFile) -> list[Any]:
    """Nodes that the default scene starts from; all that have no parent where no scene is given."""
    document = file.document
    if file.get(document, "scenes", list, "", []):
        scene = file.item("scenes", document.get("scene", 0), "scene")
        return list(reversed(file.get(scene, "nodes", list, "scenes", [])))
    nodes = file.get(document, "nodes", list, "", [])
    children = set()
    for index in range(len(nodes)):
        node = file.item("nodes", index, "nodes")
        found = file.get(node, "children", list, f"nodes[{index}]", [])
        children |= {child for child in found if isinstance(child, int)}
    return [index for index in reversed(range(len(nodes))) if index not in children]


def _node_matrix(file: GltfFile, node: dict[str, Any], name: str) -> Float[Tensor, "4 4"]:
    """T_parent_node of a node: its `matrix`, or translation * rotation * scale."""
    if "matrix" in node:
        return _numbers(file, node, "matrix", name, 16, []).reshape(4, 4).T.contiguous()
    matrix = torch.eye(4, dtype=torch.float64)
    x, y, z, w = _numbers(file, node, "rotation", name, 4, [0.0, 0.0, 0.0, 1.0]).tolist()
    quat = torch.tensor([w, x, y, z], dtype=torch.float64)
    if not 0.5 < float(quat.norm()) < 2:
        raise file.fail(f"{name}.rotation", f"expected a unit quaternion, got {[x, y, z, w]}.")
    scale = _numbers(file, node, "scale", name, 3, [1.0, 1.0, 1.0])
    matrix[:3, :3] = quats_to_rotmats(quat) * scale
    matrix[:3, 3] = _numbers(file, node, "translation", name, 3, [0.0, 0.0, 0.0])
    return matrix


def _numbers(
    file: GltfFile, node: dict[str, Any], key: str, name: str, count: int, default: list[float]
) -> Float[Tensor, " count"]:
    values = file.get(node, key, list, name, default) if default else node[key]
    right = isinstance(values, list) and len(values) == count
    if not right or not all(type(value) in (int, float) for value in values):
        raise file.fail(f"{name}.{key}", f"expected {count} numbers, got {str(values)[:60]}.")
    try:
        return torch.tensor([float(value) for value in values], dtype=torch.float64)
    except OverflowError:
        raise file.fail(f"{name}.{key}", "a number is too large for a float.") from None
