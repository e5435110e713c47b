"""The state of a small queue, for tests without threads; an image takes 0.1 s."""

from builders import new_lane

from linnaeus.server.scheduling import Batch, DecodeWork, Priority, Ticket
from linnaeus.server.scheduling.admission import Arrival
from linnaeus.server.scheduling.lanes import Lane
from linnaeus.server.scheduling.queue_state import QueueState
from linnaeus.server.scheduling.running_batches import RunningBatches

HIGH, NORMAL, LOW = Priority


class Harness:
    """The state of a queue with lanes and devices named by letters; the test passes the time."""

    def __init__(
        self, *lanes: Lane[str], devices: str = "d", workers: int = 1, decoders: int = 1, runs_short_apart: bool = False
    ) -> None:
        self.state: QueueState[str] = QueueState(decoders, runs_short_apart)
        self.batches: RunningBatches[str] = RunningBatches(self.state)
        self.lanes = lanes or (new_lane(),)
        for lane in self.lanes:
            self.state.lanes[lane.name] = lane
        for name in devices:
            self.state.add_device(name, workers)

    def admit(
        self,
        payload: str = "",
        deadline: float | None = None,
        lane: int = 0,
        priority: Priority = NORMAL,
        work: DecodeWork | None = None,
        caller: str = "",
        now: float = 0.0,
    ) -> Ticket[str]:
        arrival = Arrival(payload, deadline, priority, work, caller)
        return self.state.admit(arrival, self.lanes[lane], now).ticket

    def decode(self, now: float = 0.0, seconds: float = 0.0) -> None:
        while (turn := self.state.next_to_decode(now, False)) is not None and turn.tickets:
            for ticket in turn.tickets:
                self.state.put(ticket, seconds, now)

    def form(self, now: float = 0.0, device: str = "d") -> Batch[str] | None:
        return self.batches.form_batch(self.state.devices[device], now, False)

    def serve(self, now: float, seconds: float) -> str:
        """Runs the next batch for `seconds`; returns its lane."""
        self.decode(now)
        batch = self.form(now)
        assert batch is not None
        self.batches.finish_batch(batch, now + seconds, learn=True)
        return str(batch.lane)
