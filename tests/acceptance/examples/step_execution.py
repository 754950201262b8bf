"""Step Execution: what the engine's `execute_step` hands to the agent `Analyzer`, and how it takes the reply."""

from anabranch import Orchestra, agent, final_response
from tests.acceptance.telling import told

topology = {"nodes": ["Analyzer", "Checker"], "edges": ["Analyzer <-> Checker"]}


@agent("Analyzer")
class Analyzer:
    """Tells, when it speaks for the second time, all that it was given."""

    async def run(self, request, memory, context, ctx):
        if not memory:
            return {"next_action": "invoke_agent", "action_input": {"agent": "Checker", "request": "is this so?"}}
        given = {"request": request, "memory": memory, "session": context["session_id"]}
        return final_response({**given, "branch": ctx.branch_id, "step": ctx.step_number, "may invoke": ctx.can_invoke})


@agent("Checker")
def checker(request):
    return f"{request} yes"


async def main():
    result = await Orchestra.run(task="check", topology=topology, context={"session_id": "s-1"})
    return {"check": told(result)}


PROMISED = {
    "check": {
        "status": "completed",
        "result": {
            "request": "is this so? yes",
            "memory": [
                {"role": "user", "content": "check"},
                {
                    "role": "assistant",
                    "content": {
                        "next_action": "invoke_agent",
                        "action_input": {"agent": "Checker", "request": "is this so?"},
                    },
                    "name": "Analyzer",
                },
            ],
            "session": "s-1",
            "branch": "b0",
            "step": 3,
            "may invoke": ["Checker"],
        },
        "metrics": {"total_steps": 3, "branch_count": 1, "parallel_branches": 1},
        "trace": ["b0 conversation completed: 1 Analyzer, 2 Checker, 3 Analyzer"],
    }
}
