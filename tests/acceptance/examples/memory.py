"""Memory Management: each branch keeps a list for each agent, injected before the agent runs."""

from anabranch import Orchestra, agent, final_response
from tests.acceptance.telling import told

topology = {"nodes": ["Host", "Guest"], "edges": ["Host <-> Guest"]}


@agent("Host")
class Host:
    async def run(self, prompt, memory=None):
        said = [f"{message['role']}: {message['content']}" for message in memory]
        return final_response({"host": said, "guest": prompt}) if len(memory) == 4 else f"{prompt}?"


@agent("Guest")
class Guest:
    async def run(self, prompt, memory=None):
        return [f"{message['role']}: {message['content']}" for message in memory] or "well"


async def main():
    return {"hello": told(await Orchestra.run(task="hello", topology=topology))}


PROMISED = {
    "hello": {
        "status": "completed",
        "result": {
            "host": ["user: hello", "assistant: hello?", "user: well", "assistant: well?"],
            "guest": ["user: hello?", "assistant: well"],
        },
        "metrics": {"total_steps": 5, "branch_count": 1, "parallel_branches": 1},
        "trace": ["b0 conversation completed: 1 Host, 2 Guest, 3 Host, 4 Guest, 5 Host"],
    }
}
