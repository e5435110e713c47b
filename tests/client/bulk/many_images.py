"""Images that count how far they were read, and a call of a method of either client."""

import asyncio
import contextlib
from collections.abc import Iterator

from linnaeus.client import AsyncClient, Client, LinnaeusError


class Counted:
    """Images that count how many were read, and how far the reading was ahead of the outcomes taken."""

    def __init__(self, count: int, failure: Exception | None = None) -> None:
        self.taken = self.ahead = self.read = 0
        self._count, self._failure = count, failure

    def __iter__(self) -> Iterator[bytes]:
        for index in range(self._count):
            self.read += 1
            self.ahead = max(self.ahead, self.read - self.taken)
            yield str(index).encode()
        if self._failure is not None:
            raise self._failure

    async def aiter(self):
        for image in self:
            await asyncio.sleep(0)
            yield image


class EitherClient:
    """Calls a method of either client; returns the outcomes and the error that was raised after them."""

    def __init__(self, kind: str, target: str) -> None:
        self._kind, self._target = kind, target
        # Called once the outcomes are closed, while the client is still open.
        self.afterwards = lambda: None
        # Called after each outcome.
        self.on_outcome = lambda: None

    def __call__(self, images, *, take: int | None = None, method: str = "classify_many", **options):
        outcomes: list = []
        try:
            if self._kind == "sync":
                self._sync(images, take, method, options, outcomes)
            else:
                asyncio.run(self._aio(images, take, method, options, outcomes))
        except (LinnaeusError, ZeroDivisionError) as failure:
            return outcomes, failure
        return outcomes, None

    def _sync(self, images, take, method, options, outcomes) -> None:
        with Client(self._target) as client:
            with contextlib.closing(getattr(client, method)(images, **options)) as stream:
                for outcome in stream:
                    outcomes.append(outcome)
                    if self._took(images, len(outcomes)) == take:
                        break
            self.afterwards()

    def _took(self, images, count: int) -> int:
        if isinstance(images, Counted):
            images.taken = count
        self.on_outcome()
        return count

    async def _aio(self, images, take, method, options, outcomes) -> None:
        async with AsyncClient(self._target) as client:
            async with contextlib.aclosing(getattr(client, method)(images, **options)) as stream:
                async for outcome in stream:
                    outcomes.append(outcome)
                    if self._took(images, len(outcomes)) == take:
                        break
            await asyncio.to_thread(self.afterwards)
