"""Which replica has seen the beginning of a prompt: a guess at its prefix cache, good enough to break a tie."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

CHUNK = 256  # characters
CHUNKS = 16  # of one prompt, at most


class Prefixes:
    """Remembers the `most` newest chunks of prompts and where they were sent last."""

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._seen: OrderedDict[int, set[str]] = OrderedDict()

    def cached(self, prompt: str) -> dict[str, int]:
        """Leading characters of `prompt` each replica has seen; those that saw none are left out."""
        found: dict[str, int] = {}
        for i, key in enumerate(_keys(prompt)):
            here = [r for r in self._seen.get(key, ()) if found.get(r, 0) == i * CHUNK]
            if not here:
                break
            found |= dict.fromkeys(here, (i + 1) * CHUNK)
        return found

    def sent(self, prompt: str, replica: str) -> None:
        for key in _keys(prompt):
            self._seen.setdefault(key, set()).add(replica)
            self._seen.move_to_end(key)
        while len(self._seen) > self._most:
            self._seen.popitem(last=False)

    def forget(self, replica: str) -> None:
        for replicas in self._seen.values():
            replicas.discard(replica)


def _keys(prompt: str) -> Iterator[int]:
    """One key a whole chunk, made from everything up to its end."""
    key = 0
    for end in range(CHUNK, min(len(prompt), CHUNK * CHUNKS) + 1, CHUNK):
        key = hash((key, prompt[end - CHUNK : end]))
        yield key
