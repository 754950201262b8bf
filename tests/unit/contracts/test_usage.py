"""What a result says of its cost is brought within bounds: no result is lost because its worker cannot count."""

from typing import Any
from uuid import UUID

import orjson
import pytest

from anabranch_contracts.messages import StepCompleted, StepError, Usage

JSON = Any
MOST_TOKENS = 2**31 - 1
TOKENS = [
    (0, 0),
    (7, 7),
    (MOST_TOKENS, MOST_TOKENS),
    (MOST_TOKENS + 1, MOST_TOKENS),
    (10**30, MOST_TOKENS),
    (1e300, MOST_TOKENS),
    (float("inf"), MOST_TOKENS),
    (-4, 0),
    (float("-inf"), 0),
    (float("nan"), None),
    (12.0, 12),
    (1.5, 1),
    (None, None),
    ("99999999999", MOST_TOKENS),
    ("-5", 0),
    ("NaN", None),
    ("many", None),
    ([1], None),
    (True, None),
]
COSTS = [(0.25, 0.25), (3, 3.0), (10**30, 1e9), (1e300, 1e9), (-4, 0.0), (float("nan"), None), (None, None)]
COSTS += [("0.5", 0.5), ("inf", 1e9), ("-5", 0.0), ("NaN", None), ({}, None)]


@pytest.mark.parametrize(("said", "counted"), TOKENS)
def test_tokens_are_brought_within_what_can_be_counted(said: JSON, counted: int | None) -> None:
    usage = Usage(input_tokens=said, output_tokens=said)
    assert usage.input_tokens == usage.output_tokens == counted


@pytest.mark.parametrize(("said", "counted"), COSTS)
def test_so_is_a_cost(said: JSON, counted: float | None) -> None:
    assert Usage(cost=said).cost == counted


def test_a_result_is_taken_whatever_it_says_of_its_cost() -> None:
    said = orjson.loads(b'{"input_tokens": 0.1, "output_tokens": -1, "cost": 1000000000000000000000000000000}')
    step = {"run_id": UUID(int=1), "branch_id": "b0", "step_id": "b0#1", "attempt": 1}
    usage = StepCompleted.model_validate({**step, "response": "done", "usage": said}).usage
    assert usage == Usage(input_tokens=0, output_tokens=0, cost=1e9)


@pytest.mark.parametrize("said", ["lots", 7, [], True])
def test_what_says_nothing_of_its_cost_is_taken_too(said: JSON) -> None:
    step = {"run_id": UUID(int=1), "branch_id": "b0", "step_id": "b0#1", "attempt": 1}
    assert StepCompleted.model_validate({**step, "response": "done", "usage": said}).usage is None


def test_what_an_error_says_of_itself_is_cut() -> None:
    error = StepError(kind="transient", type="T" * 10**6, message="m" * 10**6)
    assert (len(error.type), len(error.message)) == (200, 10_000)
