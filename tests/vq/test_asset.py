"""Asset files: what is written is read, alone or as a prefix, and equal content is equal bytes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from benchmarks.asset_files import example
from vq.asset import (
    AssetError,
    AssetWriter,
    add,
    columns,
    concatenate,
    constant,
    gather,
    open_asset,
    reshape,
    scale,
)
from vq.asset.graph import Apply


class CountingFile(io.BytesIO):
    """A file that notes which bytes were read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.touched: set[int] = set()

    def read(self, size: int | None = -1, /) -> bytes:
        start = self.tell()
        data = super().read(size)
        self.touched |= set(range(start, start + len(data)))
        return data


def test_every_array_comes_back() -> None:
    """All operations and codecs, identical bits, in one call and one by one."""
    data, expected = example()
    with open_asset(data) as asset:
        together = asset.arrays()
        assert list(together) == list(expected)
        for name, array in expected.items():
            for found in (together[name], asset.array(name)):
                assert found.dtype == array.dtype and found.shape == array.shape
                assert found.tobytes() == array.tobytes()
        assert asset.read("note") == b"any bytes"
        asset.verify()


def test_the_header_says_what_is_inside() -> None:
    """Kind, frame, properties, provenance, sizes that add up, and readable graphs."""
    data, _ = example()
    asset = open_asset(data)
    assert asset.header.kind == "example"
    assert asset.header.frame == {"axes": "right, down, forward"}
    assert asset.header.properties == {"count": 40}
    assert asset.header.provenance == {"program": "the tests", "steps": [1, 2.5, None, True]}
    assert sum(asset.sizes.values()) == asset.num_bytes == len(data)
    graphs = {info.name: info for info in asset.describe()}
    assert graphs["features"].graph == (
        "sum(gather(planes[codebook], rans[indices]), planes[residual])"
    )
    assert graphs["features"].sections == ("codebook", "indices", "residual")
    assert graphs["features"].num_bytes == sum(
        asset.sections[name] for name in ("codebook", "indices", "residual")
    )
    assert str(graphs["table"].type) == "int32[2, 20, 4]"


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    """Writing what was read gives the file again."""
    data, _ = example()
    assert example()[0] == data
    asset = open_asset(data)
    header = asset.header
    writer = AssetWriter(
        header.kind,
        frame=header.frame,
        properties=header.properties,
        provenance=header.provenance,
    )
    for name in asset.sections:
        writer.section(name, asset.read(name))
    for name, node in header.arrays.items():
        writer.array(name, node)
    path = writer.write(tmp_path / "new" / "copy.fwa")
    assert path.read_bytes() == data
    assert list(path.parent.iterdir()) == [path]


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    """Unless told otherwise, and also where writing fails half way."""
    path = tmp_path / "a.fwa"
    path.write_bytes(b"precious")
    writer = AssetWriter("example")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        writer.write(path)
    assert path.read_bytes() == b"precious"
    broken = AssetWriter("example", properties={"loss": float("nan")})
    with pytest.raises(ValueError):
        broken.write(path, overwrite=True)
    assert path.read_bytes() == b"precious" and list(tmp_path.iterdir()) == [path]
    writer.write(path, overwrite=True)
    assert open_asset(path).header.kind == "example"


def test_only_what_is_asked_for_is_read() -> None:
    """Opening reads the header; one array reads its sections and nothing else."""
    data, expected = example()
    file = CountingFile(data)
    asset = open_asset(file)
    header_bytes = max(file.touched) + 1
    assert header_bytes + sum(asset.sections.values()) <= len(data)
    file.touched.clear()
    assert (asset.array("noise") == expected["noise"]).all()
    assert asset.sections["noise"] <= len(file.touched) < asset.sections["noise"] + 8


@pytest.mark.parametrize("keep", ["all but a byte", "up to the residual", "only the header"])
def test_prefixes_are_opened_on_request_and_say_what_they_lack(keep: str) -> None:
    """Whole sections decode, sums fall back to their leading stages, the rest is refused."""
    data, expected = example()
    with open_asset(data) as whole:
        sizes = whole.sections
        header_bytes = whole.num_bytes - sum(sizes.values()) - 7 * len(sizes)
        features = whole.header.arrays["features"]
        assert isinstance(features, Apply)
        base = features.inputs[0]
    end = {"all but a byte": len(data) - 1, "only the header": len(data) - sum(sizes.values())}
    cut = data[: end.get(keep, data.rindex(whole_section(data, "residual")))]
    with pytest.raises(AssetError, match=r"only \d+ are there.*allow_prefix=True"):
        open_asset(cut)
    asset = open_asset(cut, allow_prefix=True)
    order = list(sizes)
    assert asset.missing == tuple(order[len(order) - len(asset.missing) :])
    assert asset.num_bytes == len(data) and header_bytes < len(data)
    asset.verify()
    for name in sizes:
        if name in asset.missing:
            with pytest.raises(AssetError, match=f"section `{name}`, byte {len(cut)}"):
                asset.read(name)
    if keep == "all but a byte":
        assert asset.missing == ("noise",)
        assert (asset.array("features") == expected["features"]).all()
    elif keep == "up to the residual":
        assert asset.missing == ("residual", "note", "rotation", "noise")
        assert asset.available("features")
        writer = AssetWriter("base")
        for name in ("codebook", "indices"):
            writer.section(name, asset.read(name))
        writer.array("base", base)
        coarse = open_asset(writer.to_bytes()).array("base")
        assert (asset.array("features") == coarse).all()
        assert not (coarse == expected["features"]).all()
    else:
        assert not any(asset.available(name) for name in expected)
    assert asset.available("noise") is False
    with pytest.raises(AssetError, match="not within this truncated file"):
        asset.array("noise")


def whole_section(data: bytes, name: str) -> bytes:
    """The bytes of one section."""
    with open_asset(data) as asset:
        return asset.read(name)


def test_arrays_beyond_the_bound_are_refused_before_they_are_decoded() -> None:
    """A small file can claim a lot: by default 64 MiB and 1 KiB per byte of the file."""
    writer = AssetWriter("bomb")
    zeros = constant(0, "uint8", (1 << 26, 4))
    writer.array("zeros", zeros)
    writer.array("row", constant(1, "uint8", (1 << 20,)))
    data = writer.to_bytes()
    with pytest.raises(AssetError, match=r"takes 268435456 bytes and the bound is \d+"):
        open_asset(data).array("zeros")
    assert open_asset(data).array("row").sum() == 1 << 20
    with pytest.raises(AssetError, match="bound is 1000"):
        open_asset(data, max_bytes=1000).array("row")
    writer.array("fourfold", concatenate(*[constant(0, "uint8", (1 << 20, 20))] * 4))
    with pytest.raises(AssetError, match="takes 167772160 bytes"):
        open_asset(writer.to_bytes()).array("fourfold")  # intermediate results count


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w: w.section("twice", b""), "section `twice` exists"),
        (lambda w: w.array("twice", constant(0, "int8", ())), "array `twice` exists"),
        (lambda w: scale(constant(0.0, "float32", (2,)), step=[1.0]), "takes integers"),
        (lambda w: scale(constant(0, "int8", (2,)), step=[1.0] * 3), "per column"),
        (lambda w: gather(constant(0, "int8", ()), constant(0, "int8", ())), "codebook"),
        (lambda w: add(constant(0, "int8", ()), constant(0, "int16", ())), "equal types"),
        (lambda w: columns(constant(0, "int8", (2,)), 1, 3), "exceed"),
        (lambda w: reshape(constant(0, "int8", (2,)), (3,)), "changes the size"),
        (lambda w: concatenate(), "takes 1 to 256 inputs, got 0"),
    ],
)
def test_mistakes_of_the_writer_are_named(make, message: str) -> None:
    """Before any byte is written."""
    writer = AssetWriter("example")
    writer.section("twice", b"")
    writer.array("twice", constant(0, "int8", ()))
    with pytest.raises(ValueError, match=message):
        make(writer)


def test_a_codec_of_another_package_is_asked_for_by_name() -> None:
    """The message says what is installed."""
    writer = AssetWriter("example")
    with pytest.raises(ValueError, match=r"`zip` is not installed \(there is: .*raw"):
        writer.encode("x", np.zeros(1, np.uint8), "zip")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (257,), (40, 3), (0, 15, 3), (5, 0), (3, 4, 5)])
def test_planes_keep_every_bit(dtype: str, shape: tuple[int, ...]) -> None:
    """NaN payloads, negative zero and infinities included."""
    from vq.asset import PlanesCodec

    random = np.random.default_rng(2)
    bits = random.integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8)
    array = np.ascontiguousarray(bits).view(dtype).reshape(shape)
    codec = PlanesCodec()
    found = codec.decode(codec.encode(array))
    assert found.shape == shape and found.dtype == array.dtype
    assert found.tobytes() == array.tobytes()


def test_planes_come_near_the_entropy_of_the_leading_bits() -> None:
    """Normal numbers of one scale: 23 random bits, a sign, and exponents of about 2 bits."""
    from vq.asset import PlanesCodec

    array = np.random.default_rng(3).normal(size=20_000).astype(np.float32)
    exponents = np.unique(np.frexp(array)[1], return_counts=True)[1] / array.size
    entropy = float(-(exponents * np.log2(exponents)).sum()) + 24
    assert 8 * len(PlanesCodec().encode(array)) / array.size < 1.01 * entropy
