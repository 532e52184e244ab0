"""What every codec of integers promises: exact round trips, and refusal of anything else."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vq import Codec, CodecError
from vq.entropy import AdaptiveCodec, PcodecCodec, RansCodec

INTEGERS = ("bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")
QUIET = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(params=["rans", "adaptive", "pcodec"])
def codec(request: pytest.FixtureRequest) -> Codec:
    if request.param == "pcodec":
        pytest.importorskip("pcodec")
    return {"rans": RansCodec, "adaptive": AdaptiveCodec, "pcodec": PcodecCodec}[request.param]()


def arrays() -> st.SearchStrategy[np.ndarray]:
    """Integer arrays of every type, up to three dimensions, empty ones included."""

    def of_type(name: str) -> st.SearchStrategy[np.ndarray]:
        shape = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=40)
        elements = None
        if np.dtype(name).itemsize == 8:
            low = 0 if name.startswith("u") else -(1 << 60)
            elements = st.integers(low, 1 << 60)
        return hnp.arrays(np.dtype(name), shape, elements=elements)

    return st.sampled_from(INTEGERS).flatmap(of_type)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())


@QUIET
@given(array=arrays())
def test_round_trip(codec: Codec, array: np.ndarray) -> None:
    assert same(codec.decode(codec.encode(array)), array)


@pytest.mark.parametrize("dtype", [name for name in INTEGERS if name != "bool"])
def test_extreme_values(codec: Codec, dtype: str) -> None:
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -(1 << 60)), min(limits.max, 1 << 60)
    array = np.array([low, high, 0, high, low, 1] * 50, dtype)
    assert same(codec.decode(codec.encode(array)), array)


def test_refuses_more_items_than_allowed(codec: Codec) -> None:
    data = codec.encode(np.arange(100, dtype=np.int32))
    with pytest.raises(CodecError, match="limit of 99 items"):
        codec.decode(data, max_items=99)
    assert codec.decode(data, max_items=100).shape == (100,)


def test_refuses_absurd_claims_before_allocating(codec: Codec) -> None:
    # A constant array of 2^32 items takes a few bytes; the limit alone stops it.
    data = bytearray(codec.encode(np.zeros(100, np.int32)))
    at = data.index(100)
    data[at : at + 1] = bytes([0x80, 0x80, 0x80, 0x80, 0x10])
    with pytest.raises(CodecError, match="limit"):
        codec.decode(bytes(data), max_items=1 << 20)


def damaged(data: bytes, draw: st.DataObject) -> bytes:
    """`data` with a few changed, dropped, doubled or appended bytes."""
    out = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.integers(0, max(0, len(out) - 1)))
        kind = draw.draw(st.sampled_from(["set", "flip", "cut", "drop", "insert", "append"]))
        if kind == "append" or not out:
            out += draw.draw(st.binary(min_size=1, max_size=40))
        elif kind == "set":
            out[at] = draw.draw(st.integers(0, 255))
        elif kind == "flip":
            out[at] ^= 1 << draw.draw(st.integers(0, 7))
        elif kind == "cut":
            del out[at:]
        elif kind == "drop":
            del out[at : at + draw.draw(st.integers(1, 8))]
        else:
            out[at:at] = draw.draw(st.binary(min_size=1, max_size=8))
    return bytes(out)


@cache
def samples() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [
        np.rint(rng.normal(0, 3, 700)).astype(np.int16),
        np.rint(rng.normal(0, 2000, (300, 3))).astype(np.int32),
        np.rint(rng.normal(0, 4, 5000) * np.repeat([1, 9], 2500)).astype(np.int8),
        np.zeros((4, 5), np.uint8),
        rng.integers(0, 2, 5000).astype(bool),
    ]


@cache
def encoded(name: str, index: int) -> bytes:
    codec = {"rans": RansCodec, "adaptive": AdaptiveCodec}[name]()
    return codec.encode(samples()[index])


@settings(QUIET, max_examples=200)
@given(draw=st.data())
@pytest.mark.parametrize("name", ["rans", "adaptive"])
def test_damage_is_refused_or_decodes_to_something_of_the_claimed_size(
    name: str, draw: st.DataObject
) -> None:
    data = damaged(encoded(name, draw.draw(st.integers(0, len(samples()) - 1))), draw)
    codec = {"rans": RansCodec, "adaptive": AdaptiveCodec}[name]()
    try:
        decoded = codec.decode(data, max_items=1 << 17)
    except CodecError as error:
        assert 0 <= error.offset <= len(data) + 8
    else:
        assert decoded.size <= 1 << 17


def test_every_truncation_is_refused(codec: Codec) -> None:
    for array in samples()[:3]:
        data = codec.encode(array)
        for length in range(0, len(data), max(1, len(data) // 60)):
            with pytest.raises(CodecError):
                codec.decode(data[:length])


def test_appended_bytes_are_refused(codec: Codec) -> None:
    for array in samples():
        with pytest.raises(CodecError):
            codec.decode(codec.encode(array) + b"\0")


@pytest.mark.parametrize("codec", [RansCodec(), AdaptiveCodec()], ids=["rans", "adaptive"])
def test_refuses_what_is_not_an_array_of_integers(codec: Codec) -> None:
    with pytest.raises(ValueError, match="integers"):
        codec.encode(np.zeros(3))
    with pytest.raises(ValueError, match="2\\^60"):
        codec.encode(np.array([1 << 61]))
    with pytest.raises(ValueError, match="dimensions"):
        codec.encode(np.zeros((1,) * 9, np.int8))


def test_adaptive_beats_static_where_statistics_drift() -> None:
    rng = np.random.default_rng(0)
    scale = 3 * np.exp(2 * np.sin(np.arange(100_000) / 5000))
    array = np.rint(rng.normal(size=100_000) * scale).astype(np.int32)
    adaptive, static = (len(c.encode(array)) for c in (AdaptiveCodec(), RansCodec()))
    # Bits of the Gaussians that drew the items.
    ideal = float(np.log2(scale * np.sqrt(2 * np.pi * np.e)).clip(0.05).mean() * 100_000 / 8)
    assert adaptive < 0.86 * static
    assert adaptive < 1.03 * ideal


def test_pcodec_keeps_floats() -> None:
    pytest.importorskip("pcodec")
    array = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    codec = PcodecCodec()
    assert codec.decode(codec.encode(array)).tobytes() == array.tobytes()
