"""Binary arithmetic coding with context mixing, in integers only: the twin of the kernels.

**Arithmetic coder.** The state is an interval [low, high] of 32-bit numbers, at first
[0, 2^32 - 1]. A bit whose probability of being 1 is p / 65536, p in [1, 65535], splits it at
middle = low + ((high - low) * p >> 16): a 1 keeps [low, middle], a 0 keeps [middle + 1, high].
While the top bytes of both ends agree, that byte is the next of the output; both ends move up by 8
bits, `low` filled with zeros and `high` with ones. At the end the four bytes of `low` follow, most
significant first. A decoder starts with the first four bytes as its number, shifts one more byte
in wherever the encoder put one out, and reads a 1 where the number is at most `middle`. It never
needs a byte past the end, and has used them all after the last bit.

**Logits** are integers in 1/256 nats within [-3071, 3071]. Three tables, made by the recurrences in
`Tables`, turn them into probabilities (28 bits), probabilities (12 bits) into logits, and give the
step of a counter that has seen n bits.

**A counter** is a probability of 22 bits, at first 2^21, and the number n of bits seen, at most
250. A bit moves it by (target - p) * rate[n] >> 16, target = 2^22 - 1 or 0. Its logit is
logit[p >> 10] * trust[n] >> 16, its lean ((p - 2^21) * trust[n] >> 16) >> 12.

**Contexts.** The decisions since `set_contexts` are a path through a binary tree, whose node is
numbered 1 at the root and 2 * node + bit below. Each context has 2^b lines of 16 counters, b =
min(14, 3 + bit length of the number of points). At the root and after every fourth decision its
line is chosen by h = (context + 1) * 0x9E3779B1 * (2 c + 1) + node * 0x85EBCA6B for context
number c from 0, then (h ^ h >> 15) * 0x2C1B3C6D >> 32 - b, all modulo 2^32; the counter inside the
line is 1, then 2 * counter + bit. Contexts that meet in a line share it.

**A decision** takes, in this order, the logits of one counter per context, their leans, the logits
that the caller knows, and 256 as a constant. Two mixers weigh these inputs: the one that the caller
names and one that takes part in all decisions. A mixer's logit is the sum of input times weight,
>> 16, limited; the sum of both logits, >> 1, is that of the coded probability (28 bits >> 12, in
[1, 65535]). Weights are at first 12000 (65536 is 1), those of leans 0. Afterwards each mixer learns
by the probability p that it alone would have given: with step = (65536 * bit - p) * rate >> 8 and
rate = 100 + 4000 // (16 + its decisions so far, at most 4000), each weight grows by
(x * step + 8192) >> 14 within +-2^20.

Reference: Mahoney, Data Compression Explained (2013), sections 4.2 and 4.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol, runtime_checkable

LOGIT_MAX = 3071
_FIRST_WEIGHT, _WEIGHT_MAX, _SETTLED_RATE, _SLOWEST = 12000, 1 << 20, 100, 250
_WORD = 0xFFFFFFFF


@runtime_checkable
class BitCoder(Protocol):
    """Either direction of the arithmetic coder."""

    def code(self, bit: int, p: int) -> int:
        """Write `bit`, or read one and ignore `bit`; p / 65536 is the probability of a 1."""
        ...


class BinaryEncoder:
    """Bits to bytes."""

    def __init__(self) -> None:
        self._low, self._high, self._data = 0, _WORD, bytearray()

    def code(self, bit: int, p: int) -> int:
        """Write `bit`."""
        middle = self._low + ((self._high - self._low) * p >> 16)
        if bit:
            self._high = middle
        else:
            self._low = middle + 1
        while (self._low ^ self._high) >> 24 == 0:
            self._data.append(self._high >> 24)
            self._low = self._low << 8 & _WORD
            self._high = self._high << 8 & _WORD | 255
        return bit

    def finish(self) -> bytes:
        """All bytes."""
        return bytes(self._data) + self._low.to_bytes(4, "big")


class BinaryDecoder:
    """Bytes to bits; zeros past the end."""

    def __init__(self, data: bytes) -> None:
        self._low, self._high, self._data, self._next = 0, _WORD, data, 4
        self._number = int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def code(self, bit: int, p: int) -> int:
        """Read a bit; the argument is ignored."""
        middle = self._low + ((self._high - self._low) * p >> 16)
        bit = int(self._number <= middle)
        if bit:
            self._high = middle
        else:
            self._low = middle + 1
        while (self._low ^ self._high) >> 24 == 0:
            self._low = self._low << 8 & _WORD
            self._high = self._high << 8 & _WORD | 255
            byte = self._data[self._next] if self._next < len(self._data) else 0
            self._number = self._number << 8 & _WORD | byte
            self._next += 1
        return bit

    @property
    def truncated(self) -> bool:
        """Whether bytes were missing."""
        return self._next > len(self._data)

    @property
    def finished(self) -> bool:
        """Whether exactly the given bytes were used."""
        return self._next == len(self._data)


@dataclass(frozen=True)
class Tables:
    """Lookup tables, the same on every machine."""

    cdf: list[int]
    """Logistic function of (index - 3071) / 256 in units of 2^-28."""
    logit: list[int]
    """Smallest logit whose probability is at least (index + 1/2) / 4096."""
    rate: list[int]
    """65536 / (n + 1.6) of a counter that has seen n bits."""
    trust: list[int]
    """65536 n / (n + 2), the weight of its logit."""


@cache
def tables() -> Tables:
    """The tables, made once."""
    one = 1 << 28
    cdf = [0] * (2 * LOGIT_MAX + 1)
    power = 1 << 30  # 2^30 exp(-k / 256)
    for k in range(LOGIT_MAX + 1):
        cdf[LOGIT_MAX + k] = (1 << 58) // ((1 << 30) + power)
        cdf[LOGIT_MAX - k] = one - cdf[LOGIT_MAX + k]
        power = power * 1069555701 + (1 << 29) >> 30
    logit, k = [], -LOGIT_MAX
    for q in range(4096):
        while k < LOGIT_MAX and cdf[k + LOGIT_MAX] >> 15 < 2 * q + 1:
            k += 1
        logit.append(k)
    rate = [655360 // (10 * n + 16) for n in range(256)]
    return Tables(cdf, logit, rate, [65536 * n // (n + 2) for n in range(256)])


def clamp_logit(x: int) -> int:
    """`x` within the range of logits."""
    return max(-LOGIT_MAX, min(LOGIT_MAX, x))


class _Mixer:
    """One way to weigh the inputs of a decision."""

    def __init__(self, num_contexts: int, num_given: int) -> None:
        first = [_FIRST_WEIGHT]
        self._weights = first * num_contexts + [0] * num_contexts + first * (num_given + 1)
        self._seen = 0

    def logit(self, x: Sequence[int]) -> int:
        """What the inputs say."""
        return clamp_logit(sum(w * v for w, v in zip(self._weights, x, strict=True)) >> 16)

    def learn(self, x: Sequence[int], p: int, bit: int) -> None:
        """After a decision on these inputs, which this mixer alone gave the probability `p`."""
        rate = _SETTLED_RATE + 4000 // (16 + self._seen)
        self._seen = min(self._seen + 1, 4000)
        step = ((bit << 16) - p) * rate >> 8
        for i, v in enumerate(x):
            moved = self._weights[i] + (v * step + (1 << 13) >> 14)
            self._weights[i] = max(-_WEIGHT_MAX, min(_WEIGHT_MAX, moved))


class ContextModel:
    """Codes bits whose probability is mixed from one counter per context and from given logits."""

    def __init__(
        self, coder: BitCoder, num_contexts: int, num_given: int, num_sets: int, count: int
    ) -> None:
        self._coder, self._shift = coder, 32 - min(14, 3 + count.bit_length())
        self._tables = tables()
        self._counters: list[dict[int, tuple[int, int]]] = [{} for _ in range(num_contexts)]
        self._mixers = [_Mixer(num_contexts, num_given) for _ in range(num_sets)]
        self._common = _Mixer(num_contexts, num_given)
        self._bases = [0] * num_contexts
        self._lines = [0] * num_contexts
        self._node = self._leaf = 1

    def set_contexts(self, contexts: Sequence[int]) -> None:
        """What the next decisions depend on, one number per context, taken modulo 2^32."""
        self._bases = [
            (context + 1) * 0x9E3779B1 * (2 * c + 1) & _WORD for c, context in enumerate(contexts)
        ]
        self._node = 1
        self._enter()

    def decide_evenly(self, bit: int) -> int:
        """Code a bit that nothing is known about: p = 32768, and nothing is learned."""
        return self._coder.code(bit, 32768)

    def decide(self, bit: int, chosen: int, given: Sequence[int] = ()) -> int:
        """Code the next bit of the path.

        Args:
            bit: Ignored by a decoder.
            chosen: Which mixer to use beside the common one.
            given: Logits that the caller knows.
        """
        if self._leaf >= 16:
            self._enter()
        slots = [line << 4 | self._leaf for line in self._lines]
        states = [c.get(s, (1 << 21, 0)) for c, s in zip(self._counters, slots, strict=True)]
        table = self._tables
        logits = [table.logit[p >> 10] * table.trust[n] >> 16 for p, n in states]
        leans = [((p - (1 << 21)) * table.trust[n] >> 16) >> 12 for p, n in states]
        x = [*logits, *leans, *given, 256]
        mixers = self._mixers[chosen], self._common
        found = [mixer.logit(x) for mixer in mixers]
        bit = self._coder.code(bit, self._probability(sum(found) >> 1))
        for mixer, logit in zip(mixers, found, strict=True):
            mixer.learn(x, self._probability(logit), bit)
        target = (1 << 22) - 1 if bit else 0
        for counter, slot, (probability, n) in zip(self._counters, slots, states, strict=True):
            moved = probability + ((target - probability) * table.rate[n] >> 16)
            counter[slot] = moved, min(n + 1, _SLOWEST)
        self._leaf, self._node = 2 * self._leaf + bit, 2 * self._node + bit & _WORD
        return bit

    def _probability(self, logit: int) -> int:
        """Of a 1, in 2^-16."""
        return min(max(self._tables.cdf[logit + LOGIT_MAX] >> 12, 1), 65535)

    def _enter(self) -> None:
        """Find the lines of counters of the next four decisions."""
        self._lines = []
        for base in self._bases:
            slot = base + self._node * 0x85EBCA6B & _WORD
            self._lines.append(((slot ^ slot >> 15) * 0x2C1B3C6D & _WORD) >> self._shift)
        self._leaf = 1
