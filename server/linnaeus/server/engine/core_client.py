"""The interface between the requests of one process and the core of the engine, in this process or in another one.

`EngineCore` implements it in process, `RemoteCore` across a socket.
"""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from linnaeus.server.errors import RequestError
from linnaeus.server.model_store.catalog import Catalog, Entry
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.request import RequestPayload, RequestTicket
from linnaeus.server.requests.request_queue import RequestQueue
from linnaeus.server.scheduling import DecodeWork, PredictionError, Priority


class ModelFigures(NamedTuple):
    """What the scheduler has measured of a ready version.

    Attributes:
        batch_seconds: estimated seconds of a batch, by device and batch size.
        prediction_error: the error of the predicted answer times.
    """

    batch_seconds: Mapping[str, Mapping[int, float]]
    prediction_error: PredictionError


class ModelOperations(Protocol):
    """The operators' operations on models; see `ModelManager`."""

    async def load_model(self, model: str) -> list[Entry]:
        """Loads the versions that are wanted and not served."""

    async def unload_model(self, model: str, version: str = "") -> list[Entry]:
        """Stops serving a version, or all versions."""

    async def reload_model(self, model: str) -> list[Entry]:
        """Loads the versions anew."""

    async def set_default_version(self, model: str, version: str) -> Entry:
        """Sets the version that answers requests that name none."""


class CoreClient(Protocol):
    """What the requests of one process need of the core. Event loop's thread only.

    Attributes:
        catalog: the model versions and their states.
        queue: the requests that were admitted and have not ended.
        model_manager: loads and unloads versions.
        health_changed: set whenever a device is removed or the served versions change.
        decoders: number of decoder threads to start; known after `prepare`.
        unready_reason: why requests are refused, in a sentence; empty if they are not.
    """

    catalog: Catalog
    health_changed: asyncio.Event
    decoders: int
    unready_reason: str

    @property
    def queue(self) -> RequestQueue:
        """The images to decode."""

    @property
    def model_manager(self) -> ModelOperations:
        """Loads and unloads versions."""

    @property
    def device_states(self) -> Mapping[str, bool]:
        """Whether each device runs batches (False if it was removed), by device name."""

    async def figures(self, lane: LaneKey) -> ModelFigures:
        """Returns what has been measured of a ready version."""

    async def charge(self, caller: str, cost: float) -> float:
        """Charges a caller, whose rate is counted once for the host; see `RateLimiter.take`.

        Raises:
            RequestError: if the core is not there.
        """

    def admit(
        self,
        lane: LaneKey,
        payload: RequestPayload,
        deadline: float | None,
        priority: Priority,
        work: DecodeWork | None,
        caller: str,
    ) -> RequestTicket:
        """Admits a request, before any work is done for it, and returns its ticket; see `engine.admit`.

        A remote core admits every request, and later completes the future of one that is refused.

        Raises:
            RequestError: if the request is refused.
        """

    def request_admitted(self) -> None:
        """Has an admitted request run soon; see `Dispatcher.request_admitted`."""

    def cancel(self, ticket: RequestTicket) -> None:
        """Cancels a request whose caller has left: its image is not run, unless it already was."""

    def expire(self, ticket: RequestTicket) -> None:
        """Ends a request at its deadline, with an error that says at what stage it was."""

    def fail(self, ticket: RequestTicket, error: RequestError) -> None:
        """Ends a request whose image will not reach a device. Any thread may call it."""

    async def prepare(self) -> None:
        """Waits until the core can say how many decoders it wants."""

    async def load(self) -> None:
        """Loads the initial models.

        Raises:
            StartupError: if the repository is missing or empty.
        """

    def drain(self) -> None:
        """Ends pending loads, and lets no batch wait for more images; requests are still admitted."""

    async def close(self) -> None:
        """Refuses new requests, finishes the admitted ones, then ends all threads."""
