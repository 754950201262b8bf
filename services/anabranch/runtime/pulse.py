"""Whether a service can work now: by operations that succeeded lately, never by flags.

    beating --(a probe fails, or none has been answered for a while)--> faint --(for `silence`)--> gone
       ^                                                                  |                          |
       +--------------------------(probes are answered)-------------------+          its connections are ended

A probe is what work consists of: a publish that is confirmed, a statement that is answered. So a connection whose
other end has vanished, a broker that takes nothing because its disk is full, and a database that only reads are
all seen by who is idle too. A slow answer makes a service unready and costs nothing else; silence ends what it has
in hand, for a connection that has been silent is not trusted again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from anabranch.runtime.ports import Unavailable

EVERY_SECONDS = 2.0
ANSWER_SECONDS = 4.0
SILENCE_SECONDS = 15.0
Probe = Callable[[], Awaitable[None]]


class Pulse:
    """Probes of all that a service depends on; made when they have just been reached."""

    def __init__(
        self,
        probes: Sequence[Probe],
        healthy: Callable[[], bool],
        lose: Callable[[], None],
        silence: float = SILENCE_SECONDS,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._probes = probes
        self._healthy = healthy
        self._lose = lose
        self._silence = silence
        self._clock = clock or asyncio.get_running_loop().time
        self._beat = self._clock()
        self._faint: str | None = None

    def beating(self) -> bool:
        """Whether all probes were answered, and not long ago."""
        fresh = self._clock() - self._beat <= EVERY_SECONDS + ANSWER_SECONDS
        return self._faint is None and fresh and self._healthy()

    async def watch(self) -> None:
        """Probe for as long as there is an answer now and then; raises `Unavailable` once there is none."""
        while self._clock() - self._beat < self._silence:
            await asyncio.sleep(EVERY_SECONDS)
            await self.probe()
        self._lose()
        raise Unavailable(f"{self._faint}, for {self._silence:g} s")

    async def probe(self) -> None:
        """Ask all of them once."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                for probe in self._probes:
                    await probe()
        except Unavailable as error:
            self._faint = str(error)
        except TimeoutError:
            self._faint = f"no answer within {ANSWER_SECONDS:g} s"
        else:
            self._beat, self._faint = self._clock(), None
