"""A broker, a database and two of each service, all of our own: whoever lives here may be killed."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from anabranch.runtime.postgres.migrate import upgrade
from tests.link import Link, Links, links
from tests.processes import Process
from tests.servers import Broker, Database, broker
from tests.services import data_folder, free_port

TEAM = Path(__file__).with_name("team.py")
MODULES = {
    "router": "anabranch.router",
    "supervisor": "anabranch.branch_supervisor",
    "worker": "anabranch.agent_worker",
}


@dataclass
class Inhabitant:
    """A service process and its links: `broker`, and of those with a database `database`."""

    process: Process
    links: Mapping[str, Link] = field(default_factory=dict)


@dataclass
class Town:
    """Both servers, the services by their kind, and where the links live."""

    broker: Broker
    database: Database
    services: Mapping[str, list[Inhabitant]]
    threads: Links | None = None

    @property
    def everybody(self) -> list[Process]:
        return [one.process for several in self.services.values() for one in several]

    def links_of(self, victim: str) -> list[Link]:
        """The links that a fault of this victim's network is a fault of."""
        if victim in self.services:
            return list(self.services[victim][0].links.values())
        all_links = [one.links for several in self.services.values() for one in several]
        return [by_server[victim] for by_server in all_links if victim in by_server]

    def server(self, victim: str) -> Broker | Database:
        return self.broker if victim == "broker" else self.database

    def members(self, victim: str) -> list[Process]:
        """The process that a fault of this victim is a fault of; none of a server."""
        return [self.services[victim][0].process] if victim in self.services else []

    def do(self, some: list[Link], action: Callable[[Link], None]) -> None:
        """Something to each of these links."""
        assert self.threads is not None
        for link in some:
            self.threads.do(partial(action, link))

    def heal(self) -> None:
        """Every link as it should be, everybody there and ready."""
        for server in ("broker", "database"):
            self.do(self.links_of(server), Link.mend)
        for process in self.everybody:
            if process.process is None or process.process.poll() is not None:
                process.start()
        self.await_ready()

    def await_ready(self) -> None:
        """Until everybody says so."""
        for process in self.everybody:
            process.await_ready()


@contextmanager
def database(options: dict[str, str] | None = None, folder: Path | None = None) -> Iterator[Database]:
    """A Postgres with our tables, for the duration."""
    with ExitStack() as stack:
        made = Database(folder or stack.enter_context(data_folder()), free_port(), options)
        asyncio.run(made.initialise())
        try:
            made.start()
            asyncio.run(upgrade(made.url))
            yield made
        finally:
            made.kill()


@contextmanager
def town(
    folder: Path,
    counts: Mapping[str, int] | None = None,
    linked: bool = True,
    more: Mapping[str, str] | None = None,
    data: Path | None = None,
) -> Iterator[Town]:
    """Started and ready; everybody is killed at the end, whatever happened. `linked`: through links that misbehave."""
    with ExitStack() as stack:
        node = stack.enter_context(broker((free_port(), free_port(), free_port())))
        base = stack.enter_context(database(folder=data))
        threads = stack.enter_context(links()) if linked else None
        services = {
            kind: [_inhabitant(kind, i, node, base, threads, folder, more or {}) for i in range(count)]
            for kind, count in (counts or dict.fromkeys(MODULES, 2)).items()
        }
        made = Town(node, base, services, threads)
        try:
            for process in made.everybody:
                process.start()
            made.await_ready()
            yield made
        finally:
            for process in made.everybody:
                if process.process is not None and process.process.poll() is None:
                    process.kill()


def _inhabitant(
    kind: str, number: int, node: Broker, base: Database, threads: Links | None, folder: Path, more: Mapping[str, str]
) -> Inhabitant:
    made: dict[str, Link] = {}
    amqp, sql = node.url + "/", base.url
    if threads is not None:
        made["broker"] = threads.to(amqp, 5672)
        amqp = made["broker"].url
        if kind != "worker":
            made["database"] = threads.to(sql, 5432)
            sql = made["database"].url
    given = {"ANABRANCH_AMQP_URL": amqp, "ANABRANCH_LOG_FORMAT": "json", **more}
    given |= {"ANABRANCH_AGENTS": str(TEAM)} if kind == "worker" else {"ANABRANCH_DATABASE_URL": sql}
    return Inhabitant(Process(MODULES[kind], given, folder / f"{kind}-{number}.log"), made)
