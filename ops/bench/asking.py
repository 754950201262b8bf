"""The agent of `ops.bench.waiting`: it asks a person, and hands on what was said."""

from anabranch import agent, ask_user, final_response


@agent("Clerk")
def clerk(request, context):
    if context["step_number"] == 1:
        return ask_user({"for": context["run_id"]})
    return final_response({"run": context["run_id"], "said": request})
