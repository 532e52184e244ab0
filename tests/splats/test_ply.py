"""The 3DGS PLY reader and writer: layout, round trips, tolerance and refusal."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from splats.formats import InMemory, ply
from splats.gaussians import Gaussians

FIELDS = ("means", "quats", "log_scales", "logit_opacities", "sh0", "shN")


def make_gaussians(count: int, degree: int, seed: int = 0) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    rest = (degree + 1) ** 2 - 1
    return Gaussians(
        draw(count, 3), draw(count, 4), draw(count, 3), draw(count), draw(count, 1, 3),
        draw(count, rest, 3),
    )  # fmt: skip


def assert_same(a: Gaussians, b: Gaussians) -> None:
    for name in FIELDS:
        assert torch.equal(getattr(a, name), getattr(b, name)), name


@pytest.mark.parametrize("degree", range(5))
@pytest.mark.parametrize("count", [0, 1, 257])
def test_round_trip_is_bit_exact_and_rewrites_identical_bytes(tmp_path, count, degree):
    gaussians = make_gaussians(count, degree)
    report = ply.save(gaussians, tmp_path / "a.ply")
    loaded = ply.load(tmp_path / "a.ply")
    assert_same(loaded, gaussians)
    ply.save(loaded, tmp_path / "b.ply")
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()
    assert report.lossless and report.num_bytes == (tmp_path / "a.ply").stat().st_size
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.ply", "b.ply"]


def test_bytes_are_the_standard_layout(tmp_path):
    """Spelled out from the Inria writer, with every number distinct."""
    values = torch.arange(1.0, 1000.0)
    one = Gaussians(
        means=values[0:3].view(1, 3),
        quats=values[3:7].view(1, 4),
        log_scales=values[7:10].view(1, 3),
        logit_opacities=values[10:11],
        sh0=values[11:14].view(1, 1, 3),
        shN=values[14:23].view(1, 3, 3),
    )
    ply.save(one, tmp_path / "one.ply")
    names = "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2".split()
    names += [f"f_rest_{i}" for i in range(9)]
    names += "opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3".split()
    header = "ply\nformat binary_little_endian 1.0\nelement vertex 1\n"
    header += "".join(f"property float {name}\n" for name in names) + "end_header\n"
    rest = one.shN[0]
    row = [1, 2, 3, 0, 0, 0, 12, 13, 14, *rest[:, 0], *rest[:, 1], *rest[:, 2]]
    row += [11, 8, 9, 10, 4, 5, 6, 7]
    assert (tmp_path / "one.ply").read_bytes() == header.encode() + struct.pack("<26f", *row)


def write_variant(path: Path, gaussians: Gaussians, encoding: str, *, kind: str = "f4") -> None:
    """A file as another program might write it: shuffled, extra fields, other types, CRLF."""
    degree_rest = gaussians.shN.transpose(1, 2).flatten(1).numpy()
    columns = {f"f_rest_{i}": degree_rest[:, i] for i in range(degree_rest.shape[1])}
    for names, values in (
        (("x", "y", "z"), gaussians.means),
        (("f_dc_0", "f_dc_1", "f_dc_2"), gaussians.sh0[:, 0]),
        (("opacity",), gaussians.logit_opacities[:, None]),
        (("scale_0", "scale_1", "scale_2"), gaussians.log_scales),
        (("rot_0", "rot_1", "rot_2", "rot_3"), gaussians.quats),
    ):
        columns |= {name: values[:, i].numpy() for i, name in enumerate(names)}
    columns["confidence"] = np.full(len(gaussians), 7, np.uint8)
    order = sorted(columns)
    random.Random(3).shuffle(order)
    words = {"f4": "float", "f8": "double"}
    lines = ["ply", "comment made elsewhere", f"format {encoding} 1.0", "element camera 2"]
    lines += ["property float fov", "obj_info note", f"element vertex {len(gaussians)}"]
    lines += [f"property {'uchar' if n == 'confidence' else words[kind]} {n}" for n in order]
    lines += ["element face 1", "property list uchar int vertex_index", "end_header"]
    data = ("\r\n".join(lines) + "\r\n").encode()
    if encoding == "ascii":
        data += b"1.5\n2.5\n"
        for row in range(len(gaussians)):
            data += (" ".join(repr(float(columns[n][row])) for n in order) + "\n").encode()
        data += b"3 0 0 0\n"
    else:
        mark = ">" if encoding.endswith("big_endian") else "<"
        data += np.array([1.5, 2.5], mark + "f4").tobytes()
        dtype = [(n, "u1" if n == "confidence" else mark + kind) for n in order]
        table = np.empty(len(gaussians), dtype)
        for name in order:
            table[name] = columns[name]
        data += table.tobytes() + b"\x03" + bytes(12)
    path.write_bytes(data)


@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_other_writers_files_read_the_same(tmp_path, encoding, kind):
    gaussians = make_gaussians(23, 3)
    write_variant(tmp_path / "variant.ply", gaussians, encoding, kind=kind)
    assert_same(ply.load(tmp_path / "variant.ply"), gaussians)


def test_big_endian_of_one_type_reads_the_same(tmp_path):
    """The path that views the rows as one matrix, byte-swapped."""
    gaussians = make_gaussians(9, 1)
    ply.save(gaussians, tmp_path / "little.ply")
    header, data = (tmp_path / "little.ply").read_bytes().split(b"end_header\n")
    swapped = np.frombuffer(data, "<f4").astype(">f4").tobytes()
    header = header.replace(b"little", b"big") + b"end_header\n"
    (tmp_path / "big.ply").write_bytes(header + swapped)
    assert_same(ply.load(tmp_path / "big.ply"), gaussians)


def test_colors_and_flat_scales_stand_in(tmp_path):
    names = "x y z opacity scale_0 scale_1 rot_0 rot_1 rot_2 rot_3".split()
    header = "ply\nformat ascii 1.0\nelement vertex 1\n"
    header += "".join(f"property float {n}\n" for n in names)
    header += "".join(f"property uchar {n}\n" for n in ("red", "green", "blue"))
    (tmp_path / "a.ply").write_text(header + "end_header\n1 2 3 0 -1 -2 1 0 0 0 255 0 51\n")
    loaded = ply.load(tmp_path / "a.ply")
    colors = 0.5 + 0.28209479177387814 * loaded.sh0[0, 0]
    torch.testing.assert_close(colors, torch.tensor([1.0, 0.0, 0.2]))
    assert loaded.log_scales.tolist() == [[-1.0, -2.0, ply.FLAT_LOG_SCALE]]


def test_antialiasing_is_noted_and_found(tmp_path):
    format_ = ply.PlyFormat()
    for flag in (False, True):
        path = tmp_path / f"{flag}.ply"
        format_.write(InMemory(make_gaussians(3, 2), antialiased=flag), path)
        summary = format_.summarize(path)
        assert summary.antialiased is flag
        assert (summary.num_primitives, summary.sh_degree) == (3, 2)
        assert sum(summary.sections.values()) == path.stat().st_size
        assert summary.sections["f_rest"] == 3 * 24 * 4
        assert_same(ply.load(path), make_gaussians(3, 2))


def test_existing_file_is_kept_unless_told(tmp_path):
    path = tmp_path / "a.ply"
    ply.save(make_gaussians(3, 0), path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"a\.ply exists"):
        ply.save(make_gaussians(4, 0), path)
    assert path.read_bytes() == before
    ply.save(make_gaussians(4, 0), path, overwrite=True)
    assert len(ply.load(path)) == 4


def edited(tmp_path: Path, old: bytes, new: bytes, *, cut: int | None = None) -> Path:
    path = tmp_path / "bad.ply"
    ply.save(make_gaussians(5, 1), path)
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new)[:cut])
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"ply\n", b"PK\x03\x04", "byte 0.*not a PLY file"),
        (b"vertex 5", b"vertex 5000000000000", "truncated or its count is wrong"),
        (b"vertex 5", b"vertex 99999999999999999999999", "line 3.*COUNT"),
        (b"vertex 5", b"vertex -1", "line 3.*COUNT"),
        (b"float opacity", b"float transparency", "lacks the properties opacity"),
        (b"float scale_0", b"float scale_x", "lacks the properties scale_0"),
        (b"float f_rest_4\n", b"float g_rest_4\n", r"f_rest_\*.*got 8"),
        (b"float f_rest_4\n", b"float f_rest_44\n", "`f_rest_4`: it is missing"),
        (b"float ny", b"float nx", "line 8.*each property once"),
        (b"float ny", b"quad ny", "line 8.*a type among"),
        (b"little_endian 1.0", b"little_endian 2.0", "line 2.*version 1.0"),
        (b"end_header", b"fin_header", "`end_header`: no such line"),
    ],
)
def test_malformed_headers_say_what_is_wrong(tmp_path, old, new, message):
    path = edited(tmp_path, old, new)
    with pytest.raises(ValueError, match=message) as caught:
        ply.load(path)
    assert str(path) in str(caught.value)


def test_truncated_and_empty_files(tmp_path):
    with pytest.raises(ValueError, match="only 4 rows are there"):
        ply.load(edited(tmp_path, b"", b"", cut=-1))
    (tmp_path / "empty.ply").write_bytes(b"")
    with pytest.raises(ValueError, match="the file is empty"):
        ply.load(tmp_path / "empty.ply")


@pytest.mark.parametrize("encoding", ["ascii", "binary_big_endian"])
def test_nan_is_refused_with_its_place(tmp_path, encoding):
    gaussians = make_gaussians(5, 0)
    gaussians.quats[3, 2] = torch.nan
    write_variant(tmp_path / "nan.ply", gaussians, encoding)
    with pytest.raises(ValueError, match=r"byte \d+: `rot_2`: of Gaussian 3 .*got nan"):
        ply.load(tmp_path / "nan.ply")


def test_byte_offset_of_nan_is_exact(tmp_path):
    gaussians = make_gaussians(5, 2)
    gaussians.means[2, 1] = torch.inf
    path = tmp_path / "inf.ply"
    ply.save(gaussians, path)
    with pytest.raises(ValueError, match="`y`: of Gaussian 2") as caught:
        ply.load(path)
    offset = int(str(caught.value).split("byte ")[1].split(":")[0])
    assert path.read_bytes()[offset : offset + 4] == struct.pack("<f", torch.inf)


def test_opacities_of_exactly_zero_and_one_survive(tmp_path):
    gaussians = make_gaussians(2, 0)
    gaussians.logit_opacities[:] = torch.tensor([-torch.inf, torch.inf])
    ply.save(gaussians, tmp_path / "a.ply")
    assert_same(ply.load(tmp_path / "a.ply"), gaussians)


@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian"])
def test_a_thousand_mutations_only_raise_value_errors(tmp_path, encoding):
    path = tmp_path / "fuzz.ply"
    write_variant(path, make_gaussians(4, 1), encoding)
    original = path.read_bytes()
    draw = random.Random(0)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(500):
        data = bytearray(original)
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(data))
            action = draw.randrange(4)
            if action == 0:
                data[place] ^= 1 << draw.randrange(8)
            elif action == 1:
                data[place] = draw.randrange(256)
            elif action == 2:
                del data[place : place + draw.randint(1, 40)]
            else:
                data[place:place] = data[place : place + draw.randint(1, 40)]
        path.write_bytes(data)
        try:
            ply.load(path)
            ply.PlyFormat().summarize(path)
            outcomes["read"] += 1
        except ValueError as error:
            assert str(path) in str(error)
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 20


def test_rows_are_the_same_without_the_native_copy(tmp_path, monkeypatch):
    from splats.formats import ply_table

    gaussians = make_gaussians(3000, 3)
    ply.save(gaussians, tmp_path / "native.ply")
    write_variant(tmp_path / "mixed.ply", gaussians, "binary_big_endian")
    for module in (ply, ply_table):
        monkeypatch.setattr(module, "native_kernels", lambda: None)
    ply.save(gaussians, tmp_path / "plain.ply")
    assert (tmp_path / "plain.ply").read_bytes() == (tmp_path / "native.ply").read_bytes()
    assert_same(ply.load(tmp_path / "native.ply"), gaussians)
    assert_same(ply.load(tmp_path / "mixed.ply"), gaussians)


def test_blocks_of_any_size_give_the_same_rows(tmp_path):
    gaussians = make_gaussians(1000, 1)
    ply.save(gaussians, tmp_path / "a.ply")
    write_variant(tmp_path / "b.ply", gaussians, "ascii")
    for name in ("a.ply", "b.ply"):
        chunks = list(ply.PlySource(tmp_path / name).chunks(99))
        assert [len(chunk) for chunk in chunks] == [99] * 10 + [10]
        assert torch.equal(torch.cat([chunk.shN for chunk in chunks]), gaussians.shN)
        assert torch.equal(torch.cat([chunk.means for chunk in chunks]), gaussians.means)


def test_half_floats_are_read(tmp_path):
    names = "x y z f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
    header = "ply\nformat binary_little_endian 1.0\nelement vertex 1\n"
    header += "".join(f"property half {name}\n" for name in names.split()) + "end_header\n"
    values = np.arange(14, dtype="<f2") / 8
    (tmp_path / "a.ply").write_bytes(header.encode() + values.tobytes())
    loaded = ply.load(tmp_path / "a.ply")
    assert loaded.means.tolist() == [[0, 0.125, 0.25]]
    assert loaded.quats.tolist() == [[1.25, 1.375, 1.5, 1.625]]


def test_flat_gaussians_keep_their_model(tmp_path):
    gaussians = make_gaussians(5, 1)
    gaussians.log_scales[:, 2] = ply.FLAT_LOG_SCALE
    format_ = ply.PlyFormat()
    format_.write(InMemory(gaussians, model="2dgs"), tmp_path / "flat.ply")
    assert b"scale_2" not in (tmp_path / "flat.ply").read_bytes()
    assert format_.summarize(tmp_path / "flat.ply").model == "2dgs"
    assert_same(ply.load(tmp_path / "flat.ply"), gaussians)


def test_normals_can_be_left_out(tmp_path):
    gaussians = make_gaussians(5, 3)
    options = ply.PlyOptions(normals=False)
    ply.PlyFormat().write(InMemory(gaussians), tmp_path / "a.ply", options=options)
    header = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")[0]
    assert (tmp_path / "a.ply").stat().st_size - len(header) - 11 == 5 * 236
    assert_same(ply.load(tmp_path / "a.ply"), gaussians)
