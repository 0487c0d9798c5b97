"""Random numbers by name, the same on every device; what is random about a sample depends on them alone."""

import hashlib
from functools import cache

import torch
from torch import Tensor

from utils.constants import constant

# Multipliers of SplitMix64 (Steele et al., Fast splittable pseudorandom number generators, OOPSLA 2014), as int64.
MULTIPLIER_1, MULTIPLIER_2 = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


# Names that any stream was asked for, in order. A stream draws for all of them at once: a dozen operations a batch in
# the place of a dozen for each name, which a GPU would wait for.
_asked: dict[str, None] = {}


class RandomStream:
    """Random numbers for a batch of samples, drawn by name.

    A number depends only on the sample's seed and the name: not on the order of the draws, the other samples or the
    device. A draw with a new name changes no other number.

    Args:
        seeds: (B,) int64, from `sample_seed`.
    """

    def __init__(self, seeds: Tensor) -> None:
        self.seeds = seeds
        self._rows: dict[str, int] = {}  # {name: its row of the numbers}
        self._fractions = self._signed = seeds  # (names, B) in 0..1, and in -1..1

    def uniform(self, *names: str, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Draw uniformly distributed numbers.

        Args:
            names: what the numbers are for, such as "brightness".
            low: lower bound.
            high: upper bound.

        Returns:
            (B,) float32 on the seeds' device; for several names (B, len(names)). Callers must not change it.
        """
        if not self._rows.keys() >= set(names):
            _asked.update(dict.fromkeys(names))
            self._rows = {name: row for row, name in enumerate(_asked)}
            hashes = _hash_names(tuple(_asked), self.seeds.device)
            self._fractions = hash_to_fraction(hashes[:, None] ^ self.seeds)
            self._signed = torch.add(constant(torch.tensor, self.seeds.device, -1.0), self._fractions, alpha=2)
        # Those with the usual bounds are computed for all names at once, too.
        kept = {(0.0, 1.0): self._fractions, (-1.0, 1.0): self._signed}.get((low, high))
        rows = [self._rows[name] for name in names]
        values = _take(self._fractions if kept is None else kept, rows)
        if kept is None:
            values = values.mul(high - low)
            values = values.add_(low) if low else values
        return values[0] if len(names) == 1 else values.T


def _take(values: Tensor, rows: list[int]) -> Tensor:
    """Take rows of `values`: those in order, as they were first asked for, without a copy."""
    if rows == list(range(rows[0], rows[0] + len(rows))):
        return values[rows[0] : rows[0] + len(rows)]
    return torch.stack([values[row] for row in rows])


@cache
def _hash_names(names: tuple[str, ...], device: torch.device) -> Tensor:
    return torch.tensor([hash64(name) for name in names], dtype=torch.int64, device=device)


def hash64(text: str) -> int:
    """Hash `text` to a signed 64-bit integer that is the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def hash_to_fraction(values: Tensor) -> Tensor:
    """Hash integers to fractions: the highest 24 bits of SplitMix64's output, without its last step.

    Args:
        values: (...) int64.

    Returns:
        (...) float32, multiples of 2^-24 in [0, 1).
    """
    # Products wrap around on every device. int64 shifts copy the sign: the masks clear these bits.
    values = values ^ (values >> 30).bitwise_and_(2**34 - 1)
    values *= MULTIPLIER_1
    values ^= (values >> 27).bitwise_and_(2**37 - 1)
    values *= MULTIPLIER_2  # the last step of SplitMix64 would change lower bits only
    return (values >> 40).bitwise_and_(2**24 - 1).mul(2.0**-24)


def sample_seed(seed: int, epoch: int, clip: str) -> int:
    """Derive the seed of a sample, a signed 64-bit integer.

    Args:
        seed: of the run.
        epoch: how often the clip was sampled before.
        clip: its id, so that a sample doesn't depend on the other clips of the split.
    """
    return hash64(f"{seed} {epoch} {clip}")
