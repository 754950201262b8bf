"""State Persistence: save during execution, and resume from the checkpoint."""

from anabranch import ConditionalRule, Orchestra, PatternConfig, agent, state_manager
from tests.acceptance.telling import told

topology = PatternConfig.pipeline(stages=[{"name": n, "agents": [n]} for n in ("Collector", "Analyzer2", "Reporter")])


@agent("Collector")
def collector(request):
    return f"{request}: collected"


@agent("Analyzer2")
def analyzer(request):
    return f"{request}, analyzed"


@agent("Reporter")
def reporter(request):
    return f"{request}, reported"


async def save():
    """Start a run that pauses before the analysis, and name where it is."""
    held = topology.model_copy()
    held.rules = [ConditionalRule(condition="step.agent == 'Analyzer2'", action="pause")]
    handle = await Orchestra.submit(task="save", topology=held, context={"session_id": "abc123"})
    async for event in handle.events():
        if event["type"] == "RunPaused":
            break
    # Save state during execution
    checkpoint_id = await state_manager.create_checkpoint(session_id="abc123", checkpoint_name="before_analysis")
    return handle, checkpoint_id


async def restore(checkpoint_id):
    # Resume from checkpoint
    state = await state_manager.restore_checkpoint(checkpoint_id)
    result = await Orchestra.resume(state, topology)
    return {"name": state.name, "from the checkpoint": told(result)}


async def main():
    handle, checkpoint_id = await save()
    restored = await restore(checkpoint_id)
    return {**restored, "save": told(await Orchestra.resume(handle.run_id))}


WHOLE = {
    "status": "completed",
    "result": "save: collected, analyzed, reported",
    "metrics": {"total_steps": 3, "branch_count": 1, "parallel_branches": 1},
    "trace": ["b0 simple completed: 1 Collector, 2 Analyzer2, 3 Reporter"],
}
PROMISED = {"name": "before_analysis", "from the checkpoint": WHOLE, "save": WHOLE}
