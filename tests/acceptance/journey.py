"""A team whose run of 100 steps has everything in it: a conversation, forks in forks, a convergence, calls, people,
retries, steering and a rate limit. What it says depends on what it is told, never on the run's id or on time.
"""

from anabranch import RateLimited, RecoverableError, agent, ask_user, final_response, invoke_agent, parallel_invoke

NAMES = ["Ann", "Bob", "Hub", "Worker", "Join", "Lead", "Squad", "Hand", "Editor", "Caller", "Helper", "Last"]
EDGES = [
    "Ann <-> Bob", "Bob -> Hub", "Hub -> Worker", "Worker -> Join", "Join -> Lead", "Lead <-> Squad",
    "Squad <-> Hand", "Lead -> Editor", "Editor <-> User", "Editor -> Caller", "Caller -> Helper", "Caller -> Last",
]  # fmt: skip
NODES = [{"name": name, "is_convergence_point": name == "Join"} for name in NAMES]
TOPOLOGY = {"nodes": NODES, "edges": EDGES, "entry": ["Ann"]}
CONFIG = {"retry": {"base_delay": 0.01}}
STEPS, TALK, WORKERS, SQUADS, HANDS, HELPERS = 100, 40, 20, 4, 4, 6
RESULT = {"said": "yes", "times": 7, "sum": 3025, "sure": "quite"}


def person(request):
    """What people answer, by what they are asked."""
    prompt = request["prompt"]
    if request["kind"] == "error":
        return "retry"
    return {"publish 120?": "yes", "how often?": 7, "sure of 3025?": "quite"}[prompt]


@agent("Ann")
async def ann(request, memory):
    return {"heard": request if isinstance(request, str) else request["said"], "remembers": len(memory)}


@agent("Bob")
async def bob(request, step, memory):
    said = {"said": f"Bob {step.step_number}", "remembers": len(memory)}
    return invoke_agent("Hub" if step.step_number == TALK else "Ann", said)


@agent("Hub")
async def hub():
    return parallel_invoke(invocations=[{"agent": "Worker", "request": i} for i in range(WORKERS)])


@agent("Worker")
async def worker(request, step):
    """Worker 4 breaks once, 5 is held up, 6 says nonsense, 7 needs a person, all of them only at first."""
    match request, step.attempt:
        case 4, 1:
            raise ConnectionError("the line is down")
        case 5, 1:
            raise RateLimited(retry_after=0.01)
        case 6, 1:
            return {"next_action": "dance"}
        case 7, 1:
            raise RecoverableError("what now?")
        case _:
            return request


@agent("Join")
async def join(request):
    return sum(record["result"] for record in request)


@agent("Lead")
async def lead(request):
    if isinstance(request, list):
        return invoke_agent("Editor", sum(record["result"] for record in request))
    return parallel_invoke(invocations=[{"agent": "Squad", "request": i} for i in range(SQUADS)])


@agent("Squad")
async def squad(request):
    if isinstance(request, list):
        return invoke_agent("Lead", sum(record["result"] for record in request))
    return parallel_invoke(invocations=[{"agent": "Hand", "request": 4 * request + i} for i in range(HANDS)])


@agent("Hand")
async def hand(request):
    return request


@agent("Editor")
async def editor(request, context):
    """Ask by action, then through the User node, then go on with both answers."""
    if isinstance(request, int) and "said" not in context:
        return ask_user(f"publish {request}?", choices=["yes", "no"])
    if "said" not in context:
        asked = {"prompt": "how often?", "schema": {"type": "integer", "minimum": 1}}
        return invoke_agent("User", asked, context_updates={"said": request})
    return invoke_agent("Caller", {"said": context["said"], "times": request})


@agent("Caller")
async def caller(request, ctx):
    numbers = await ctx.parallel_invoke(agents=["Helper"], tasks=list(range(HELPERS)))
    total = await ctx.invoke_agent("Helper", sum(numbers))
    sure = await ask_user(f"sure of {total}?")
    return invoke_agent("Last", {**request, "sum": total, "sure": sure})


@agent("Helper")
async def helper(request):
    return request * request


@agent("Last")
async def last(request):
    return final_response(request)
