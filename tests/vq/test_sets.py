"""Coded sets: the same points come back, in one order, at the size that this allows."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import numpy as np
import pytest

from vq import sets
from vq.contract import CodecError
from vq.sets import codec, columns, container, neighbors, points
from vq.sets.coarsening import Coarsening, Term
from vq.sets.morton import morton_order

needs_native = pytest.mark.skipif(codec._native is None, reason="vq._native is not built")
PRESETS = ("small", "fast")

Columns = dict[str, np.ndarray]


def make_set(count: int, seed: int = 0) -> tuple[np.ndarray, Columns]:
    """Points near a plane with coinciding ones, and columns of several types."""
    rng = np.random.default_rng(seed)
    positions = rng.integers(-50, 50, (count, 3)).astype(np.int32)
    positions[:, 1] = positions[:, 0] // 2
    brightness = (positions[:, 0] + rng.integers(0, 20, count) + 100).astype(np.uint8)
    return positions, {
        "brightness": brightness,
        "signed": (rng.integers(-9, 9, count) - brightness.astype(int)).astype(np.int16),
        "same": np.full(count, -7, np.int64),
        "wide": rng.integers(0, 1 << 24, count).astype(np.uint32),
    }


def records(positions: np.ndarray, values: Columns) -> np.ndarray:
    """Rows of everything, in sorted order."""
    rows = np.column_stack([positions, *values.values()]).astype(np.int64)
    return rows[np.lexsort(rows.T)]


BY_ITSELF = Coarsening(5, 3 << 16, own=-700)
BY_OTHERS = Coarsening(6, 2 << 16, terms=(Term((("size", 1000),), low=-3 << 16),))
RULES = {"size": BY_ITSELF, "first": BY_OTHERS, "second": BY_OTHERS}


def make_coarse_set(count: int) -> tuple[np.ndarray, Columns]:
    """Columns that keep to `RULES`: k from 0 to their most."""
    rng = np.random.default_rng(2)
    positions = rng.integers(0, 60, (count, 3)).astype(np.int32)
    found: Columns = {}
    for name, rule in RULES.items():
        numbers = rng.integers(-900, 900, count) + 10 * positions[:, 0]
        known = {parent: found[parent].astype(np.int64) for parent in rule.parents}
        k = rule.coarseness(rule.base(known), numbers)
        found[name] = (np.rint(numbers / 2.0**k).astype(np.int64) << k).astype(np.int32)
    return positions, found


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("count", [0, 1, 2, 13, 500])
def test_coarse_columns_come_back(preset: str, count: int) -> None:
    positions, values = make_coarse_set(count)
    data = sets.encode(positions, values, coarsenings=RULES, preset=preset)
    found, columns_found = sets.decode(data)
    np.testing.assert_array_equal(records(found, columns_found), records(positions, values))
    assert sets.coarsenings(data) == RULES
    assert sets.encode(found, columns_found, coarsenings=RULES, preset=preset) == data


@pytest.mark.parametrize("preset", PRESETS)
def test_zeros_that_are_known_cost_nothing(preset: str) -> None:
    """Columns cost what they hold in their steps, and less than without the rules."""
    positions, values = make_coarse_set(3000)
    told = sets.breakdown(sets.encode(positions, values, coarsenings=RULES, preset=preset))
    untold = sets.breakdown(sets.encode(positions, values, preset=preset))
    k = BY_OTHERS.coarseness(BY_OTHERS.base({"size": values["size"].astype(np.int64)}), 0)
    for name in ("first", "second"):
        assert told[name] < 0.95 * untold[name]
        # Numbers that span 2400, in steps of 2^k.
        assert 8 * told[name] / 3000 < np.log2(2400) - k.mean() + 0.5


def test_rules_that_columns_break_are_refused() -> None:
    positions, values = make_coarse_set(40)

    def encode(name: str, rule: Coarsening, **changed: np.ndarray) -> bytes:
        return sets.encode(positions, values | changed, coarsenings={**RULES, name: rule})

    with pytest.raises(ValueError, match=r"`columns\['first'\]` must hold multiples of 2\^k"):
        encode("first", BY_OTHERS, first=values["first"] + 1)
    with pytest.raises(ValueError, match=r"`coarsenings\['size'\]` must name earlier columns"):
        encode("size", BY_OTHERS)
    with pytest.raises(ValueError, match="of at most 32 bits"):
        encode("first", BY_OTHERS, size=values["size"].astype(np.int64))
    for wrong, message in (
        (Coarsening(17, 0), "`most` must lie"),
        (Coarsening(3, 0, own=1 << 24), "factors must lie"),
        (Coarsening(3, 1 << 40), "bounds must lie"),
        (Coarsening(3, 0, terms=(Term(()),)), "1 to 8 factors"),
        (Coarsening(3, 0, terms=(Term((("size", 1),), low=2, high=1),)), "`low` must be at most"),
    ):
        with pytest.raises(ValueError, match=message):
            encode("first", wrong)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("count", [0, 1, 2, 13, 500])
def test_the_same_records_come_back(preset: str, count: int) -> None:
    positions, values = make_set(count)
    data = sets.encode(positions, values, preset=preset)
    found, columns_found = sets.decode(data)
    assert found.dtype == positions.dtype
    assert {k: v.dtype for k, v in columns_found.items()} == {k: v.dtype for k, v in values.items()}
    np.testing.assert_array_equal(records(found, columns_found), records(positions, values))
    np.testing.assert_array_equal(morton_order(found - found.min(0, initial=50)), np.arange(count))
    assert sets.encode(found, columns_found, preset=preset) == data


@pytest.mark.parametrize("preset", PRESETS)
def test_the_order_of_the_points_does_not_matter(preset: str) -> None:
    positions, values = make_set(300)
    positions[::3] = positions[0]
    shuffled = np.random.default_rng(1).permutation(300)
    assert sets.encode(positions, values, preset=preset) == sets.encode(
        positions[shuffled], {k: v[shuffled] for k, v in values.items()}, preset=preset
    )


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("span", [1, 1 << 20, (1 << 20) + 1, 1 << 42])
def test_every_span_of_positions(preset: str, span: int) -> None:
    rng = np.random.default_rng(0)
    positions = rng.integers(0, span, (50, 3)) - span // 2
    positions[0], positions[1] = -(span // 2), span - 1 - span // 2
    values = {"value": rng.integers(0, 9, 50)}
    found, columns_found = sets.decode(sets.encode(positions, values, preset=preset))
    np.testing.assert_array_equal(records(found, columns_found), records(positions, values))


@needs_native
@pytest.mark.parametrize("preset", PRESETS)
def test_bytes_do_not_depend_on_kernels_or_threads(
    preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "BLOCK_POINTS", 20)
    positions, values = make_set(50)
    del values["wide"]
    coarse_positions, coarse = make_coarse_set(50)
    threads = codec._native.num_threads()
    try:
        for count in (1, 3):
            codec._native.set_num_threads(count)
            data = sets.encode(positions, values, preset=preset)
            found = sets.decode(data)
            coarse_data = sets.encode(coarse_positions, coarse, coarsenings=RULES, preset=preset)
            for module in (codec, columns, neighbors, points):
                monkeypatch.setattr(module, "_native", None)
            assert sets.encode(positions, values, preset=preset) == data
            np.testing.assert_array_equal(records(*sets.decode(data)), records(*found))
            again = sets.encode(coarse_positions, coarse, coarsenings=RULES, preset=preset)
            assert again == coarse_data
            back = records(*sets.decode(coarse_data))
            np.testing.assert_array_equal(back, records(coarse_positions, coarse))
            monkeypatch.undo()
            monkeypatch.setattr(container, "BLOCK_POINTS", 20)
    finally:
        codec._native.set_num_threads(threads)


@needs_native
@pytest.mark.parametrize("preset", PRESETS)
def test_uniform_points_get_the_refund_of_their_order(preset: str) -> None:
    count = 100_000
    uniform = np.random.default_rng(0).integers(0, 1 << 16, (count, 3)).astype(np.uint16)
    bits = 8 * len(sets.encode(uniform, {}, preset=preset)) / count
    order = math.lgamma(count + 1) / math.log(2) / count
    assert 48 - bits >= 0.99 * order
    assert bits >= 48 - order


def test_breakdown_accounts_for_every_byte() -> None:
    positions, values = make_set(400)
    data = sets.encode(positions, values)
    cost = sets.breakdown(data)
    assert sum(cost.values()) == len(data)
    assert set(cost) == {"", "positions", *values}
    assert cost["same"] == 0
    assert cost["wide"] >= 3 * 400


def test_parents_make_dependent_columns_cheap() -> None:
    rng = np.random.default_rng(0)
    positions = rng.integers(0, 100, (1000, 3))
    first = rng.integers(0, 256, 1000)
    values = {"first": first, "other": rng.integers(0, 256, 1000), "copy": first // 2}
    told = sets.breakdown(sets.encode(positions, values, parents={"copy": ["other", "first"]}))
    untold = sets.breakdown(sets.encode(positions, values, parents={"copy": []}))
    assert told["copy"] < 0.5 * untold["copy"]


def test_unfit_arguments_are_refused() -> None:
    positions, values = make_set(10)
    with pytest.raises(
        ValueError, match="`positions` must hold integers of 8 to 64 bits, got float"
    ):
        sets.encode(positions.astype(float), values)
    with pytest.raises(ValueError, match=r"`columns\['x'\]` must span less than 2\^24.*split it"):
        sets.encode(positions, {"x": np.arange(10) << 21})
    with pytest.raises(ValueError, match=r"must be \[10\] arrays with names, got 'x': \(9,\)"):
        sets.encode(positions, {"x": np.arange(9)})
    with pytest.raises(ValueError, match=r"`parents\['same'\]` must name up to 16 of the earlier"):
        sets.encode(positions, values, parents={"same": ["wide"]})
    with pytest.raises(ValueError, match="`preset` must be one of fast, small, got 'best'"):
        sets.encode(positions, values, preset="best")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("coarse", [False, True])
def test_damage_raises_and_never_crashes(preset: str, coarse: bool) -> None:
    positions, values = make_coarse_set(25) if coarse else make_set(25)
    rules = RULES if coarse else None
    whole = sets.encode(positions, values, coarsenings=rules, preset=preset)
    rng = np.random.default_rng(0)
    outcomes = {True: 0, False: 0}
    for _ in range(300):
        body = bytearray(whole[:-4])
        for _ in range(rng.integers(1, 4)):
            body[rng.integers(4, len(body))] = rng.integers(0, 256)
        if rng.random() < 0.3:
            del body[rng.integers(4, len(body)) :]
        data = bytes(body) + zlib.crc32(body).to_bytes(4, "little")
        try:
            found, columns_found = sets.decode(data, max_items=10_000)
            assert found.size + sum(v.size for v in columns_found.values()) <= 10_000
            outcomes[True] += 1
        except CodecError as error:
            assert 0 <= error.offset <= len(data)
            outcomes[False] += 1
    assert outcomes[False] > 0
    for end in range(len(whole)):
        with pytest.raises(CodecError):
            sets.decode(whole[:end])
    altered = bytearray(whole)
    altered[20] ^= 1
    with pytest.raises(CodecError, match="checksum"):
        sets.decode(bytes(altered))


def test_claims_are_checked_before_memory_is_taken() -> None:
    data = sets.encode(*make_set(1000))
    with pytest.raises(CodecError, match="exceed the limit of 6,999 values"):
        sets.decode(data, max_items=6_999)
    assert len(sets.decode(data, max_items=7_000)[0]) == 1000


@needs_native
@pytest.mark.slow
def test_a_real_scene_shrinks_below_its_file(shared_data: Path) -> None:
    from splats.formats.spz import read_packed

    path = shared_data / "splats" / "biker" / "biker.spz"
    packed = read_packed(path)
    values = {f"scale{axis}": packed.scales[:, axis] for axis in range(3)}
    values |= {"alpha": packed.alphas}
    values |= {name: packed.colors[:, channel] for name, channel in (("g", 1), ("b", 2), ("r", 0))}
    data = sets.encode(packed.positions, values)
    # The file itself spends 86.3 bits per Gaussian on these. Measured: 50.97.
    assert 8 * len(data) / len(packed) < 51.1
    np.testing.assert_array_equal(records(*sets.decode(data)), records(packed.positions, values))


@pytest.mark.parametrize("version", [0, 1, 2, 5])
def test_other_versions_are_refused(version: int) -> None:
    data = bytearray(sets.encode(*make_set(20)))
    assert data[4] == 3
    data[4] = version
    data[-4:] = zlib.crc32(data[:-4]).to_bytes(4, "little")
    with pytest.raises(CodecError, match=f"version {version}, "):
        sets.decode(bytes(data))
