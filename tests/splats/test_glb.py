"""glTF with KHR_gaussian_splatting: bytes, round trips, nodes, integer types and refusal."""

from __future__ import annotations

import base64
import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from captures import Similarity
from captures.rotations import quats_to_rotmats
from splats.formats import InMemory, collect, load, open_source, save
from splats.formats.contract import FormatError
from splats.formats.glb import GltfFormat, GltfOptions
from splats.gaussians import Gaussians

from .scene_files import assert_alike, extreme_gaussians, random_gaussians

PREFIX = "KHR_gaussian_splatting:"


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """JSON and binary chunk of a GLB file, with the container checked byte for byte."""
    data = path.read_bytes()
    magic, version, length, json_size, kind = struct.unpack_from("<4sIII4s", data)
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON")
    bin_size, bin_kind = struct.unpack_from("<I4s", data, 20 + json_size)
    assert bin_kind == b"BIN\0" and json_size % 4 == bin_size % 4 == 0
    assert 28 + json_size + bin_size == len(data)
    return json.loads(data[20 : 20 + json_size]), data[28 + json_size :]


def write_glb(path: Path, document: dict[str, Any], binary: bytes) -> Path:
    """A GLB file of any JSON."""
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary += bytes(-len(binary) % 4)
    header = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(binary))
    chunks = (
        struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0")
    )
    path.write_bytes(header + chunks + binary)
    return path


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("count", [1, 255, 257])
@pytest.mark.parametrize("ending", ["glb", "gltf"])
def test_round_trip_and_identical_bytes_when_written_again(
    tmp_path: Path, count: int, degree: int, ending: str
) -> None:
    scene = random_gaussians(count, degree)
    report = save(scene, tmp_path / f"a.{ending}", antialiased=True)
    loaded = load(tmp_path / f"a.{ending}")
    assert_alike(loaded, scene)
    assert torch.equal(loaded.means, scene.means) and torch.equal(loaded.shN, scene.shN)
    save(loaded, tmp_path / f"b.{ending}", antialiased=True)
    again = load(tmp_path / f"b.{ending}")
    assert_alike(again, loaded, tolerance=2e-7)
    assert report.num_bytes == sum(p.stat().st_size for p in tmp_path.glob("a.*"))
    assert open_source(tmp_path / f"a.{ending}").antialiased


@pytest.mark.parametrize("degree", [0, 3])
def test_extreme_values_survive(tmp_path: Path, degree: int) -> None:
    scene = extreme_gaussians(degree)
    save(scene, tmp_path / "a.glb")
    loaded = load(tmp_path / "a.glb")
    assert_alike(loaded, scene)
    assert all(bool(values.isfinite().all()) for values in vars(loaded).values())


def test_attributes_are_activated_and_in_gltf_axes(tmp_path: Path) -> None:
    """One Gaussian by hand: +X left, +Y up, rotation xyzw, linear scale, opacity, color."""
    one = Gaussians(
        means=torch.tensor([[1.0, 2.0, 3.0]]),
        quats=torch.tensor([[2.0, 0.0, 0.0, 0.0]]),
        log_scales=torch.tensor([[0.0, math.log(2), math.log(4)]]),
        logit_opacities=torch.tensor([math.log(3)]),
        sh0=torch.full((1, 1, 3), 0.5 / 0.28209479177387814),
        shN=torch.tensor([[[1.0] * 3, [2.0] * 3, [3.0] * 3]]),
    )
    save(one, tmp_path / "one.glb")
    document, binary = parts(tmp_path / "one.glb")
    primitive = document["meshes"][0]["primitives"][0]

    def read(name: str) -> list[float]:
        accessor = document["accessors"][primitive["attributes"][name]]
        view = document["bufferViews"][accessor["bufferView"]]
        dtype = {5126: "<f4", 5121: "u1"}[accessor["componentType"]]
        start = view["byteOffset"]
        return np.frombuffer(binary[start : start + view["byteLength"]], dtype).tolist()

    assert read("POSITION") == [-1.0, -2.0, 3.0]
    assert read(f"{PREFIX}ROTATION") in ([0, 0, 0, 1], [0, 0, 0, -1])
    assert read(f"{PREFIX}SCALE") == pytest.approx([1, 2, 4])
    assert read(f"{PREFIX}OPACITY") == pytest.approx([0.75])
    assert read("COLOR_0") == [255, 255, 255, 191]
    # The harmonics -y, z, -x of degree 1: left and up instead of right and down.
    assert [read(f"{PREFIX}SH_DEGREE_1_COEF_{n}")[0] for n in range(3)] == [-1, 2, -3]
    assert primitive["mode"] == 0
    assert primitive["extensions"]["KHR_gaussian_splatting"]["colorSpace"] == "srgb_rec709_display"
    assert document["extensionsUsed"] == ["KHR_gaussian_splatting"]


def test_node_transforms_are_applied_down_the_tree(tmp_path: Path) -> None:
    scene = random_gaussians(20, 2, seed=3)
    GltfFormat().write(InMemory(scene, frame="LUF"), tmp_path / "a.glb")
    document, binary = parts(tmp_path / "a.glb")
    quat = torch.nn.functional.normalize(torch.tensor([0.3, -0.5, 0.7, 0.2]).double(), dim=0)
    w, x, y, z = quat.tolist()
    document["nodes"] = [
        {"mesh": 0, "rotation": [x, y, z, w], "translation": [1, 2, 3], "scale": [2, 2, 2]},
        {"children": [0], "matrix": [0, 0, -1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 5, 6, 7, 1]},
    ]
    document["scenes"] = [{"nodes": [1]}]
    write_glb(tmp_path / "b.glb", document, binary)
    inner = Similarity(2.0, quats_to_rotmats(quat), torch.tensor([1.0, 2, 3]).double())
    quarter = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]).double()
    outer = Similarity(1.0, quarter, torch.tensor([5.0, 6, 7]).double())
    found = collect(open_source(tmp_path / "b.glb"))
    assert_alike(found, scene.transformed(outer.compose(inner)), tolerance=1e-5)


def test_unequal_node_scales_give_the_exact_ellipsoids(tmp_path: Path) -> None:
    from .scene_files import covariances

    scene = random_gaussians(50, 1, seed=4)
    GltfFormat().write(InMemory(scene, frame="LUF"), tmp_path / "a.glb")
    document, binary = parts(tmp_path / "a.glb")
    document["nodes"] = [{"mesh": 0, "scale": [1, 2, 0.5]}]
    found = collect(open_source(write_glb(tmp_path / "b.glb", document, binary)))
    stretch = torch.tensor([1.0, 2, 0.5]).double().diag()
    torch.testing.assert_close(
        covariances(found), stretch @ covariances(scene) @ stretch, rtol=1e-4, atol=1e-9
    )
    torch.testing.assert_close(found.means, scene.means * stretch.diagonal().float())


def quantized(document: dict[str, Any], binary: bytes, kinds: dict[str, tuple[int, str]]) -> bytes:
    """Appends integer versions of attributes: {name: (componentType, numpy code)}."""
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    for name, (component, code) in kinds.items():
        accessor = document["accessors"][attributes[name]]
        view = document["bufferViews"][accessor["bufferView"]]
        start = view["byteOffset"]
        values = np.frombuffer(binary[start : start + view["byteLength"]], "<f4")
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        steps = np.round(values.reshape(-1, width) * np.iinfo(code).max).astype(code)
        row = -(-steps.itemsize * width // 4) * 4
        table = np.zeros((len(steps), row), np.uint8)
        table[:, : steps.itemsize * width] = steps.view(np.uint8)
        document["bufferViews"].append(
            {"buffer": 0, "byteOffset": len(binary), "byteLength": table.size, "byteStride": row}
        )
        document["accessors"].append(
            accessor
            | {
                "bufferView": len(document["bufferViews"]) - 1,
                "componentType": component,
                "normalized": True,
            }
        )
        attributes[name] = len(document["accessors"]) - 1
        binary += table.tobytes()
    document["buffers"][0]["byteLength"] = len(binary)
    return binary


@pytest.mark.parametrize(
    ("signed", "unsigned", "step"),
    [((5120, "<i1"), (5121, "<u1"), 1 / 127), ((5122, "<i2"), (5123, "<u2"), 1 / 32767)],
)
def test_normalized_integers_are_read(
    tmp_path: Path, signed: tuple[int, str], unsigned: tuple[int, str], step: float
) -> None:
    scene = random_gaussians(40, 0, seed=5)
    save(scene, tmp_path / "a.glb")
    document, binary = parts(tmp_path / "a.glb")
    kinds = {"ROTATION": signed, "SCALE": unsigned, "OPACITY": unsigned}
    binary = quantized(document, binary, {PREFIX + name: kind for name, kind in kinds.items()})
    found = load(write_glb(tmp_path / "b.glb", document, binary))
    turns = (found.quats * scene.quats).sum(dim=1).abs() / found.quats.norm(dim=1)
    assert float(turns.min()) > 1 - 4 * step * step - 1e-6
    torch.testing.assert_close(found.log_scales.exp(), scene.log_scales.exp(), rtol=0, atol=step)
    torch.testing.assert_close(
        found.logit_opacities.sigmoid(), scene.logit_opacities.sigmoid(), rtol=0, atol=step
    )


def test_color_0_stands_in_for_missing_harmonics(tmp_path: Path) -> None:
    scene = random_gaussians(30, 1, seed=6)
    scene.sh0.clamp_(-1.5, 1.5)
    save(scene, tmp_path / "a.glb")
    document, binary = parts(tmp_path / "a.glb")
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    for name in [name for name in attributes if "SH_DEGREE" in name]:
        del attributes[name]
    found = load(write_glb(tmp_path / "b.glb", document, binary))
    assert found.sh_degree == 0
    # Bytes of linear color are coarse in the dark: 1/255 of linear light is 0.05 of sRGB.
    colors = [0.28209479 * gaussians.sh0 + 0.5 for gaussians in (found, scene)]
    torch.testing.assert_close(colors[0], colors[1], rtol=0, atol=0.05)


def test_data_uris_and_options(tmp_path: Path) -> None:
    scene = random_gaussians(5, 0)
    GltfFormat().write(
        InMemory(scene), tmp_path / "a.glb", options=GltfOptions(fallback_colors=False)
    )
    document, binary = parts(tmp_path / "a.glb")
    assert "COLOR_0" not in document["meshes"][0]["primitives"][0]["attributes"]
    document["buffers"][0]["uri"] = (
        "data:application/octet-stream;base64," + base64.b64encode(binary).decode()
    )
    (tmp_path / "b.gltf").write_text(json.dumps(document))
    assert_alike(load(tmp_path / "b.gltf"), scene)


def test_the_tag_of_flat_gaussians_survives(tmp_path: Path) -> None:
    GltfFormat().write(InMemory(random_gaussians(3, 0), model="2dgs"), tmp_path / "a.glb")
    assert open_source(tmp_path / "a.glb").model == "2dgs"


def edit(document: dict[str, Any], path: str, value: Any) -> None:
    """Set `a.0.b` style places."""
    *way, last = path.split("/")
    place: Any = document
    for key in way:
        place = place[int(key)] if isinstance(place, list) else place[key]
    place[int(last) if isinstance(place, list) else last] = value


PRIMITIVE = "meshes/0/primitives/0"


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("asset/version", "1.0", "asset.version"),
        ("accessors/0/count", 10**12, "accessors[0].count"),
        ("accessors/0/count", 4, "accessors[1].count"),
        ("accessors/0/componentType", 5125, "accessors[0]"),
        ("accessors/1/bufferView", 99, "accessors[1].bufferView"),
        ("bufferViews/2/byteOffset", 1 << 40, "bufferViews[2].byteLength"),
        ("buffers/0/byteLength", 1 << 40, "buffers[0].byteLength"),
        ("buffers/0/uri", "../secret.bin", "buffers[0].uri"),
        ("buffers/0/uri", "/etc/passwd", "buffers[0].uri"),
        ("nodes/0/children", [0], "nodes[0]"),
        ("nodes/0/scale", [1, 1, 0], "nodes[0]"),
        ("nodes/0/scale", [-1, 1, 1], "nodes[0]"),
        (f"{PRIMITIVE}/mode", 4, "meshes[0].primitives[0].mode"),
        (f"{PRIMITIVE}/attributes/KHR_gaussian_splatting:SH_DEGREE_3_COEF_0", 4, ".attributes"),
        (f"{PRIMITIVE}/extensions/KHR_gaussian_splatting/kernel", "cube", ".kernel"),
        ("extensionsRequired", ["KHR_draco_mesh_compression"], "extensionsRequired"),
        ("meshes/0/primitives", [], "meshes"),
    ],
)  # fmt: skip
def test_malformed_files_name_field_and_place(
    tmp_path: Path, path: str, value: Any, field: str
) -> None:
    save(random_gaussians(5, 1), tmp_path / "a.glb")
    document, binary = parts(tmp_path / "a.glb")
    edit(document, path, value)
    bad = write_glb(tmp_path / "b.glb", document, binary)
    with pytest.raises(FormatError) as caught:
        load(bad)
    assert field in caught.value.field and caught.value.offset is not None
    assert str(bad) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SCALE", -1.0, "logarithms"),
        ("OPACITY", 1.5, "0.0 to 1.0"),
        ("ROTATION", math.nan, "finite"),
    ],
)
def test_bad_values_are_refused_with_their_byte(
    tmp_path: Path, name: str, value: float, expected: str
) -> None:
    path = tmp_path / "a.glb"
    save(random_gaussians(5, 0), path)
    document, _ = parts(path)
    index = document["meshes"][0]["primitives"][0]["attributes"][PREFIX + name]
    data = bytearray(path.read_bytes())
    base = len(data) - document["buffers"][0]["byteLength"]
    place = base + document["bufferViews"][index]["byteOffset"] + 4
    data[place : place + 4] = struct.pack("<f", value)
    path.write_bytes(data)
    with pytest.raises(FormatError, match=expected) as caught:
        load(path)
    assert caught.value.offset == place


def test_what_gltf_cannot_hold_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    scene = random_gaussians(3, 0)
    scene.means[1, 1] = math.nan
    with pytest.raises(ValueError, match="`means` of Gaussian 1"):
        save(scene, tmp_path / "a.glb")
    with pytest.raises(ValueError, match="--sh-degree 3"):
        save(random_gaussians(3, 4), tmp_path / "a.glb")
    with pytest.raises(ValueError, match="no Gaussians"):
        save(random_gaussians(0, 0), tmp_path / "a.glb")
    assert not list(tmp_path.iterdir())
    save(random_gaussians(3, 0), tmp_path / "a.glb")
    with pytest.raises(FileExistsError):
        save(random_gaussians(3, 0), tmp_path / "a.glb")
