"""What fuzzing found, each as a rule of its own (the targets are in tests/fuzz)."""

from typing import Any
from uuid import UUID

import orjson
import pytest

from anabranch.cli.running import as_object, as_value
from anabranch.runtime.ports import Delivery
from anabranch.runtime.reading import Unreadable, read
from anabranch.runtime.settings import SettingsError, load
from anabranch_contracts.config import parse_config
from anabranch_contracts.errors import AnabranchError
from anabranch_contracts.notation import parse_topology

JSON = Any
RUN = str(UUID(int=1))


@pytest.mark.parametrize("attempt", [2**31, 2**70, 1e308, "9" * 400], ids=["column", "wide", "float", "text"])
def test_an_attempt_that_no_table_holds_is_unreadable(attempt: JSON) -> None:
    """As a text it became a number that could not be stored, and a defect of the router."""
    body = {"run_id": RUN, "branch_id": "b0", "step_id": "b0#1", "attempt": attempt, "response": 1}
    data = orjson.dumps(body) if not isinstance(attempt, int) else str(body).replace("'", '"').encode()
    with pytest.raises(Unreadable, match="attempt"):
        read(Delivery("step.completed", data))


@pytest.mark.parametrize("at", [2**31, 1e308, True], ids=["column", "float", "truth"])
def test_a_fork_at_a_version_that_cannot_be_is_unreadable(at: JSON) -> None:
    with pytest.raises(Unreadable, match="at"):
        read(Delivery("run.fork", orjson.dumps({"run_id": RUN, "at": at})))


def test_a_name_that_a_stranger_made_up_is_cut_where_it_is_said_to_be_wrong() -> None:
    name = "k" * 1_000_000
    with pytest.raises(Unreadable) as refused:
        read(Delivery("run.pause", orjson.dumps({"run_id": RUN, name: 1})))
    said = [str(refused.value), *parse_config({name: 1})[1], *parse_topology({"nodes": [{"name": "A", name: 1}]})[1]]
    assert len(said) == 3 and all("kkk" in one and len(one) < 300 for one in said)


def test_a_home_of_somebody_who_is_not_here_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANABRANCH_DATA_DIR", "~nobody-there/x")
    with pytest.raises(SettingsError, match="ANABRANCH_DATA_DIR is '~nobody-there/x'; allowed: a folder"):
        load()


@pytest.mark.parametrize("read_it", [as_value, as_object])
def test_bytes_of_the_terminal_that_are_no_text_are_refused(read_it: Any) -> None:
    with pytest.raises(AnabranchError, match="not UTF-8"):
        read_it('{"a": "\udcff"}')
