"""What users are told when something failed."""

from typing import Any

import pytest

from anabranch_contracts import errors as e

RECORDS: list[dict[str, Any]] = [
    {"agent": "A", "status": "completed", "result": 1},
    {"agent": "B", "status": "failed", "error": {"message": "out of paper"}},
    {"agent": "C", "status": "cancelled"},
]


def test_a_failed_call_says_who_failed_of_how_many_and_why() -> None:
    error = e.InvocationFailed(RECORDS)
    assert str(error) == "2 of 3 failed: B: out of paper; C: cancelled" and error.records == RECORDS


def test_of_many_it_names_the_first_five_and_no_more_text_than_a_log_can_bear() -> None:
    many = [{"agent": f"A{i}", "status": "failed", "error": {"message": "x"}} for i in range(6)]
    assert str(e.InvocationFailed(many)).endswith("A4: x")
    long = [{"agent": "A", "status": "failed", "error": {"message": "x" * 5000}}]
    assert len(str(e.InvocationFailed(long))) == 2000


def test_an_invalid_topology_lists_every_reason_and_the_mend() -> None:
    error = e.InvalidTopology(["one", "two"])
    assert error.errors == ["one", "two"] and str(error) == "one; two" and error.hint == error.__notes__[0]
    assert error.hint == "correct the topology and try again"


def test_an_error_without_a_mend_has_no_note() -> None:
    error = e.AnabranchError("what")
    assert error.hint is None and not hasattr(error, "__notes__")


def test_a_rate_limit_may_say_when_to_come_back() -> None:
    assert e.RateLimited().retry_after is None and str(e.RateLimited()) == "rate limited"
    error = e.RateLimited("busy", retry_after=5)
    assert (str(error), error.retry_after) == ("busy", 5)
    with pytest.raises(e.AnabranchError):
        raise e.CommandRefused("no")
