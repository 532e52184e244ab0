"""Static rANS: close to the entropy, and the same bytes from every engine."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from vq.entropy import lanes, order0_bits, rans
from vq.entropy.bits import BitReader, BitWriter, read_varint, write_varint
from vq.entropy.tables import FrequencyTable, fit
from vq.entropy.tokens import (
    alphabet_of,
    far_values,
    outside_tokens,
    pack_raw,
    to_tokens,
    unpack_raw,
)


def gaussian(sigma: float, count: int, seed: int = 0) -> np.ndarray:
    return np.rint(np.random.default_rng(seed).normal(0, sigma, count)).astype(np.int32)


@pytest.mark.parametrize("sigma", [0.5, 2, 8, 32])
def test_large_arrays_take_their_entropy(sigma: float) -> None:
    symbols = gaussian(sigma, 1_000_000)
    # 0.05 to 0.09 % observed.
    assert 8 * len(rans.encode(symbols)) <= 1.001 * order0_bits(symbols)


@pytest.mark.parametrize("sigma", [0.5, 2, 8, 32])
def test_small_arrays_pay_little_for_their_table(sigma: float) -> None:
    symbols = gaussian(sigma, 1000)
    # The entropy of the source that drew them, which no code can beat on average.
    levels = np.arange(-400, 401)
    shares = np.exp(-0.5 * (levels / sigma) ** 2)
    shares /= shares.sum()
    source = -1000 * np.log2(np.maximum(shares, 1e-300))[symbols + 400].mean()
    # 16 to 19 bytes observed: header, state and table.
    assert len(rans.encode(symbols)) <= source / 8 + 24


def test_real_symbols_take_their_entropy(real_harmonics: NDArray[np.uint8]) -> None:
    coded = len(rans.encode(real_harmonics, columns=True))
    entropy = sum(order0_bits(column) for column in real_harmonics.T)
    assert 8 * coded <= 1.005 * entropy


SOURCES = {
    "gaussian": gaussian(3, 200_001),
    "columns": np.random.default_rng(1).integers(0, [2, 300, 7], (30_011, 3)).astype(np.uint16),
    "far": (np.random.default_rng(2).normal(size=70_000) ** 9 * 1e4).astype(np.int64),
    "sparse": np.random.default_rng(3).choice([0, 1000, 30_000], 5000).astype(np.int32),
    "short": np.array([3, 1, 4, 1, 5, 9, 2, 6], np.uint8),
    "two blocks": gaussian(1, lanes.BLOCK_TOKENS + 17).astype(np.int8),
}


@pytest.mark.parametrize("name", SOURCES)
def test_engines_write_and_read_the_same_bytes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if lanes._native is None:
        pytest.skip("the native module was not built")
    native, symbols = lanes._native, SOURCES[name]
    columns = symbols.ndim == 2
    data = rans.encode(symbols, columns=columns)
    try:
        for isa in ("portable", "avx2", "avx512"):
            try:
                native.set_isa(isa)
            except ValueError:
                continue
            assert rans.encode(symbols, columns=columns) == data, isa
            assert (rans.decode(data) == symbols).all(), isa
        native.set_isa("auto")
        for threads in (1, 3):
            native.set_num_threads(threads)
            assert rans.encode(symbols, columns=columns) == data
            assert (rans.decode(data) == symbols).all()
    finally:
        native.set_isa("auto")
        native.set_num_threads(0)
    if symbols.size < 300_000:
        monkeypatch.setattr(lanes, "_native", None)
        assert rans.encode(symbols, columns=columns) == data
        assert (rans.decode(data) == symbols).all()


def test_old_files_stay_readable() -> None:
    # Written by the first version: two columns with classes, one of them sparse.
    data = bytes.fromhex(
        "8104023c02aef3e4030423a67001021d0a800424b9e09603ec05ff0c5d19325d2967edcd1c71dda440dbbec1f130"
        "6c1e37babda523bd4e6775dee499773568093606ce78da4b3af3be57ad2a5160a8311cb0bdf9e3913543a4107654"
        "9ef2f3a4f502"
    )
    expected = (np.arange(120) ** 3 * 7 % 1009 % 23 - 4).astype(np.int16).reshape(60, 2)
    expected[7, 0], expected[9, 0] = 900, -70
    assert (rans.decode(data) == expected).all()


def test_a_constant_takes_a_few_bytes() -> None:
    assert len(rans.encode(np.full((1000, 1000), 7, np.int32))) <= 10


def test_hidden_frequencies_do_not_survive_in_columns() -> None:
    # One column of noise must not raise the price of a constant one.
    rng = np.random.default_rng(0)
    both = np.stack([np.zeros(20_000, np.int32), rng.integers(0, 256, 20_000, np.int32)], 1)
    assert len(rans.encode(both, columns=True)) < 20_000 * 1.005 + 60


@pytest.mark.parametrize("count", [2, 3, 17, 300, 5000])
def test_tables_read_back_and_add_up(count: int) -> None:
    rng = np.random.default_rng(count)
    middle = np.arange(count) - count / 2
    histograms = [
        rng.integers(1, 1000, count),
        rng.poisson(0.3, count) + (np.arange(count) < 2),
        1e6 * np.exp(-0.5 * (6 * middle / count) ** 2),
    ]
    for counts in [histogram.astype(np.int64) for histogram in histograms]:
        table, bits = fit(counts)
        writer = BitWriter()
        table.write(writer)
        items = int(counts.sum())
        back = FrequencyTable.read(BitReader(writer.to_bytes(), 0), count, items)
        frequencies = table.frequencies()
        assert (back.frequencies() == frequencies).all() and back.precision == table.precision
        assert frequencies.sum() == 1 << table.precision
        assert (frequencies[counts > 0] > 0).all()
        cost = (counts * -np.log2(np.maximum(frequencies, 1) / (1 << table.precision))).sum()
        assert cost <= bits


def test_classes_invert() -> None:
    values = np.concatenate([-(2 ** np.arange(60)), np.arange(-70, 90), 2 ** np.arange(60)])
    alphabet = alphabet_of(int(values.min()), int(values.max()), -3, 10)
    tokens, far = to_tokens(values, alphabet)
    outside = outside_tokens(tokens, alphabet)
    widths = alphabet.raw_bits[tokens[outside]]
    raw = unpack_raw(pack_raw(far + np.uint64(4), widths), widths)
    assert (far_values(tokens[outside], alphabet, raw) == values[outside]).all()
    inside = np.setdiff1d(np.arange(len(values)), outside)
    assert (values[inside] >= -3).all() and (values[inside] < 7).all()
    # Tokens are numbered in the order of the values.
    order = np.argsort(values)
    assert (np.diff(tokens[order].astype(int)) >= 0).all()


def test_whole_numbers_read_back() -> None:
    for number in (0, 1, 127, 128, 300, 2**40, 2**63 - 1):
        data = write_varint(number)
        assert read_varint(data, 0) == (number, len(data))
        writer = BitWriter()
        writer.golomb(number, 3)
        writer.rice(number % 1000, 2)
        reader = BitReader(writer.to_bytes(), 0)
        assert (reader.golomb(3), reader.rice(2)) == (number, number % 1000)
