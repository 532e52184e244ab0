"""Damaged, absurd and hostile asset files are refused with file, section and byte."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import damage, fuzzing
from benchmarks.asset_files import assemble, edited, example, section_bytes, split, with_section
from vq.asset import AssetError, AssetWriter, open_asset


def small() -> bytes:
    """A file of one section behind a gap."""
    writer = AssetWriter("a")
    writer.array("a", writer.encode("a", np.arange(5, dtype=np.uint8), "raw"))
    return writer.to_bytes()


def test_every_flipped_bit_is_noticed() -> None:
    """Magic, version, lengths, digests, header, gap and section: checksums cover every byte."""
    data = small()
    assert -struct.unpack_from("<I", data, 12)[0] % 8, "no gap to damage"
    for place in range(len(data)):
        for bit in range(8):
            broken = bytearray(data)
            broken[place] ^= 1 << bit
            with pytest.raises(AssetError):
                with open_asset(bytes(broken)) as asset:
                    asset.verify()


def test_every_truncation_and_extension_is_noticed() -> None:
    """Without being asked for, a prefix is an error; asked for, it gives nothing that it lacks."""
    data = small()
    for end in range(len(data)):
        with pytest.raises(AssetError):
            open_asset(data[:end])
    for end in range(32 + struct.unpack_from("<I", data, 12)[0], len(data)):
        assert not open_asset(data[:end], allow_prefix=True).available("a")
    for allow_prefix in (False, True):
        with pytest.raises(AssetError, match=f"byte {len(data)}: 3 bytes follow the end"):
            open_asset(data + b"abc", allow_prefix=allow_prefix)


def test_errors_name_file_section_and_byte(tmp_path: Path) -> None:
    """As text and as attributes."""
    data, _ = example()
    place = data.index(section_bytes(data)[4])
    path = tmp_path / "broken.fwa"
    path.write_bytes(data[: place + 3] + bytes([data[place + 3] ^ 1]) + data[place + 4 :])
    with open_asset(path) as asset:
        asset.array("features")
        with pytest.raises(AssetError) as caught:
            asset.verify()
    error = caught.value
    assert (error.file, error.section, error.offset) == (str(path), "note", place)
    assert str(error).startswith(f"{path}: section `note`, byte {place}: its digest is wrong")


def test_faults_inside_a_codec_are_placed_in_the_file() -> None:
    """The offset that the codec reports is counted from the start of the file."""
    data = with_section(small(), 0, b"\x00\x01" + struct.pack("<Q", 5) + b"1234")
    with pytest.raises(AssetError, match="5 values take 5 bytes, 4 are there") as caught:
        open_asset(data).array("a")
    assert caught.value.offset == data.index(section_bytes(data)[0]) + 10


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, b"\x88", "this is no .fwa file"),
        (8, b"\x02", "version 2 is unknown"),
        (12, b"\xff\xff\xff\xff", "a header of 4294967295 bytes"),
        (16, b"\xff" * 7, "only .* are there"),
        (24, b"\0" * 8, "digest is wrong"),
    ],
)
def test_a_damaged_prologue_is_named(place: int, value: bytes, message: str) -> None:
    """Each field of the first 32 bytes."""
    data = small()
    with pytest.raises(AssetError, match=message):
        open_asset(data[:place] + value + data[place + len(value) :])


def replaced(*path: Any, by: Any) -> Callable[[dict[str, Any]], None]:
    """An edit that replaces one value of a header."""

    def edit(header: Any) -> None:
        for key in path[:-1]:
            header = header[key]
        header[path[-1]] = by

    return edit


LEAF = {"codec": "raw", "section": "noise", "dtype": "float64", "shape": [5, 7]}
DEEP: Any = LEAF
for _ in range(60):
    DEEP = {"op": "sum", "inputs": [DEEP]}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (replaced("more", by=1), "the header must hold"),
        (lambda header: header.pop("frame"), "the header must hold"),
        (replaced("kind", by=5), "`kind` must be a name"),
        (replaced("kind", by="../etc"), "`kind` must be a name"),
        (replaced("frame", by=[]), "`frame` must be an object"),
        (replaced("sections", by={}), "`sections` must be a list"),
        (replaced("sections", by=[{"name": "a"}]), "holds name, bytes and digest"),
        (replaced("sections", 0, "name", by="note"), "section `note` is listed twice"),
        (replaced("sections", 0, "bytes", by=-1), "`bytes` of `points` must be"),
        (replaced("sections", 0, "bytes", by=True), "`bytes` of `points` must be"),
        (replaced("sections", 0, "bytes", by=1.0), "`bytes` of `points` must be"),
        (replaced("sections", 0, "bytes", by=1 << 60), "the prologue says"),
        (replaced("sections", 0, "digest", by="00"), "16 hexadecimal digits"),
        (replaced("arrays", by=[]), "`arrays` must be an object"),
        (replaced("arrays", "a b", by=LEAF), "`arrays` must be a name"),
        (replaced("arrays", "noise", by="raw"), "a node must be an object"),
        (replaced("arrays", "noise", "section", by="elsewhere"), "which is not there"),
        (replaced("arrays", "noise", "extra", by=1), "a coded section has the fields"),
        (replaced("arrays", "noise", "dtype", by="object"), "`dtype` must be one of"),
        (replaced("arrays", "noise", "shape", by=5), "`shape` must list"),
        (replaced("arrays", "noise", "shape", by=[-1]), "lengths from 0"),
        (replaced("arrays", "noise", "shape", by=[0, 1 << 40, 1 << 40]), "more than 2"),
        (replaced("arrays", "noise", "shape", by=[1] * 9), "at most 8 lengths"),
        (replaced("arrays", "noise", "shape", by=[7, 5]), "it holds float64.5, 7., the header"),
        (replaced("arrays", "noise", "dtype", by="int64"), "it holds float64"),
        (replaced("arrays", "noise", "codec", by="planes"), "codec `planes`"),
        (replaced("arrays", "noise", "codec", by="pickle"), "`pickle` is not installed"),
        (replaced("arrays", "more", by={**LEAF, "shape": [35]}), "in two different ways"),
        (replaced("arrays", "first", "op", by="eval"), "`op` must be one of"),
        (replaced("arrays", "first", "op", by=["sum"]), "`op` must be one of"),
        (replaced("arrays", "first", "stop", by=4), "exceed"),
        (replaced("arrays", "first", "stop", by=1.0), "must be integers"),
        (replaced("arrays", "first", "inputs", by=[LEAF, LEAF]), "takes 1 to 1 inputs, got 2"),
        (replaced("arrays", "first", "inputs", by=None), "`inputs` must be a list"),
        (replaced("arrays", "means", "step", by=[]), "`step` must be a list"),
        (replaced("arrays", "means", "step", by=["1"]), "`step` must be a number"),
        (replaced("arrays", "means", "step", by=[10**400]), "`step` must be a number"),
        (replaced("arrays", "means", "origin", by=[1.0, 2.0]), "per column"),
        (replaced("arrays", "k", "most", by=17), "`most` must lie in"),
        (replaced("arrays", "k", "constant", by=0.5), "`constant` must be an integer"),
        (replaced("arrays", "k", "constant", by=1 << 41), "bounds must lie within"),
        (replaced("arrays", "k", "terms", by=5), "`terms` must list"),
        (replaced("arrays", "k", "terms", 0, by=[]), "a term has the fields"),
        (replaced("arrays", "k", "terms", 0, "factors", by=[1]), "must list pairs"),
        (replaced("arrays", "k", "terms", 0, "factors", by=[]), "must have 1 to 8 factors"),
        (replaced("arrays", "k", "terms", 0, "factors", by=[[0, 1]] * 9), "1 to 8 factors"),
        (replaced("arrays", "k", "terms", 0, "factors", by=[[3, 1]]), "does not have"),
        (replaced("arrays", "k", "terms", 0, "factors", by=[[-1, 1]]), "not be negative"),
        (replaced("arrays", "k", "terms", 0, "factors", by=[[0, 1 << 24]]), "factors must lie"),
        (replaced("arrays", "k", "terms", 0, "high", by=-(1 << 19)), "at most its `high`"),
        (replaced("arrays", "k", "inputs", by=[LEAF]), "`coarseness` takes int32"),
        (replaced("arrays", "shifted", "exponent", by=61), "must lie within 60"),
        (replaced("arrays", "shifted", "inputs", 0, by=LEAF), "`shift` takes float32"),
        (replaced("arrays", "deep", by=DEEP), "nested deeper"),
        (replaced("provenance", by={"text": "\ud800"}), "half a surrogate"),
        (replaced("provenance", by={"number": float("nan")}), "NaN, which is no JSON number"),
        (replaced("provenance", by={"number": float("inf")}), "Infinity, which is no JSON"),
    ],
)
def test_wrong_headers_are_named(edit: Callable[[dict[str, Any]], None], message: str) -> None:
    """Although their digests are right."""
    data = edited(example()[0], edit)
    with pytest.raises(AssetError, match=message):
        with open_asset(data) as asset:
            asset.arrays()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 100_000, "nested deeper"),
        (b"[" * 500 + b"]" * 500, "nested deeper"),
        (b"null", "must hold"),
        (b'{"kind":1,"kind":1}', "a key twice"),
        (b"1" * 5000, "no JSON"),
        (b"1e999", "beyond float64"),
        (b"x", "cut off"),
        (b"x\x9c nothing", "compressed header is damaged"),
        (zlib.compress(b"{}")[:-1], "cut off"),
        (zlib.compress(b"{}")[:-4] + b"\0\0\0\0", "compressed header is damaged"),
        (zlib.compress(b"{}") + b"x", "bytes follow"),
        (zlib.compress(b"{}"), "must hold"),
        (zlib.compress(b" " * (1 << 20) + b"{}"), "at most 1048576 are read"),
        (zlib.compress(b"0" * (1 << 28)), "at most 1048576 are read"),
    ],
)
def test_headers_that_are_no_json_are_refused(text: bytes, message: str) -> None:
    """With right digests and lengths."""
    with pytest.raises(AssetError, match=message):
        open_asset(assemble(text, []))


def test_counts_are_bounded() -> None:
    """Sections, arrays and nodes."""
    data = small()
    leaf = split(data)[0]["arrays"]["a"]
    entry = split(data)[0]["sections"][0]
    many = [{**entry, "name": str(i), "bytes": 0} for i in range(4097)]
    wide = {"op": "concatenate", "inputs": [leaf] * 256}
    for edit, message in [
        (replaced("sections", by=many), "at most 4096 entries"),
        (replaced("arrays", by={str(i): leaf for i in range(1025)}), "at most 1024 entries"),
        (replaced("arrays", by={str(i): wide for i in range(40)}), "exceed 8192 nodes"),
    ]:
        with pytest.raises(AssetError, match=message):
            open_asset(edited(data, edit))


def test_indices_outside_a_codebook_are_refused() -> None:
    """Both ends; the fault is placed at the indices."""
    data, _ = example()
    header = split(data)[0]
    place = next(i for i, entry in enumerate(header["sections"]) if entry["name"] == "indices")
    from vq.entropy.rans import RansCodec

    indices = np.full(40, 16, np.uint8)
    broken = with_section(data, place, RansCodec().encode(indices))
    with pytest.raises(AssetError, match=r"section `indices`.*outside \[0, 16\): 16 to 16"):
        open_asset(broken).array("features")


def test_absurd_word_counts_in_a_coded_section_are_refused() -> None:
    """Found by damage: lengths near 2^63 overflowed while they were added up."""
    data = edited(example()[0], lambda header: None)
    place = next(
        i for i, entry in enumerate(split(data)[0]["sections"]) if entry["name"] == "points"
    )
    payload = section_bytes(data)[place]
    huge = b"\xff" * 8 + b"\x7f"
    for at in range(3, len(payload)):
        broken = with_section(data, place, payload[:at] + huge + payload[at + 1 :])
        with pytest.raises(AssetError):
            open_asset(broken).array("means")


def test_no_name_in_a_file_becomes_a_path_or_code(tmp_path: Path) -> None:
    """Names are compared, never opened or imported."""
    for name in ("/etc/passwd", "..", "a\0b", "os:system", ""):
        data = edited(small(), replaced("arrays", "a", "codec", by=name))
        with pytest.raises(AssetError):
            open_asset(data).array("a")


def test_thousands_of_damaged_files_are_read_or_refused() -> None:
    """The full million is a benchmark: `fieldwright bench asset`."""
    report = fuzzing.fuzz("benchmarks.asset_fuzzing:target", 4000)
    assert report.failures == []
    assert report.cases == 4000 and report.outcomes["refused"] > 3000
    assert report.outcomes["other"] > 20, "damage never reached the codecs"
    assert report.peak_bytes < 100e6


def planted() -> fuzzing.Target:
    """A reader that gets everything wrong that one can."""
    import os

    def read(data: bytes) -> bytes:
        if b"a" not in data:
            os.abort()
        if b"b" not in data:
            while True:
                pass
        if b"c" not in data:
            raise IndexError("an accident")
        if b"d" not in data:
            raise ValueError("refused")
        return data[:5]

    return fuzzing.Target((b"abcde",), read, (ValueError,), checked=True)


def test_the_search_finds_planted_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Death, hang, foreign exception and undetected damage are all counted, and none ends it."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    target = planted()
    number = 60
    kinds = [kind_of(target, case) for case in range(number)]
    assert set(kinds) == {"crash", "hang", "refused", "same", "wrong"}
    first = [next(i for i, kind in enumerate(kinds) if kind == name) for name in ("hang", "crash")]
    stop = max(first) + 1
    report = fuzzing.fuzz("test_asset_damage:planted", stop, seconds_per_case=1.0)
    assert report.cases == stop
    assert [case for case, _ in report.failures] == [
        case for case in range(stop) if kinds[case] in ("crash", "hang", "wrong")
    ]


def kind_of(target: fuzzing.Target, case: int) -> str:
    """What `planted` does with a case."""
    data = fuzzing.mutant(target, case)[0]
    for letter, kind in ((b"a", "crash"), (b"b", "hang"), (b"c", "crash"), (b"d", "refused")):
        if letter not in data:
            return kind
    return "same" if data[:5] == b"abcde" else "wrong"


def test_cases_are_made_again_from_their_numbers() -> None:
    """A failure in a report can be looked at."""
    target = fuzzing.load_target("benchmarks.asset_fuzzing:target")
    found = [fuzzing.mutant(target, case) for case in range(200)]
    assert found == [fuzzing.mutant(target, case) for case in range(200)]
    assert len({data for data, _, _ in found}) > 150
    assert damage.damaged(b"", damage.case_random(0, 1), [b""]) is not None
