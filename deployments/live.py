"""A config that changes while it is used: checked first, swapped whole, never an exception for Serve to act on."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from deployments.problems import Problem, of_validation
from deployments.settings import Settings
from deployments.status import Rejection

logger = logging.getLogger(__name__)
C = TypeVar("C", bound=Settings)


class Live(Generic[C]):
    """The last good config and the last refused one.

    Serve stops a replica whose `reconfigure` raises, so a refusal is recorded here instead.
    """

    def __init__(self, default: C) -> None:
        self.now = default
        self.rejection: Rejection | None = None
        self.applied = 0
        self.rejected = 0

    def parse(self, user_config: Mapping[str, Any] | None) -> C | list[Problem]:
        try:
            return type(self.now).model_validate(user_config or {})
        except ValidationError as error:
            return of_validation(error)

    def accept(self, config: C) -> None:
        self.now = config
        self.applied += 1
        self.rejection = None

    def reject(self, problems: list[Problem]) -> None:
        self.rejected += 1
        self.rejection = Rejection(at_s=time.time(), problems=tuple(problems))
        logger.error("config refused, the last good one stays: %s", "; ".join(map(str, problems)))

    def update(self, user_config: Mapping[str, Any] | None) -> None:
        """Parse and swap, or record why not."""
        parsed = self.parse(user_config)
        if isinstance(parsed, list):
            self.reject(parsed)
        else:
            self.accept(parsed)
