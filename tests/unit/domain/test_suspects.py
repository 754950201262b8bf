"""Which steps are in nobody's hand any more: given what looks at a queue found, when is a step offered again."""

from datetime import UTC, datetime, timedelta

import pytest

from anabranch.domain.suspects import GRACE, LEAVING, Seen, lost, seen

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TIMEOUT = 600.0
BOUND = TIMEOUT + GRACE
LEFT = LEAVING.total_seconds()


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def test_what_is_seen_of_a_queue_is_since_when_each_look_found_it_empty() -> None:
    first = seen(Seen(), 0, 1, ago(60))
    assert first == Seen(empty=ago(60))
    deserted = seen(first, 0, 0, ago(30))
    assert deserted == Seen(empty=ago(60), deserted=ago(30))
    assert seen(deserted, 0, 0, NOW) == deserted
    assert seen(deserted, 0, 2, NOW) == Seen(empty=ago(60))
    assert seen(deserted, 1, 0, NOW) == Seen()


@pytest.mark.parametrize(
    ("queue", "asked", "timeout", "is_lost"),
    [
        pytest.param(Seen(), ago(10 * BOUND), TIMEOUT, False, id="something waits in the queue: it may be this"),
        pytest.param(Seen(ago(1)), ago(10 * BOUND), TIMEOUT, False, id="taken a moment ago, perhaps"),
        pytest.param(Seen(ago(BOUND)), ago(10 * BOUND), TIMEOUT, True, id="whoever took it has had its time"),
        pytest.param(Seen(ago(BOUND - 1)), ago(10 * BOUND), TIMEOUT, False, id="nearly"),
        pytest.param(Seen(ago(10 * BOUND)), ago(BOUND), TIMEOUT, True, id="asked into an empty queue, long ago"),
        pytest.param(Seen(ago(10 * BOUND)), ago(BOUND - 1), TIMEOUT, False, id="asked into an empty queue, lately"),
        pytest.param(Seen(ago(10 * BOUND)), ago(10 * BOUND), None, False, id="it may take as long as it likes"),
        pytest.param(Seen(ago(LEFT), ago(LEFT)), ago(LEFT + 1), None, True, id="nobody is there to hold it"),
        pytest.param(Seen(ago(9), ago(9)), ago(LEFT + 1), TIMEOUT, False, id="the last worker may be leaving"),
        pytest.param(Seen(ago(LEFT), ago(LEFT)), ago(1), TIMEOUT, False, id="asked since: it is on its way"),
        pytest.param(Seen(ago(0), ago(0)), ago(3e10), 1e300, False, id="no calendar holds the timeout"),
    ],
)
def test_a_step_is_lost(queue: Seen, asked: datetime, timeout: float | None, is_lost: bool) -> None:
    assert lost(queue, asked, timeout, NOW) is is_lost
