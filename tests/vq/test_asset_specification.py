"""The page docs/asset-format.md says enough to read a file, and names what there is."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import tomllib
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.asset_files import header_text
from vq.asset import (
    AssetWriter,
    add,
    coarseness,
    columns,
    concatenate,
    constant,
    gather,
    linear,
    open_asset,
    reshape,
    scale,
    shift,
    stack,
)
from vq.asset.operations import OPERATIONS
from vq.sets.coarsening import Coarsening, Term

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PAGE = (REPOSITORY / "docs" / "asset-format.md").read_text()


def read_by_the_page(data: bytes) -> dict[str, NDArray[Any]]:
    """All arrays of a file whose sections are `raw`, from the words of the page alone."""
    assert data[:8] == bytes.fromhex("89 46 57 41 0D 0A 1A 0A")
    version, header_bytes, file_bytes = struct.unpack_from("<IIQ", data, 8)
    assert version == 1 and file_bytes == len(data)
    text = data[32 : 32 + header_bytes]
    assert data[24:32] == hashlib.blake2b(data[:24] + text, digest_size=8).digest()
    header = json.loads(zlib.decompress(text) if text[:1] == b"x" else text)
    sections, end = {}, 32 + header_bytes
    for entry in header["sections"]:
        start = math.ceil(end / 8) * 8
        assert not any(data[end:start])
        end = start + entry["bytes"]
        sections[entry["name"]] = data[start:end]
        assert hashlib.blake2b(data[start:end], digest_size=8).hexdigest() == entry["digest"]
    assert end == len(data)
    return {name: evaluate(node, sections) for name, node in header["arrays"].items()}


def evaluate(node: dict[str, Any], sections: dict[str, bytes]) -> NDArray[Any]:
    """The array of a node."""
    if "codec" in node:
        assert node["codec"] == "raw"
        payload = sections[node["section"]]
        size = math.prod(node["shape"]) * np.dtype(node["dtype"]).itemsize
        flat = np.frombuffer(payload[len(payload) - size :], node["dtype"])
        return flat.reshape(node["shape"])
    inputs = [evaluate(item, sections) for item in node.get("inputs", [])]
    match node["op"]:
        case "constant":
            return np.full(node["shape"], node["value"], node["dtype"])
        case "scale":
            step, origin = np.array(node["step"]), np.array(node["origin"])
            return (step * inputs[0].astype(np.float64) + origin).astype(np.float32)
        case "linear":
            product = inputs[0].astype(np.int64) @ inputs[1].astype(np.int64)
            values = node["step"] * product.astype(np.float64) + np.array(node["origin"])
            return values.astype(np.float32)
        case "gather":
            return inputs[0][inputs[1]]
        case "sum":
            total = inputs[0]
            for stage in inputs[1:]:
                total = total + stage
            return total
        case "stack":
            return np.concatenate(inputs, axis=0)
        case "columns":
            return inputs[0][..., node["start"] : node["stop"]]
        case "concatenate":
            return np.concatenate(inputs, axis=-1)
        case "reshape":
            return inputs[0].reshape(node["shape"])
        case "coarseness":
            total = np.full(len(inputs[0]), node["constant"], np.int64)
            for term in node["terms"]:
                found = sum(f * inputs[0][:, c].astype(np.int64) for c, f in term["factors"])
                total += np.clip(found, term["low"], term["high"])
            return np.clip(total // 65536, 0, node["most"]).astype(np.uint8)
        case "shift":
            factors = 2.0 ** (inputs[1].astype(int) + node["exponent"])
            return (inputs[0] * factors[:, None]).astype(np.float32)
    raise AssertionError(node)


def test_a_reader_made_from_the_page_agrees() -> None:
    """Every operation, to the last bit."""
    random = np.random.default_rng(4)
    writer = AssetWriter("example", frame={"axes": "RDF"})
    integers = writer.encode("integers", random.integers(-999, 999, (30, 4), np.int32), "raw")
    rows = writer.encode("rows", random.integers(-99, 99, (4, 6), np.int16), "raw")
    floats = writer.encode("floats", random.normal(size=(30, 4)).astype(np.float32), "raw")
    indices = writer.encode("indices", random.integers(0, 30, (5,), np.uint8), "raw")
    scaled = scale(integers, step=[0.1, 0.2, 0.3, 0.4], origin=[1 / 3])
    writer.array("sum", add(scaled, floats, floats))
    writer.array("linear", linear(integers, rows, step=0.1, origin=[0.7]))
    writer.array("gather", gather(floats, indices))
    wide = concatenate(columns(floats, 1, 4), constant(0.5, "float32", (30, 1)))
    writer.array("layers", stack(floats, wide, floats))
    writer.array("wide", reshape(wide, (3, 40)))
    terms = (Term((("1", 90), ("3", -70)), low=-60_000, high=50_000), Term((("0", 200),)))
    k = coarseness(integers, Coarsening(4, 1 << 17, 0, terms))
    writer.array("k", k)
    writer.array("shifted", shift(floats, k, exponent=-3))
    data = writer.to_bytes()
    expected = read_by_the_page(data)
    text = header_text(data).decode()
    used = {name for name in OPERATIONS if f'"op":"{name}"' in text}
    assert used == set(OPERATIONS)
    for name, array in open_asset(data).arrays().items():
        assert array.dtype == expected[name].dtype and array.shape == expected[name].shape
        assert array.tobytes() == expected[name].tobytes(), name


@pytest.mark.parametrize("name", [*OPERATIONS, "prefix", "max_bytes"])
def test_operations_are_on_the_page(name: str) -> None:
    """By their names in files."""
    assert f"`{name}`" in PAGE or name in PAGE.lower()


def test_codecs_are_on_the_page() -> None:
    """Every one that the project registers, and no other."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    table = PAGE.split("## Codecs")[1].split("## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {word.strip(" `") for row in rows for word in row.split(",")}
    assert named == set(project["entry-points"]["fieldwright.codecs"])
