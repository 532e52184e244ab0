"""The context coder of coefficients in plain Python: the twin that defines every bit.

A row is coded dimension by dimension. A magnitude m is a sequence of decisions: m > 0, m > 1,
m > 2, then the exponent of m - 2 in unary (bins 3..23) and its mantissa; the sign follows. Each
decision mixes the logits of seven adaptive probabilities, looked up by seven contexts made of what
is known to both sides: the dimension, the row so far and the row's neighbors (Mahoney's PAQ
mixing). A range coder of 64 bits that moves 32 at a time turns decisions into bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .tables import PROBABILITY_MIN, PROBABILITY_ONE, Tables

NEIGHBORS = 8
"""Rows that a row is predicted from."""
MAX_MAGNITUDE = 1 << 20
EXPONENT_BIN, MAX_EXPONENT, MANTISSA_NODES = 3, 21, 8
LEVELS, CAP = 12, 15
FIRST_WEIGHT, BIAS = 13000, 256
MASK = (1 << 64) - 1


class Encoder:
    """The interval's low end and width; carries run back into the words already written."""

    def __init__(self) -> None:
        self.words: list[int] = []
        self.low, self.width = 0, MASK

    def code(self, probability: int, bit: int) -> int:
        """Write `bit`, whose probability of being 1 is `probability` / 65536."""
        bound = (self.width >> 16) * probability
        if bit:
            self.width = bound
        else:
            self._advance(bound)
            self.width -= bound
        if self.width < 1 << 32:
            self.words.append(self.low >> 32)
            self.low, self.width = (self.low << 32) & MASK, self.width << 32
        return bit

    def finish(self) -> bytes:
        """The stream: the shortest number in the interval, without zeros at its end."""
        for bits in range(56, -1, -8):
            rest = (1 << bits) - 1
            beyond = ((self.low + rest) & ~rest) - self.low
            if beyond < self.width:
                self._advance(beyond)
                break
        words = [*self.words, self.low >> 32, self.low & 0xFFFFFFFF]
        return b"".join(word.to_bytes(4, "big") for word in words).rstrip(b"\0")

    def _advance(self, distance: int) -> None:
        self.low += distance
        if self.low > MASK:
            self.low &= MASK
            for i in range(len(self.words) - 1, -1, -1):
                self.words[i] = (self.words[i] + 1) & 0xFFFFFFFF
                if self.words[i]:
                    return


class Decoder:
    """Reads what `Encoder` wrote, and zeros past its end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position, self.width = data, 0, MASK
        self.value = self._word() << 32 | self._word()

    def code(self, probability: int, _bit: int) -> int:
        """Read a bit whose probability of being 1 is `probability` / 65536."""
        bound = (self.width >> 16) * probability
        bit = int(self.value < bound)
        if bit:
            self.width = bound
        else:
            self.value -= bound
            self.width -= bound
        if self.width < 1 << 32:
            self.value, self.width = self.value << 32 | self._word(), self.width << 32
        return bit

    def _word(self) -> int:
        word = self.data[self.position : self.position + 4].ljust(4, b"\0")
        self.position += 4
        return int.from_bytes(word, "big")


@dataclass
class Weights:
    """How much each input of a decision counts, in 1 / 65536."""

    value: list[int] = field(default_factory=lambda: [FIRST_WEIGHT] * 7 + [0])
    seen: int = 0


class Model:
    """Adaptive probabilities of the coefficients of one segment."""

    def __init__(self, dims: int, tables: Tables, count_limit: int) -> None:
        self.dims, self.count_limit = dims, count_limit
        arrays = (table.tolist() for table in tables.arrays())
        self.logits, self.probabilities, self.costs, self.rates = arrays
        self.slots: dict[tuple[int, ...], int] = {}
        self.weights = [Weights() for _ in range(EXPONENT_BIN + MAX_EXPONENT)]
        self.sign_weights = Weights()

    def begin_row(self, row: list[int], neighbors: Sequence[Sequence[int]]) -> None:
        """Start a row whose neighbors hold these values; `row` fills up as it is coded."""
        self.row = row
        held = [[min(max(v, -CAP), CAP) for v in other] for other in neighbors]
        columns = list(zip(*held, strict=True)) if held else [()] * self.dims
        self.sums = [sum(column) for column in columns]
        self.totals = [sum(map(abs, column)) for column in columns]
        self.so_far, self.around = 0, level(sum(self.totals) // 4)

    def begin(self, dim: int) -> None:
        """Choose the contexts of the next magnitude."""
        self.dim = dim
        one = abs(self.row[dim - 1]) if dim > 0 else 0
        two = abs(self.row[dim - 2]) if dim > 1 else 0
        near = level(2 * min(one, CAP) + min(two, CAP))
        beside, expected = level(self.totals[dim]), level(abs(self.sums[dim]))
        so_far = level(self.so_far)
        self.contexts = (
            (0, dim),
            (1, dim, so_far),
            (2, dim, beside),
            (3, dim, min(one, 4), min(two, 4)),
            (4, near, so_far, self.around),
            (5, dim, expected, near),
            (6, beside, expected, so_far),
        )

    def magnitude(self, coder: Encoder | Decoder, m: int) -> int:
        """Code one magnitude; a decoder ignores `m`."""
        for bin_ in range(EXPONENT_BIN):
            if not self._decide(coder, bin_, int(m > bin_)):
                return bin_
        wanted = (m - 2).bit_length() - 1
        exponent = 0
        while exponent < MAX_EXPONENT and self._decide(
            coder, EXPONENT_BIN + exponent, int(wanted > exponent)
        ):
            exponent += 1
        value = 1
        for shift in range(exponent - 1, -1, -1):
            bit = (m - 2) >> shift & 1
            if value >= MANTISSA_NODES:
                value = value << 1 | coder.code(PROBABILITY_ONE // 2, bit)
                continue
            node = (-1, self.dim, exponent, value)
            state = self.slots.get(node, 1 << 31)
            highest = PROBABILITY_ONE - PROBABILITY_MIN
            bit = coder.code(min(max(state >> 16, PROBABILITY_MIN), highest), bit)
            self._adapt(node, bit)
            value = value << 1 | bit
        return value + 2

    def negative(self, coder: Encoder | Decoder, wanted: int, m: int) -> int:
        """Code the sign of a magnitude m > 0; a decoder ignores `wanted`."""
        dim, total = self.dim, self.sums[self.dim]
        expected = -level(-total) if total < 0 else level(total)
        before = [sign(self.row[dim - back]) if dim >= back else 0 for back in (1, 2)]
        first = [sign(self.row[j]) if dim > j else 0 for j in range(4)]
        contexts = (
            (10, dim),
            (11, dim, expected),
            (12, dim, *first[:2]),
            (13, dim, *before),
            (14, expected, level(self.totals[dim])),
            (15, dim, *first[2:]),
            (16, dim, sign(total), first[0], min(m, 3)),
        )
        return self._code(coder, contexts, self.sign_weights, wanted)

    def end(self, value: int) -> None:
        """Keep the value that was coded."""
        self.row[self.dim] = value
        self.so_far += min(abs(value), CAP)

    def cost(self, m: int) -> int:
        """Bits / 4096 of magnitude m here, its sign counted as one bit."""
        total = 4096 if m > 0 else 0
        for bin_ in range(EXPONENT_BIN):
            total += self._cost(bin_, m > bin_)
            if m <= bin_:
                return total
        wanted = (m - 2).bit_length() - 1
        for exponent in range(min(wanted + 1, MAX_EXPONENT)):
            total += self._cost(EXPONENT_BIN + exponent, wanted > exponent)
        return total + wanted * 4096

    def _cost(self, bin_: int, bit: bool) -> int:
        contexts = tuple((*context, bin_) for context in self.contexts)
        probability = self._predict(contexts, self.weights[bin_])[0]
        return self.costs[(probability if bit else PROBABILITY_ONE - probability) >> 4]

    def _decide(self, coder: Encoder | Decoder, bin_: int, wanted: int) -> int:
        contexts = tuple((*context, bin_) for context in self.contexts)
        return self._code(coder, contexts, self.weights[bin_], wanted)

    def _predict(
        self, contexts: Sequence[tuple[int, ...]], weights: Weights
    ) -> tuple[int, list[int]]:
        """Probability of a 1, 16 bits, and the logits it was mixed from."""
        logits = [self.logits[self.slots.get(context, 1 << 31) >> 20] for context in contexts]
        logits.append(BIAS)
        mixed = sum(w * x for w, x in zip(weights.value, logits, strict=True)) >> 16
        return self.probabilities[min(max(mixed, -2047), 2047) + 2048], logits

    def _code(
        self,
        coder: Encoder | Decoder,
        contexts: Sequence[tuple[int, ...]],
        weights: Weights,
        wanted: int,
    ) -> int:
        probability, logits = self._predict(contexts, weights)
        bit = coder.code(probability, wanted)
        error = (bit << 16) - probability
        rate = 8 if weights.seen < 64 else 4 if weights.seen < 256 else 2
        weights.seen += weights.seen < 256
        for i, logit in enumerate(logits):
            weights.value[i] += (logit * error * rate + (1 << 16)) >> 17
        for context in contexts:
            self._adapt(context, bit)
        return bit

    def _adapt(self, context: tuple[int, ...], bit: int) -> None:
        state = self.slots.get(context, 1 << 31)
        p, count = state >> 10, state & 1023
        p += (((1 << 22) - 1 if bit else 0) - p) * self.rates[count] >> 16
        self.slots[context] = p << 10 | (count + (count < self.count_limit))


def level(activity: int) -> int:
    """0, 1, 2, 3, 4, 5-6, 7-8, 9-12, 13-16, 17-24, 25-32, 33 and more: as 0..11."""
    if activity <= 4:
        return activity
    log = (activity - 1).bit_length() - 1
    return min(LEVELS - 1, 2 * log + 1 + ((activity - 1) >> (log - 1) & 1))


def sign(value: int) -> int:
    """-1, 0 or 1."""
    return (value > 0) - (value < 0)


def rounded(model: Model, scaled: float, centroids: NDArray[np.float32], trade: float) -> int:
    """The integer of least distortion plus `trade` times its bits, among nearest and smaller."""
    x = abs(scaled)
    nearest = int(min(math.floor(x + 0.5), MAX_MAGNITUDE))
    best, least = 0, 1e300
    for m in range(max(0, nearest - 2), nearest + 1 if nearest else 0):
        at = 0.0 if m == 0 else float(centroids[m - 1]) if m < 3 else float(centroids[2]) + (m - 3)
        away = x - at
        price = away * away + trade * float(model.cost(m)) / 4096
        if price < least:
            best, least = m, price
    return -best if scaled < 0 else best


def encode_segment(
    values: NDArray[np.int32],
    neighbors: Callable[[int], Sequence[int]],
    tables: Tables,
    count_limit: int,
    choose: Callable[[Model, int, int], int] | None,
) -> bytes:
    """The stream of one segment; `choose(model, row, dim)` replaces each value where given."""
    model, coder = Model(values.shape[1], tables, count_limit), Encoder()
    rows = values.tolist()
    for i, row in enumerate(rows):
        model.begin_row(row, [rows[k] for k in neighbors(i)])
        for j in range(len(row)):
            model.begin(j)
            value = row[j] if choose is None else choose(model, i, j)
            magnitude = model.magnitude(coder, abs(value))
            if magnitude:
                model.negative(coder, int(value < 0), magnitude)
            model.end(value)
    values[:] = np.array(rows, dtype=np.int32).reshape(values.shape)
    return coder.finish()


def decode_segment(
    data: bytes,
    values: NDArray[np.int32],
    neighbors: Callable[[int], Sequence[int]],
    tables: Tables,
    count_limit: int,
) -> bool:
    """Fill `values` from a stream; False if no encoder wrote it."""
    model, coder = Model(values.shape[1], tables, count_limit), Decoder(data)
    rows = values.tolist()
    for i, row in enumerate(rows):
        model.begin_row(row, [rows[k] for k in neighbors(i)])
        for j in range(len(row)):
            model.begin(j)
            magnitude = model.magnitude(coder, 0)
            if magnitude > MAX_MAGNITUDE:
                return False
            negative = magnitude > 0 and model.negative(coder, 0, magnitude)
            model.end(-magnitude if negative else magnitude)
        if coder.position > len(data) + 32:
            return False
    values[:] = np.array(rows, dtype=np.int32).reshape(values.shape)
    return True
