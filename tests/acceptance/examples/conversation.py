"""Conversation Pattern."""

from anabranch import Orchestra
from tests.acceptance.examples import branch_types
from tests.acceptance.telling import told

topology = {
    "nodes": ["Agent1", "Agent2"],
    "edges": ["Agent1 <-> Agent2"],  # Bidirectional
}
# Execution: Agent1 ↔ Agent2 (multiple turns)


async def main():
    return {"to and fro:": told(await Orchestra.run(task="to and fro:", topology=topology))}


PROMISED = {"to and fro:": {**branch_types.PROMISED["a talk:"], "result": "to and fro: 1 2 1 2 1"}}
