"""OpenUSD ParticleField splats: text, packages, binary layers, transforms and refusal."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from captures import Similarity
from captures.rotations import quats_to_rotmats
from splats.formats import InMemory, collect, load, open_source, save, summarize
from splats.formats.contract import FormatError
from splats.formats.usd import UsdFormat, UsdOptions
from splats.gaussians import Gaussians

from .scene_files import assert_alike, extreme_gaussians, random_gaussians


@pytest.mark.parametrize("degree", range(5))
@pytest.mark.parametrize("up_axis", ["Y", "Z"])
@pytest.mark.parametrize("ending", ["usda", "usdz"])
def test_round_trip(tmp_path: Path, degree: int, up_axis: Literal["Y", "Z"], ending: str) -> None:
    scene = random_gaussians(257, degree)
    path = tmp_path / f"a.{ending}"
    UsdFormat().write(InMemory(scene, antialiased=True), path, options=UsdOptions(up_axis=up_axis))
    assert_alike(load(path), scene, tolerance=2e-6)
    content = summarize(path)
    assert (content.num_primitives, content.sh_degree, content.antialiased) == (257, degree, True)
    assert content.frame == {"Y": "RUB", "Z": "RFU"}[up_axis]
    assert sum(content.sections.values()) == path.stat().st_size


def test_extreme_values_and_tags_survive(tmp_path: Path) -> None:
    scene = extreme_gaussians(2)
    UsdFormat().write(InMemory(scene, model="2dgs"), tmp_path / "a.usda")
    loaded = load(tmp_path / "a.usda")
    assert_alike(loaded, scene)
    assert all(bool(values.isfinite().all()) for values in vars(loaded).values())
    assert open_source(tmp_path / "a.usda").model == "2dgs"
    small = collect(open_source(tmp_path / "a.usda"))
    chunks = list(open_source(tmp_path / "a.usda").chunks(7))
    assert torch.equal(torch.cat([chunk.shN for chunk in chunks]), small.shN)


def test_packages_are_stored_and_aligned(tmp_path: Path) -> None:
    save(random_gaussians(9, 1), tmp_path / "a.usdz")
    save(random_gaussians(9, 1), tmp_path / "b.usdz")
    data = (tmp_path / "a.usdz").read_bytes()
    assert data == (tmp_path / "b.usdz").read_bytes()
    assert data.index(b"#usda 1.0") % 64 == 0
    with zipfile.ZipFile(tmp_path / "a.usdz") as package:
        [entry] = package.infolist()
        assert package.testzip() is None and entry.compress_type == zipfile.ZIP_STORED


def test_openusd_reads_what_we_write(tmp_path: Path) -> None:
    """The reference implementation finds the schema's type and the same numbers."""
    Usd = pytest.importorskip("pxr.Usd", reason="usd-core is not installed")
    UsdGeom = pytest.importorskip("pxr.UsdGeom")
    UsdVol = pytest.importorskip("pxr.UsdVol")
    scene = random_gaussians(50, 3)
    UsdFormat().write(InMemory(scene, frame="RUB"), tmp_path / "a.usda")
    UsdFormat().write(InMemory(scene, frame="RUB"), tmp_path / "b.usdz")
    UsdFormat().write(InMemory(scene, frame="RUB"), tmp_path / "c.usdc")
    for path in sorted(tmp_path.iterdir()):
        stage = Usd.Stage.Open(str(path))
        prim = stage.GetDefaultPrim()
        assert (
            prim.IsA(UsdVol.ParticleField3DGaussianSplat) and UsdGeom.GetStageUpAxis(stage) == "Y"
        )
        names = ("positions", "scales", "opacities", "radiance:sphericalHarmonicsCoefficients")
        means, scales, opacities, sh = (np.array(prim.GetAttribute(name).Get()) for name in names)
        assert np.array_equal(means, scene.means.numpy())
        np.testing.assert_allclose(scales, scene.log_scales.exp(), rtol=1e-6)
        np.testing.assert_allclose(opacities, scene.logit_opacities.sigmoid(), rtol=1e-6)
        expected = torch.cat([scene.sh0, scene.shN], dim=1)
        assert np.array_equal(sh.reshape(50, 16, 3), expected.numpy())
        quats = prim.GetAttribute("orientations").Get()
        found = [[q.GetReal(), *q.GetImaginary()] for q in quats]
        np.testing.assert_allclose(found, scene.quats, atol=1e-6)
        assert_alike(collect(open_source(path)), scene)


def test_we_read_what_openusd_writes(tmp_path: Path) -> None:
    """Half precision, transforms of several kinds, nested prims, a Z-up stage, all three forms."""
    Usd = pytest.importorskip("pxr.Usd", reason="usd-core is not installed")
    UsdGeom = pytest.importorskip("pxr.UsdGeom")
    UsdVol = pytest.importorskip("pxr.UsdVol")
    Gf = pytest.importorskip("pxr.Gf")
    Vt = pytest.importorskip("pxr.Vt")
    scene = random_gaussians(20, 1)
    stage = Usd.Stage.CreateNew(str(tmp_path / "a.usda"))
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    outer = UsdGeom.Xform.Define(stage, "/World")
    outer.AddTranslateOp().Set(Gf.Vec3d(1, 2, 3))
    outer.AddRotateXYZOp().Set(Gf.Vec3f(30, 40, 50))
    outer.AddScaleOp().Set(Gf.Vec3f(2, 2, 2))
    splat = UsdVol.ParticleField3DGaussianSplat.Define(stage, "/World/Field")
    prim = splat.GetPrim()
    UsdGeom.Xformable(prim).AddOrientOp().Set(Gf.Quatf(0.5, 0.5, -0.5, 0.5))
    prim.GetAttribute("positions").Set(Vt.Vec3fArray.FromNumpy(scene.means.numpy()))
    half = scene.log_scales.exp().half().numpy()
    prim.GetAttribute("scalesh").Set(Vt.Vec3hArray.FromNumpy(half))
    quats = [Gf.Quatf(*map(float, row)) for row in scene.quats]
    prim.GetAttribute("orientations").Set(Vt.QuatfArray(quats))
    prim.GetAttribute("radiance:sphericalHarmonicsDegree").Set(1)
    sh = torch.cat([scene.sh0, scene.shN], dim=1).reshape(-1, 3).numpy()
    prim.GetAttribute("radiance:sphericalHarmonicsCoefficients").Set(Vt.Vec3fArray.FromNumpy(sh))
    stage.Save()
    stage.Export(str(tmp_path / "b.usdc"))
    matrix = torch.tensor(np.array(UsdGeom.XformCache().GetLocalToWorldTransform(prim))).T
    rotation = matrix[:3, :3] / 2
    expected = Gaussians(
        scene.means,
        scene.quats,
        torch.from_numpy(half).float().log(),
        torch.full((20,), 17.3),  # the schema's default opacity is 1
        scene.sh0,
        scene.shN,
    ).transformed(Similarity(2.0, rotation, matrix[:3, 3]))
    for name in ("a.usda", "b.usdc"):
        source = open_source(tmp_path / name)
        assert source.frame == "RFU"
        assert_alike(collect(source), expected, tolerance=2e-6)


LAYER = """#usda 1.0
( upAxis = "Y"
  customLayerData = { string note = "a } ] ) \\" b"; dictionary more = { int x = 3 } }
)
# a comment with def "braces" {
def Xform "World" ( prepend apiSchemas = ["SomeAPI"] doc = '''three
lines''' )
{
    double3 xformOp:translate = (1, 0, 0)
    float xformOp:rotateZ = 90
    uniform token[] xformOpOrder = ["xformOp:translate", "!invert!xformOp:rotateZ"]
    rel material:binding = </World/Material>
    float foo.timeSamples = { 0: 1.5, 1: 2.5, }
    asset file = @./texture.png@

    def ParticleField3DGaussianSplat "A"
    {
        point3f[] positions = [(0, 1, 0), (2, 0, 0)]
        float3[] scales = [(1, 1, 1), (2, 2, 2), (3, 3, 3)]
        float[] opacities = [0.5]
        uniform int radiance:sphericalHarmonicsDegree = 0
    }
    def Mesh "Other" { int[] faceVertexCounts = [] }
}
"""


def test_text_by_hand_with_the_schemas_defaults(tmp_path: Path) -> None:
    """Too long is cut, too short is ignored, missing is the default; transforms in order."""
    (tmp_path / "a.usda").write_text(LAYER)
    scene = collect(open_source(tmp_path / "a.usda"))
    # Minus 90 degrees about Z, then one to the right.
    torch.testing.assert_close(scene.means, torch.tensor([[2.0, 0, 0], [1.0, -2.0, 0]]))
    torch.testing.assert_close(scene.log_scales.exp(), torch.tensor([[1.0] * 3, [2.0] * 3]))
    torch.testing.assert_close(scene.logit_opacities.sigmoid(), torch.ones(2))
    assert torch.equal(scene.sh0, torch.zeros(2, 1, 3))
    turn = quats_to_rotmats(scene.quats.double())
    expected = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(turn, expected.expand(2, 3, 3), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("#usda 1.0", "#usda 2.0", "header"),
        ("ParticleField3DGaussianSplat", "Points", "prims"),
        ("(2, 0, 0)]", "(2, 0)]", "positions"),
        ("(2, 0, 0)]", "(2, 0, x)]", "positions"),
        ("(2, 0, 0)]", "(2, 0, nan)]", "positions"),
        ("(2, 0, 0)]", "(2, 0, 0)", "syntax"),
        ("point3f[] positions", "point3f[] points", "positions"),
        ("(1, 1, 1), ", "(-1, 1, 1), ", "scales"),
        ("rotateZ = 90", "rotateZ = up", "rotateZ"),
        ('["xformOp:translate"', '["xformOp:elsewhere"', "xformOpOrder"),
        ("Degree = 0", "Degree = 7", "Degree"),
        ('upAxis = "Y"', 'upAxis = "X"', "upAxis"),
        ("opacities = [0.5]\n", "opacities = [0.5\n", ""),
    ],
)
def test_malformed_text_names_field_and_place(
    tmp_path: Path, old: str, new: str, field: str
) -> None:
    path = tmp_path / "a.usda"
    assert old in LAYER
    path.write_text(LAYER.replace(old, new))
    with pytest.raises(FormatError) as caught:
        load(path)
    assert field in caught.value.field and caught.value.offset is not None
    assert str(path) in str(caught.value)


def test_damaged_binary_layers_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("pxr", reason="usd-core is not installed")
    (tmp_path / "a.usdc").write_bytes(b"PXR-USDC" + bytes(range(256)))
    with pytest.raises(FormatError, match="OpenUSD cannot read it"):
        load(tmp_path / "a.usdc")


def test_what_usd_cannot_hold_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    scene = random_gaussians(3, 0)
    scene.quats[2, 0] = torch.inf
    for name in ("a.usda", "a.usdz"):
        with pytest.raises(ValueError, match="`quats` of Gaussian 2"):
            save(scene, tmp_path / name)
    assert not list(tmp_path.iterdir())
