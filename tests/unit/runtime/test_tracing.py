"""What of a message's headers goes on to what it causes."""

from anabranch.runtime.tracing import carried

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_trace_context_is_carried_and_nothing_else() -> None:
    trace = {"traceparent": PARENT, "tracestate": "a=b"}
    assert carried({**trace, "x": "y"}) == trace


def test_what_could_be_no_trace_is_left_behind() -> None:
    assert carried({"traceparent": "x" * 130_960, "tracestate": 7}) == {}
