"""Randomness by name and by counter: what a request draws does not depend on what the policy did before."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

U64Array = NDArray[np.uint64]
FloatArray = NDArray[np.float64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def child(seed: int, name: str) -> int:
    """A 64-bit seed for `name` under the root `seed`."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "little")


def generator(seed: int, name: str) -> np.random.Generator:
    """A generator of its own for `name`."""
    return np.random.Generator(np.random.PCG64(child(seed, name)))


def keys(seed: int, count: int) -> U64Array:
    """[count] one stream key a request."""
    return _mix(np.uint64(seed) + _GOLDEN * np.arange(1, count + 1, dtype=np.uint64))


def uniforms(key: np.uint64, stream: int, count: int) -> FloatArray:
    """[count] in (0, 1): position p of a stream is a pure function of (key, stream, p)."""
    positions = np.arange(stream << 40, (stream << 40) + count, dtype=np.uint64)
    return _unit(positions * _GOLDEN + key)


def first_uniforms(keys: U64Array, stream: int) -> FloatArray:
    """[n] position 0 of a stream, of every key."""
    return _unit(keys + np.array([stream << 40], np.uint64) * _GOLDEN)


def _unit(x: U64Array) -> FloatArray:
    return np.asarray(((_mix(x) >> np.uint64(11)) + 0.5) * 2.0**-53)


def _mix(x: U64Array) -> U64Array:
    """SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
