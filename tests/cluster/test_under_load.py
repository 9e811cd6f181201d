"""A bounded slice of tests/faults: each thing tried briefly, judged by the same rules."""

from __future__ import annotations

import argparse
import asyncio

import pytest

from tests.cluster.service import Service
from tests.faults import abuse, graphs, kills, policies, storm
from tests.faults.graphs import Case
from tests.faults.result import Row


def faultless(rows: list[Row]) -> bool:
    assert all(of.tried for of in rows)
    assert [said for of in rows for said in (of.what, *of.wrong) if not of.good] == []
    return True


@pytest.mark.parametrize("victim", ["replica", "ingress"])
def test_a_part_killed_in_the_middle_of_streams_loses_nothing(service: Service, victim: str) -> None:
    assert faultless(kills.run(service, [Case(victim, "stream", slack=10)], lambda _: None))


def test_good_and_bad_configs_in_turn_lose_nothing_and_the_last_good_one_is_live(service: Service) -> None:
    assert faultless([storm.run(service, swaps=10, seconds=5)])


def test_policies_that_raise_and_ask_too_much_lose_nothing_and_are_counted(service: Service) -> None:
    assert faultless(policies.run(service, ["raises", "huge"], Case(), seconds=1))


def test_clients_that_leave_or_come_all_at_once_leave_nothing_behind(service: Service) -> None:
    service.deploy(graphs.fake(2))
    service.ready(2)
    few = argparse.Namespace(disconnects=60, connects=60, seconds=3.0)
    assert faultless(asyncio.run(abuse.run(service, Case(), few)))
