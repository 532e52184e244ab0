"""Interleaved rANS over token columns: native kernels, and numpy with the same bytes.

Tokens lie column after column. They are cut into `bounds` (blocks that threads take one by one),
and a block into the pieces of columns inside it. L states code the tokens of each piece in turn:
state l takes its tokens l, l + L, l + 2 L, ... of that piece. Both numbers depend on the number of
tokens only (`layout`), never on the machine.

A state x in [2^16, 2^32) decodes a token with the low p bits of x as slot: the token with F <= slot
< F + f. Then x becomes f (x >> p) + slot - F, and if that is below 2^16, x << 16 | the next word.
Words are read in the order of the tokens. The decoder starts with the states in the file and ends
with all at 2^16 and no word left, which is checked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..contract import CodecError

LOW = 1 << 16
"""Smallest state."""
BLOCK_TOKENS = 1 << 19
"""Blocks are at most this long, and more than one only above it."""

try:
    from .. import _native
except ImportError:
    _native = None


@dataclass(frozen=True)
class Sources:
    """Columns of tokens that are coded together."""

    lengths: tuple[int, ...]
    """Tokens of each column, at least one."""
    frequencies: tuple[NDArray[np.uint32], ...]
    """One table per column, adding up to 2^precision."""
    precisions: tuple[int, ...]
    """p of each column, 1 to 16."""

    @property
    def size(self) -> int:
        """All tokens."""
        return sum(self.lengths)


def layout(size: int) -> tuple[NDArray[np.int64], int]:
    """Block bounds `[blocks + 1]` and the number of lanes, for `size` > 0 tokens.

    Blocks = ceil(size / 2^19), each of ceil(size / blocks / 16) * 16 tokens but for the last;
    lanes are 1 below 2^12 tokens, 4 below 2^16, and 16 from there on.
    """
    blocks = -(-size // BLOCK_TOKENS)
    length = -(-size // blocks // 16) * 16
    bounds = np.minimum(np.arange(blocks + 1, dtype=np.int64) * length, size)
    return bounds[
        : np.searchsorted(bounds, size) + 1
    ], 1 if size < 1 << 12 else 4 if size < 1 << 16 else 16


def encode(tokens: NDArray[np.uint16], sources: Sources) -> list[bytes]:
    """The blocks of the tokens of all columns: L uint32 states, then words, little-endian."""
    bounds, lanes = layout(sources.size)
    blocks = len(bounds) - 1
    if _native is None:
        coded = [
            _encode_block(tokens, sources, int(bounds[b]), int(bounds[b + 1]), lanes)
            for b in range(blocks)
        ]
        return [
            states.astype("<u4").tobytes() + words.astype("<u2").tobytes()
            for states, words in coded
        ]
    states = np.zeros(blocks * lanes, np.uint32)
    words = np.zeros(sources.size + blocks, np.uint16)
    num_words = np.zeros(blocks, np.int64)
    _native.rans_encode(
        np.ascontiguousarray(tokens), *_flat(sources), bounds, lanes, states, words, num_words
    )
    return [
        states[b * lanes : (b + 1) * lanes].astype("<u4").tobytes()
        + words[end - num_words[b] : end].astype("<u2").tobytes()
        for b, end in enumerate((bounds[1:] + np.arange(1, blocks + 1)).tolist())
    ]


def decode(data: bytes, offset: int, num_words: list[int], sources: Sources) -> NDArray[np.uint16]:
    """Tokens of the blocks that start at `offset`, block b with `num_words[b]` words.

    Raises:
        CodecError: The words do not decode to the initial states.
    """
    bounds, lanes = layout(sources.size)
    if max(num_words, default=0) > len(data):  # larger numbers would overflow the sums below
        raise CodecError(f"a block of {max(num_words)} words", offset=offset)
    sizes = [4 * lanes + 2 * count for count in num_words]
    starts = offset + np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    if starts[-1] > len(data):
        raise CodecError(
            f"coded tokens end at byte {starts[-1]}, but there are {len(data)}", offset=len(data)
        )
    flat = np.frombuffer(data, np.uint8)
    states = np.concatenate(
        [flat[at : at + 4 * lanes].view("<u4") for at in starts[:-1].tolist()]
    ).astype(np.uint32)
    if len(states) and int(states.min()) < LOW:
        raise CodecError("a coder state is below 2^16", offset=offset)
    words_at = starts[:-1] + 4 * lanes
    counts = np.array(num_words, np.int64)
    if _native is None:
        tokens, used = _decode_blocks(flat, words_at, counts, sources, bounds, lanes, states)
    else:
        tokens, used = np.zeros(sources.size, np.uint16), np.zeros(len(counts), np.int64)
        _native.rans_decode(
            flat, words_at, counts, *_flat(sources), bounds, lanes, states, tokens, used
        )
    wrong = (used != counts) | (states.reshape(-1, lanes) != LOW).any(1)
    if wrong.any():
        b = int(np.argmax(wrong))
        at = int(words_at[b] + 2 * (used[b] if used[b] >= 0 else -1 - used[b]))
        raise CodecError("coded tokens do not end where the block does", offset=at)
    return tokens


def _flat(
    sources: Sources,
) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Frequencies end to end, where each table starts, precisions, column ends."""
    firsts = np.concatenate([[0], np.cumsum([len(f) for f in sources.frequencies])])
    return (
        np.concatenate(sources.frequencies).astype(np.uint32),
        firsts.astype(np.int64),
        np.array(sources.precisions, np.int64),
        np.cumsum(sources.lengths).astype(np.int64),
    )


def _pieces(sources: Sources, begin: int, end: int) -> list[tuple[int, int, int]]:
    """(column, begin, end) of each piece of [begin, end)."""
    pieces, first = [], 0
    for column, length in enumerate(sources.lengths):
        start, stop = max(begin, first), min(end, first + length)
        if start < stop:
            pieces.append((column, start, stop))
        first += length
    return pieces


def _encode_block(
    tokens: NDArray[np.uint16], sources: Sources, begin: int, end: int, lanes: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """States and words of one block; the same steps as rans.cpp, all lanes of a step at once."""
    states = np.full(lanes, LOW, np.uint64)
    written: list[NDArray[np.uint16]] = []
    for column, start, stop in reversed(_pieces(sources, begin, end)):
        frequencies = sources.frequencies[column].astype(np.uint64)
        firsts = np.cumsum(frequencies) - frequencies
        precision = np.uint64(sources.precisions[column])
        piece = tokens[start:stop]
        for step in range((len(piece) - 1) // lanes, -1, -1):
            token = piece[step * lanes : (step + 1) * lanes]
            f, x = frequencies[token], states[: len(token)]
            full = x >= f << (np.uint64(32) - precision)
            written.append((x[full] & np.uint64(0xFFFF)).astype(np.uint16))
            x = np.where(full, x >> np.uint64(16), x)
            states[: len(token)] = (x // f << precision) + x % f + firsts[token]
    return states, np.concatenate(written[::-1]) if written else np.zeros(0, np.uint16)


def _decode_blocks(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    num_words: NDArray[np.int64],
    sources: Sources,
    bounds: NDArray[np.int64],
    lanes: int,
    states: NDArray[np.uint32],
) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """What `_native.rans_decode` fills; leaves the final states in `states`."""
    tokens = np.zeros(sources.size, np.uint16)
    used = np.zeros(len(num_words), np.int64)
    slots = [np.repeat(np.arange(len(f), dtype=np.uint16), f) for f in sources.frequencies]
    for b, at in enumerate(offsets.tolist()):
        words = data[at : at + 2 * int(num_words[b])].view("<u2").astype(np.uint64)
        lane_states = states[b * lanes : (b + 1) * lanes].astype(np.uint64)
        used[b] = _decode_block(
            words,
            sources,
            slots,
            _pieces(sources, int(bounds[b]), int(bounds[b + 1])),
            lane_states,
            tokens,
        )
        states[b * lanes : (b + 1) * lanes] = lane_states.astype(np.uint32)
    return tokens, used


def _decode_block(
    words: NDArray[np.uint64],
    sources: Sources,
    slots: list[NDArray[np.uint16]],
    pieces: list[tuple[int, int, int]],
    states: NDArray[np.uint64],
    tokens: NDArray[np.uint16],
) -> int:
    """Words read, or -1 - that number where one was missing."""
    lanes, read = len(states), 0
    for column, begin, end in pieces:
        frequencies = sources.frequencies[column].astype(np.uint64)
        firsts = np.cumsum(frequencies) - frequencies
        precision = np.uint64(sources.precisions[column])
        mask = (np.uint64(1) << precision) - np.uint64(1)
        for start in range(begin, end, lanes):
            count = min(lanes, end - start)
            x = states[:count]
            slot = x & mask
            token = slots[column][slot]
            x = frequencies[token] * (x >> precision) + slot - firsts[token]
            refill = np.flatnonzero(x < LOW)
            if len(refill) > len(words) - read:
                return -1 - len(words)
            x[refill] = x[refill] << np.uint64(16) | words[read : read + len(refill)]
            read += len(refill)
            states[:count] = x
            tokens[start : start + count] = token
    return read
