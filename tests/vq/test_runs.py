"""The run-length codec."""

from __future__ import annotations

import numpy as np
import pytest

from vq.contract import CodecError
from vq.entropy.runs import DTYPES, RunLengthCodec


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, 2, 5000])
def test_round_trip(count: int, dtype: np.dtype) -> None:
    limits = np.iinfo(dtype)
    generator = np.random.default_rng(count)
    values = generator.integers(limits.min, limits.max, count, dtype, endpoint=True)
    for array in (values, np.sort(values), np.repeat(values[: count // 50], 50)):
        found = RunLengthCodec().decode(RunLengthCodec().encode(array))
        assert found.dtype == dtype and np.array_equal(found, array)


def test_sorted_codes_cost_little_more_than_their_counts() -> None:
    """Of N draws from K codes the counts hold about K log2(e N / K) bits."""
    codes = np.sort(np.random.default_rng(0).integers(0, 4096, 40_000)).astype(np.uint16)
    bits = 8 * len(RunLengthCodec().encode(codes))
    assert bits < 1.05 * 4096 * np.log2(np.e * 40_000 / 4096)  # 12 bits each would be 480,000


def test_damage_gives_other_values_or_an_error_of_the_codec() -> None:
    codec = RunLengthCodec()
    data = codec.encode(np.sort(np.random.default_rng(0).integers(0, 99, 2000)).astype(np.int32))
    for cut in range(len(data)):
        with pytest.raises(CodecError):
            codec.decode(data[:cut])
    for place in range(len(data)):
        broken = bytearray(data)
        broken[place] ^= 0x10
        try:
            codec.decode(bytes(broken), max_items=1 << 16)
        except CodecError:
            pass


def test_too_many_items_are_refused() -> None:
    data = RunLengthCodec().encode(np.zeros(1000, np.uint8))
    with pytest.raises(CodecError, match="possible length"):
        RunLengthCodec().decode(data, max_items=999)
    with pytest.raises(ValueError, match="`array` must have one dimension"):
        RunLengthCodec().encode(np.zeros((2, 2), np.uint8))
