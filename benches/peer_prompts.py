"""The prompts of `lapwing bench`, so that its peers read the same tokens.

The counterpart of `crates/lapwing-measure/src/workload.rs`: ids drawn with ChaCha8 from a seed;
run 0 of a test has them as they are drawn, every later run in another order.
"""

import hashlib
import itertools
import struct

MASK_32, MASK_64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
# Keeps the orders of later runs apart from the ids themselves.
ORDER_SEED = 0x5BD1_E995_9E37_79B9


def prompt_ids(seed, run_idx, n_tokens, n_vocab):
    """`n_tokens` ids below `n_vocab`."""
    ids, words = [], chacha8(seed, n_tokens)
    for _ in range(n_tokens):
        ids.append(below(words, n_vocab))
    if run_idx != 0:
        words = chacha8(seed ^ ORDER_SEED, run_idx)
        for last in range(n_tokens - 1, 0, -1):
            other = below(words, last + 1)
            ids[last], ids[other] = ids[other], ids[last]
    return ids


def tokens_sha256(ids):
    """SHA-256 of the ids, each as four bytes, little end first."""
    return hashlib.sha256(struct.pack(f"<{len(ids)}I", *ids)).hexdigest()


def below(words, n):
    low = next(words)
    return ((low | next(words) << 32) * n) >> 64


def chacha8(seed, stream):
    """The 32-bit words of `ChaCha8Rng::seed_from_u64(seed)` on this stream."""
    key = list(itertools.islice(pcg32(seed), 8))
    constants = struct.unpack("<4I", b"expand 32-byte k")
    counter = 0
    while True:
        tail = [counter & MASK_32, counter >> 32, stream & MASK_32, stream >> 32]
        start = [*constants, *key, *tail]
        state = list(start)
        for _ in range(4):
            for column in range(4):
                quarter_round(state, *(column + 4 * row for row in range(4)))
            for column in range(4):
                quarter_round(state, *(4 * row + (column + row) % 4 for row in range(4)))
        yield from ((now + then) & MASK_32 for now, then in zip(state, start))
        counter += 1


def quarter_round(state, a, b, c, d):
    for x, y, z, n_bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[x] = (state[x] + state[y]) & MASK_32
        word = state[z] ^ state[x]
        state[z] = (word << n_bits | word >> (32 - n_bits)) & MASK_32


def pcg32(state):
    """How a short seed becomes a key."""
    while True:
        state = (state * 6364136223846793005 + 11634580027462260723) & MASK_64
        shifted = ((state >> 18 ^ state) >> 27) & MASK_32
        n_bits = state >> 59
        yield (shifted >> n_bits | shifted << (-n_bits & 31)) & MASK_32
