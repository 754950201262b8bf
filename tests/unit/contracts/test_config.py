"""Configurations: what is read from one, and what is wrong with one."""

from anabranch_contracts.config import parse_config, parse_memory, parse_policy


def test_a_number_may_be_written_as_a_text_where_it_is_read() -> None:
    config, errors = parse_config({"max_steps": "5"})
    assert config is not None and (config.max_steps, errors) == (5, [])


def test_it_may_not_where_it_is_kept() -> None:
    assert parse_policy({"timeout": "5"}, "here") == ["here.timeout: Input should be a valid number"]
    assert parse_memory({"max_messages": "5"}, "here") == ["here.max_messages: Input should be a valid integer"]


def test_all_that_is_wrong_is_said_with_the_mend() -> None:
    assert parse_config({"max_step": 5, "retry": {"max_attempts": 0}}) == (
        None,
        [
            "config.retry.max_attempts: Input should be greater than or equal to 1",
            "config.max_step: unknown setting; remove it or correct its name",
        ],
    )
    assert parse_config(7)[1][0].startswith("config: Input should be a valid dictionary")
