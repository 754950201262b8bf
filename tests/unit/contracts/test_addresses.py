"""Addresses: whose steps a key is for, and where a reply may go."""

import pytest

from anabranch_contracts.addresses import agent_of, answerable, step_key, step_queue

NAMES = [("A", "A"), ("a b", "a b"), ("é*~", "#C3#A9#2A#7E"), ("x/y@z,+:._-", "x/y@z,+:._-"), ("100%", "100#25")]


@pytest.mark.parametrize(("name", "written"), NAMES)
def test_a_name_is_written_so_that_a_broker_takes_it_and_is_read_again(name: str, written: str) -> None:
    assert (step_key(name), step_queue(name)) == (f"step.requested.{written}", f"anabranch.step.{written}")
    assert agent_of(step_key(name)) == name and agent_of(f"other.{written}") is None


ASKED = [("mine", True), ("anabranch.reply.7", True), ("anabranch.router", False), ("anabranch.step.A", False)]


@pytest.mark.parametrize(("reply_to", "may"), ASKED)
def test_a_reply_goes_to_no_queue_of_a_service(reply_to: str, may: bool) -> None:
    assert answerable(reply_to) == may
