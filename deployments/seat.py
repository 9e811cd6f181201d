"""One request's place at a replica, from the door until its answer has ended."""

from __future__ import annotations

from deployments.admission import Asked, Door
from policies.fleet.ledger import Sent


class Seat:
    """Given back once, however often `leave` is called."""

    def __init__(self, door: Door, asked: Asked, sent: Sent) -> None:
        self._door, self._asked, self._sent = door, asked, sent
        self._left = False

    @property
    def replica(self) -> str:
        return self._sent.replica

    def lost(self) -> None:
        """The replica died before the first token. Raises ApiError 503 where there is no other."""
        self._sent = self._door.again(self._asked, self._sent)

    def answered(self, replica: str) -> None:
        """The first part is there, from this replica."""
        self._sent = self._door.arrived(self._sent, replica, streamed=self._asked.stream)

    def leave(self) -> None:
        if not self._left:
            self._left = True
            self._door.leave(self._sent)
