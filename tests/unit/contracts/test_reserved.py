"""No setting may take away what messages, replies, topologies and configurations are made of."""

from anabranch_contracts.reserved import needed


def test_the_fields_of_every_model_and_the_words_of_a_reply_are_needed() -> None:
    of_a_message, of_a_config = {"run_id", "step_id", "attempt"}, {"max_branch_steps", "max_in_flight"}
    of_a_rule, of_a_topology = {"max_tokens", "on_limit"}, {"is_convergence_point", "bidirectional"}
    of_a_reply = {"next_action", "invocations", "final_response"}
    assert of_a_message | of_a_config | of_a_rule | of_a_topology | of_a_reply <= needed()
    assert not {"password", "api_key"} & needed()
