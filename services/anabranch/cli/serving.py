"""Run services: each alone, or all in one process."""

import asyncio

from anabranch.runtime.settings import Settings, load


def router() -> int:
    """Run the router service (needs ANABRANCH_AMQP_URL and ANABRANCH_DATABASE_URL)."""
    from anabranch.router.app import serve

    return asyncio.run(serve(load()))


def supervisor() -> int:
    """Run the branch-supervisor service (needs ANABRANCH_AMQP_URL and ANABRANCH_DATABASE_URL)."""
    from anabranch.branch_supervisor.app import serve

    return asyncio.run(serve(load()))


def worker(*, agents: str | None = None, concurrency: int | None = None) -> int:
    """Run an agent-worker (needs ANABRANCH_AMQP_URL, no database).

    Parameters
    ----------
    agents
        module or .py file that registers the agents (default: ANABRANCH_AGENTS)
    concurrency
        steps at once (default: ANABRANCH_CONCURRENCY or 16)
    """
    from anabranch.agent_worker.service import serve

    given = {"agents": agents, "concurrency": concurrency}
    settings = load().model_copy(update={k: v for k, v in given.items() if v is not None})
    return asyncio.run(serve(settings))


def dev(*, agents: str | None = None) -> int:
    """Run router, supervisor and worker in one process, on ANABRANCH_AMQP_URL or embedded.

    Parameters
    ----------
    agents
        module or .py file that registers the agents (default: ANABRANCH_AGENTS)
    """
    settings = load()
    if agents is not None:
        settings = settings.model_copy(update={"agents": agents})
    return asyncio.run(_dev(settings))


async def _dev(settings: Settings) -> int:
    if settings.amqp_url is not None:
        return await _all(settings)
    from anabranch.agents.registry import load_modules
    from anabranch.client.serving import serve_embedded

    load_modules(settings.agents)
    return await serve_embedded(settings)


async def _all(settings: Settings) -> int:
    """Three services of their own in one loop; SIGTERM reaches each."""
    from anabranch.agent_worker.service import serve as work
    from anabranch.branch_supervisor.app import serve as supervise
    from anabranch.router.app import serve as route

    quiet = settings.model_copy(update={"metrics_port": None})
    codes = await asyncio.gather(route(settings), supervise(quiet), work(quiet))
    return max(codes)
