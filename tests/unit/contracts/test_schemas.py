"""The schemas that other languages read are what the code says, and the check sees what is not."""

from pathlib import Path

import orjson
import pytest

from anabranch_contracts import schemas


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own to generate into."""
    monkeypatch.setattr(schemas, "FOLDER", tmp_path)
    assert schemas.main([]) == 0
    return tmp_path


def test_what_is_kept_is_what_the_code_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert schemas.main(["--check"]) == 0 and capsys.readouterr().out == ""


def test_every_message_event_and_input_has_a_schema(folder: Path) -> None:
    kept = {str(p.relative_to(schemas.FOLDER)): p.read_text() for p in folder.rglob("*") if p.is_file()}
    assert kept == schemas.documents()
    assert {"asyncapi.yaml", "schemas/Topology.json", "schemas/RunConfig.json"} < kept.keys()
    names = {model.__name__ for model, _, _ in schemas.CHANNELS.values()}
    assert {f"schemas/messages/{name}.json" for name in names} < kept.keys()
    assert {f"schemas/events/{n}.v{schemas.VERSIONS[n]}.json" for n in schemas.EVENTS} < kept.keys()
    for text in kept.values():
        assert orjson.loads(text) and text.endswith("}\n")


def test_the_asyncapi_document_refers_to_what_is_there(folder: Path) -> None:
    api = orjson.loads((folder / "asyncapi.yaml").read_text())
    assert api["asyncapi"] == "3.0.0" and set(api["channels"]) == set(api["operations"])
    assert {c["address"] for c in api["channels"].values()} == set(schemas.CHANNELS)
    assert {o["action"] for o in api["operations"].values()} == {"send", "receive"}
    referred = {found["$ref"] for c in api["channels"].values() for found in c["messages"].values()}
    referred |= {o["channel"]["$ref"] for o in api["operations"].values()}
    referred |= {m["payload"]["$ref"] for m in api["components"]["messages"].values()}
    for reference in referred:
        place = api
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
        assert place
    assert api["channels"]["step_requested"]["parameters"] == {"agent": {"description": "Name of the agent"}}
    assert "parameters" not in api["channels"]["step_completed"]
    bound = api["channels"]["run_requested"]["bindings"]["amqp"]
    assert bound == {"is": "routingKey", "exchange": {"name": "anabranch", "type": "topic", "durable": True}}


def test_what_differs_is_named_and_written_anew(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edited, lost, strange = folder / "asyncapi.yaml", folder / "schemas/Topology.json", folder / "schemas/Other.json"
    edited.write_text("{}\n")
    lost.unlink()
    strange.write_text("{}\n")
    assert schemas.main(["--check"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"{n} is not what the code says" for n in ("asyncapi.yaml", "schemas/Other.json", "schemas/Topology.json")
    ]
    assert edited.read_text() == "{}\n", "a check changes nothing"
    assert schemas.main([]) == 0 and schemas.main(["--check"]) == 0
    assert lost.exists() and not strange.exists()
