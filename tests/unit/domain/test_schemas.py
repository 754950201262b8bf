"""Semantics 8: schemas that could keep the checker busy without end are refused before they are used."""

import re
from time import process_time
from typing import Any

import pytest

from anabranch.domain.schemas import MAX_CHECKED, MAX_DEEP, MAX_SCHEMA, MAX_VALUES, Unusable, mismatch, prepare
from anabranch.domain.turn import Refused
from anabranch_contracts import reply_builders as build
from tests.unit.domain.runs import Run

JSON = Any


def doubling(levels: int) -> JSON:
    """Each definition refers twice to the next: few bytes, 2 ** levels parts."""
    defs: JSON = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{levels}": {"type": "null"}}}


def chain(links: int) -> JSON:
    """Each definition is the next."""
    defs: JSON = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(links)}
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{links}": {"type": "null"}}}


def repeated(times: int, part: JSON) -> JSON:
    """One definition, referred to as often."""
    return {"allOf": [{"$ref": "#/$defs/part"}] * times, "$defs": {"part": part}}


def nested(depth: int) -> JSON:
    return {"type": "array", "items": nested(depth - 1)} if depth else {"type": "null"}


def staircase(steps: int) -> JSON:
    """Before each step down there is one aside."""
    return {"allOf": [{"type": "null"}, staircase(steps - 1)]} if steps else {"type": "null"}


LONG = "x" * 120
OLD = "http://json-schema.org/draft-04/schema#"
UNUSABLE: list[tuple[JSON, str]] = [
    ({"$ref": "#"}, "refers to '#'; only '#/...', inside itself, can be followed"),
    ({"$defs": {"n": {"items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/n"}, "refers to itself at '#/$defs/n'"),
    ({"properties": {"n": {"$ref": "#/properties/n"}}}, "refers to itself at '#/properties/n'"),
    ({"anyOf": [{"type": "null"}, {"items": {"$ref": "#/anyOf/1"}}]}, "refers to itself at '#/anyOf/1'"),
    (
        {"$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"not": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"},
        "refers to itself",
    ),
    ({"definitions": {"n": {"items": {"$ref": "#/definitions/n"}}}, "$ref": "#/definitions/n"}, "refers to itself"),
    ({"properties": {"n": {"$dynamicRef": "#node"}}}, "refers to '#node'"),
    ({"items": {"$recursiveRef": "#"}}, "refers to '#'"),
    (doubling(20), "unrolls to more than 2000 parts"),
    ({"properties": {str(i): {"type": "null"} for i in range(2000)}}, "unrolls to more than 2000 parts"),
    (repeated(100, {"allOf": [True] * 8000}), f"unrolls to more than {MAX_VALUES} values"),
    (repeated(100, {"enum": list(range(8000))}), f"unrolls to more than {MAX_VALUES} values"),
    (chain(600), f"unrolls to more than {MAX_DEEP} levels"),
    ({"allOf": [*[{"type": "null"}] * 100, nested(200)]}, f"unrolls to more than {MAX_DEEP} levels"),
    (repeated(100, {"enum": [{"a": list(range(8000))}]}), f"unrolls to more than {MAX_VALUES} values"),
    (staircase(100), f"unrolls to more than {MAX_DEEP} levels"),
    (nested(200), f"unrolls to more than {MAX_DEEP} levels"),
    ({"items": {"$id": "http://127.0.0.1/x", "$ref": "#/type"}}, "has '$id' inside"),
    ({"$schema": OLD, "properties": {"n": {"id": "x"}}}, "has 'id' inside"),
    ({"$schema": OLD, "properties": {"n": {"$id": "x"}}}, "has '$id' inside"),
    ({"$ref": "http://127.0.0.1/x"}, "refers to 'http://127.0.0.1/x'"),
    ({"items": {"$ref": "other.json#/x"}}, "refers to 'other.json#/x'"),
    ({"$ref": "#/$defs/n"}, "nothing at '#/$defs/n'"),
    ({"$ref": "#/anyOf/7", "anyOf": [True]}, "nothing at '#/anyOf/7'"),
    ({"$ref": f"#/{LONG}"}, f"nothing at '#/{LONG[:98]}'"),
    ({"$ref": LONG}, f"refers to '{LONG[:100]}';"),
    ({"type": "nothing"}, "cannot be used"),
    ({"enum": ["x" * MAX_SCHEMA]}, f"the limit is {MAX_SCHEMA}"),
]


@pytest.mark.parametrize(("schema", "why"), UNUSABLE, ids=range(len(UNUSABLE)))
def test_what_could_be_followed_without_end_is_refused_with_its_reason(schema: JSON, why: str) -> None:
    with pytest.raises(Unusable) as refused:
        prepare(schema)
    assert why in str(refused.value)
    run = Run({"nodes": ["A"]})
    run.reply("A", build.ask_user("well?", schema=schema))
    assert why in run.at("A")["steering"] and not run.open


PERSON = {
    "type": "object",
    "$id": "http://127.0.0.1/person",
    "properties": {"name": {"$ref": "#/$defs/name"}, "friends": {"items": {"$ref": "#/$defs/name"}}},
    "additionalProperties": False,
    "$defs": {"name": {"type": "string", "minLength": 1}},
}
REFERENCE = {"$ref": "#", "$id": "x", "id": "y"}
USABLE: list[tuple[JSON, JSON, JSON]] = [
    ({"type": "integer"}, 1, "1"),
    (PERSON, {"name": "Ann", "friends": ["Bob"]}, {"name": "Ann", "friends": [""]}),
    ({"$ref": "#/definitions/n", "definitions": {"n": {"type": "null"}}}, None, 1),
    ({"anyOf": [{"type": "null"}, {"items": {"$ref": "#/anyOf/0"}}]}, [None, None], [1]),
    ({"allOf": [{"$ref": "#/$defs/a~1b~0c"}], "$defs": {"a/b~c": {"type": "null"}}}, None, 1),
    ({"const": REFERENCE}, REFERENCE, {"$ref": "#"}),
    ({"enum": [REFERENCE]}, REFERENCE, 1),
    ({"type": "null", "default": REFERENCE, "examples": [REFERENCE]}, None, 1),
    ({"dependentRequired": {"id": ["name"]}}, {"id": 1, "name": 2}, {"id": 1}),
    (
        {"$schema": "http://json-schema.org/draft-07/schema", "dependencies": {"id": ["name"]}},
        {"id": 1, "name": 2},
        {"id": 1},
    ),
    ({"type": "null", "x-deep": nested(200)}, None, 1),
    ({"properties": {"n": {"id": "x", "type": "null"}}}, {"n": None}, {"n": 1}),
    (doubling(5), None, 1),
    (chain(100), None, 1),
    (nested(90), [], 1),
]


@pytest.mark.parametrize(("schema", "fitting", "unfitting"), USABLE, ids=range(len(USABLE)))
def test_others_are_used(schema: JSON, fitting: JSON, unfitting: JSON) -> None:
    assert mismatch(fitting, schema) is None
    assert "does not fit its schema" in (mismatch(unfitting, schema) or "")


KEYWORDS = ["default", "enum", "const", "examples", "$ref", "$id", "id", "$defs", "definitions", "properties", "items"]


@pytest.mark.parametrize("name", KEYWORDS)
def test_a_property_may_be_called_like_a_keyword(name: str) -> None:
    properties = {name: {"type": "null"}, "other": {"$ref": f"#/properties/{name}"}}
    schema = {"properties": properties, "dependentSchemas": {name: {"required": ["other"]}}}
    assert mismatch({name: None, "other": None}, schema) is None
    for unfitting in ({name: 1, "other": None}, {name: None, "other": 1}, {name: None}):
        assert "does not fit its schema" in (mismatch(unfitting, schema) or "")


@pytest.mark.parametrize("name", KEYWORDS)
def test_and_is_followed_all_the_same(name: str) -> None:
    with pytest.raises(Unusable, match="refers to itself"):
        prepare({"properties": {name: {"properties": {name: {"$ref": f"#/properties/{name}"}}}}})


def test_an_answer_that_is_too_large_to_check_is_refused() -> None:
    text = "x" * (MAX_CHECKED - len('""'))
    assert mismatch(text, {"type": "string"}) is None
    assert "what is checked against this schema may have 262144" in (mismatch(text + "x", {"type": "string"}) or "")
    run = Run({"nodes": ["A"]})
    run.reply("A", build.ask_user("well?", schema={"type": "string"}))
    with pytest.raises(Refused, match="has 262145 bytes"):
        run.answer(text + "x")
    run.answer(text)
    assert run.at("A")["request"] == text


def choices_of(width: int) -> JSON:
    """A list of anything but 1, said in so many alternatives."""
    return {"anyOf": [{"items": {"anyOf": [{"const": i + 2} for i in range(width)]}}]}


LABOURS = [([1] * 9000, choices_of(1900)), ([[0.5]] * 9000, {"items": {"enum": [[i] for i in range(6000)]}})]


@pytest.mark.parametrize(("value", "schema"), LABOURS, ids=["alternatives", "values"])
def test_an_answer_that_is_too_large_for_its_schema_is_refused(value: list[JSON], schema: JSON) -> None:
    assert re.match(r"has \d{5} bytes; what is checked against this schema may have \d+", mismatch(value, schema) or "")
    assert (mismatch(value[:500], schema) or "").startswith("does not fit its schema")


def test_why_an_answer_does_not_fit_is_said_where_that_costs_little() -> None:
    assert mismatch([1] * 1000, choices_of(1900)) == "does not fit its schema"
    assert "is not valid under any of the schemas" in (mismatch([1] * 10, choices_of(1900)) or "")
    assert mismatch([2] * 1000, choices_of(1900)) is None


def test_a_pattern_keeps_nobody_busy() -> None:
    """Where nothing bounds the backtracking of one match, so many of them take minutes."""
    schema = {"items": {"if": {"pattern": r"(a*)*\1b"}, "then": {}, "else": {}}}
    texts = [f"{'a' * 28}c{i}" for i in range(5000)]
    began = process_time()
    said = mismatch(texts, schema)
    assert said is None or "does not fit" in said
    assert process_time() - began < 20, "of work: others may be at work beside us"


def test_a_value_that_is_no_json_fits_no_schema() -> None:
    assert mismatch(2**70, {"type": "integer"}) == "cannot be checked: Integer exceeds 64-bit range"


def test_why_an_answer_does_not_fit_says_where() -> None:
    schema = {"properties": {"a": {"items": {"type": "integer"}}}}
    assert mismatch({"a": [1, "x"]}, schema) == 'does not fit its schema at a/1: "x" is not of type "integer"'
    assert mismatch("x", {"type": "integer"}) == 'does not fit its schema: "x" is not of type "integer"'


def test_what_is_just_small_enough_is_used() -> None:
    for schema in ({"properties": {str(i): {"type": "null"} for i in range(1999)}}, nested(MAX_DEEP - 2)):
        prepare(schema)
    with pytest.raises(Unusable, match=f"unrolls to more than {MAX_DEEP} levels"):
        prepare(nested(MAX_DEEP - 1))
