"""The arithmetic coder and the coders built on it: native and Python give the same bytes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vq.sets import columns, morton, neighbors, points
from vq.sets.columns import ColumnContext, decode_column, encode_column, fit_weights
from vq.sets.mixing import LOGIT_MAX, BinaryDecoder, BinaryEncoder, ContextModel, tables

needs_native = pytest.mark.skipif(points._native is None, reason="vq._native is not built")


def surface(count: int, bits: int, seed: int = 0) -> np.ndarray:
    """Points near a tilted plane, in Morton order, some of them coinciding."""
    rng = np.random.default_rng(seed)
    lattice = rng.integers(0, 1 << bits, (count, 3))
    lattice[:, 2] = (lattice[:, 0] + lattice[:, 1]) // 2 + rng.integers(0, 2, count)
    lattice[: count // 10] = lattice[count // 10 : 2 * (count // 10)]
    lattice = np.minimum(lattice, (1 << bits) - 1).astype(np.uint32)
    return lattice[morton.morton_order(lattice)]


def column(lattice: np.ndarray, bits: int, num_parents: int) -> tuple[ColumnContext, np.ndarray]:
    """Values that follow position and parents, with noise."""
    rng = np.random.default_rng(bits)
    parents = [rng.integers(0, 200, len(lattice)).astype(np.uint32) for _ in range(num_parents)]
    values = 3 * lattice[:, 0] + sum(parents) + rng.integers(0, 5, len(lattice))
    values = (values << max(0, bits - 9) & (1 << bits) - 1).astype(np.uint32)
    around = neighbors.earlier_neighbors(lattice, columns.NEAR)
    return ColumnContext(around, parents, bits), values


def test_the_coder_reaches_the_entropy() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.integers(1, 65536, 20_000)
    bits = (rng.integers(0, 65536, 20_000) < probabilities).astype(int)
    coder = BinaryEncoder()
    for bit, p in zip(bits.tolist(), probabilities.tolist(), strict=True):
        coder.code(bit, p)
    data = coder.finish()
    decoder = BinaryDecoder(data)
    assert [decoder.code(0, p) for p in probabilities.tolist()] == bits.tolist()
    assert decoder.finished and not decoder.truncated
    share = probabilities / 65536
    entropy = -np.log2(np.where(bits, share, 1 - share)).sum()
    assert 8 * len(data) <= entropy * 1.0005 + 32


def test_tables_are_the_logistic_function_and_its_inverse() -> None:
    table = tables()
    for k in (-LOGIT_MAX, -700, -1, 0, 1, 256, LOGIT_MAX):
        exact = 2**28 / (1 + math.exp(-k / 256))
        assert abs(table.cdf[k + LOGIT_MAX] - exact) < 6  # worst of all logits: 5.1
    for q in (1, 5, 2048, 4095):
        share = (q + 0.5) / 4096
        assert abs(table.logit[q] - 256 * math.log(share / (1 - share))) <= 1


def test_mixing_learns_what_a_context_knows() -> None:
    rng = np.random.default_rng(0)
    hints = rng.integers(0, 2, 4_000).tolist()
    coder = BinaryEncoder()
    model = ContextModel(coder, 2, 0, 1, len(hints))
    for hint in hints:
        model.set_contexts((hint, 0))
        model.decide(hint, 0)
    assert 8 * len(coder.finish()) < 0.03 * len(hints)


@needs_native
def test_two_parents_together_tell_what_neither_does() -> None:
    rng = np.random.default_rng(0)
    lattice = surface(4_000, 12)
    parents = [rng.integers(0, 2, len(lattice)).astype(np.uint32) * 64 for _ in range(2)]
    values = (parents[0] ^ parents[1]) // 64 + rng.integers(0, 2, len(lattice)) * 2
    around = neighbors.earlier_neighbors(lattice, columns.NEAR)
    context = ColumnContext(around, parents, 2)
    values = values.astype(np.uint32)
    data = encode_column(context, fit_weights(context, values), values)
    assert 8 * len(data) < 1.15 * len(values)  # one bit is noise; the other follows from both


@needs_native
@pytest.mark.parametrize(("count", "bits"), [(1, 0), (1, 20), (7, 1), (120, 4), (400, 8), (40, 21)])
def test_points_have_the_same_bytes_in_python(
    count: int, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lattice = surface(count, bits) if bits else np.zeros((count, 3), np.uint32)
    data = points.encode_points(lattice, bits)
    np.testing.assert_array_equal(points.decode_points(data, count, bits), lattice)
    monkeypatch.setattr(points, "_native", None)
    assert points.encode_points(lattice, bits) == data
    np.testing.assert_array_equal(points.decode_points(data, count, bits), lattice)


@needs_native
@pytest.mark.parametrize("bits", [1, 8, 10, 24])
@pytest.mark.parametrize("num_parents", [0, 1, 4])
def test_columns_have_the_same_bytes_in_python(
    bits: int, num_parents: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, values = column(surface(60, 5), bits, num_parents)
    weights = fit_weights(context, values)
    data = encode_column(context, weights, values)
    np.testing.assert_array_equal(decode_column(data, context, weights), values)
    features = columns._features(context, values, 7)
    monkeypatch.setattr(columns, "_native", None)
    np.testing.assert_array_equal(columns._features(context, values, 7), features)
    assert encode_column(context, weights, values) == data
    np.testing.assert_array_equal(decode_column(data, context, weights), values)


@pytest.mark.parametrize("native", [pytest.param(True, marks=needs_native), False])
def test_missing_and_extra_bytes_are_noticed(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native:
        monkeypatch.setattr(points, "_native", None)
        monkeypatch.setattr(columns, "_native", None)
    lattice = surface(60, 6)
    data = points.encode_points(lattice, 6)
    context, values = column(lattice, 8, 1)
    weights = fit_weights(context, values)
    coded = encode_column(context, weights, values)
    for end in (0, 3, len(data) - 1):
        assert points.decode_points(data[:end], 60, 6) is None
    for end in (0, 3, len(coded) - 1):
        assert decode_column(coded[:end], context, weights) is None
    assert points.decode_points(data + b"\0", 60, 6) is None
    assert decode_column(coded + b"\0", context, weights) is None


@needs_native
def test_extreme_weights_neither_overflow_nor_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    context, values = column(surface(40, 4), 24, 2)
    weights = np.resize(np.array([32767, -32768], np.int16), context.num_features)
    data = encode_column(context, weights, values)
    np.testing.assert_array_equal(decode_column(data, context, weights), values)
    monkeypatch.setattr(columns, "_native", None)
    assert encode_column(context, weights, values) == data
