"""Spans of OpenTelemetry, made from journeys that are over: nothing is measured here, and nothing is sent.

An image is one span, `classify`, below its caller's; its stages are spans below it. A batch is a trace of its own,
`batch`, that links to its images, as each image's inference links to its batch.
"""

import time
from dataclasses import dataclass

from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace import get_current_span as span_of
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from linnaeus.server.observability.sampling import is_chosen
from linnaeus.server.requests.request_record import Journey, Run, Stage
from linnaeus.server.rpc.trace_context import Origin, current_origin

# What OpenTelemetry calls errors of a server; the others are the caller's.
_ERRORS = frozenset({"failed", "deadline", "unavailable"})


@dataclass(frozen=True, slots=True)
class _Followed:
    """Where an image that is traced comes from, and what its span stands below."""

    origin: Origin
    parent: Context


class Spans:
    """Makes the spans; a follower of the engine.

    Invariants:
        - an image whose caller is traced belongs to the caller's trace, and is traced if the caller's flag says so;
        - a stage lies within its image's span;
        - a batch has a span if one of its images has.

    Args:
        tracer: what makes spans.
        share: of the images without a traced caller, from 0.0 to 1.0.
    """

    def __init__(self, tracer: Tracer, share: float) -> None:
        self._tracer = tracer
        self._share = share
        self._propagator = TraceContextTextMapPropagator()
        self._batches: dict[int, Span] = {}  # each until its run is over

    def meet(self, number: int) -> object | None:
        """Chooses as the caller did, or by the number."""
        origin = current_origin()
        parent = self._parent(origin)
        known = span_of(parent).get_span_context()
        chosen = known.trace_flags.sampled if known.is_valid else is_chosen(number, self._share)
        return _Followed(origin, parent) if chosen else None

    def ended(self, mark: object, journey: Journey) -> None:
        """Makes the spans of one image."""
        if isinstance(mark, _Followed):
            self._make(mark, journey, _clock_offset_nanoseconds())

    def ran(self, run: Run) -> None:
        """Ends the span of a batch, if it has one."""
        span = self._batches.pop(run.number, None)
        if span is None:
            return
        if not run.succeeded:
            span.set_status(Status(StatusCode.ERROR, "failed"))
        span.end(_clock_offset_nanoseconds() + _nanoseconds(run.finished_at))

    def _make(self, followed: _Followed, journey: Journey, offset: int) -> None:
        attributes = _attributes(followed.origin, journey)
        began, ended = offset + _nanoseconds(journey.came_at), offset + _nanoseconds(journey.ended_at)
        span = self._tracer.start_span("classify", followed.parent, SpanKind.SERVER, attributes, start_time=began)
        links = () if journey.run is None else (self._link(span, journey.run, offset),)
        below = set_span_in_context(span, Context())
        for stage in journey.stages():
            self._stage(stage, below, links if stage.name == "inference" else (), offset)
        if journey.outcome in _ERRORS:
            span.set_status(Status(StatusCode.ERROR, journey.outcome))
        span.end(ended)

    def _parent(self, origin: Origin) -> Context:
        if not origin.traceparent:
            return Context()
        return self._propagator.extract({"traceparent": origin.traceparent, "tracestate": origin.tracestate}, Context())

    def _link(self, span: Span, run: Run, offset: int) -> Link:
        """Links the batch to an image; returns the link back."""
        batch = self._batches.get(run.number)
        if batch is None:
            batch = self._batches[run.number] = self._tracer.start_span(
                "batch", Context(), attributes=_batch_attributes(run), start_time=offset + _nanoseconds(run.taken_at)
            )
        batch.add_link(span.get_span_context())
        return Link(batch.get_span_context())

    def _stage(self, stage: Stage, below: Context, links: tuple[Link, ...], offset: int) -> None:
        began = offset + _nanoseconds(stage.began_at)
        self._tracer.start_span(stage.name, below, links=links, start_time=began).end(
            offset + _nanoseconds(stage.ended_at)
        )


def _attributes(origin: Origin, journey: Journey) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "linnaeus.request": journey.number,
        "linnaeus.model": journey.model,
        "linnaeus.version": journey.version,
        "linnaeus.outcome": journey.outcome,
        "linnaeus.priority": journey.priority.name.lower(),
        "linnaeus.image_bytes": journey.image_bytes,
        "rpc.system": "grpc",
        "rpc.method": origin.method,
    }
    if journey.timeout_seconds is not None:
        attributes["linnaeus.timeout_seconds"] = journey.timeout_seconds
    return attributes


def _batch_attributes(run: Run) -> dict[str, AttributeValue]:
    return {
        "linnaeus.batch": run.number,
        "linnaeus.model": run.model,
        "linnaeus.version": run.version,
        "linnaeus.device": run.device,
        "linnaeus.batch_size": run.size,
    }


def _clock_offset_nanoseconds() -> int:
    """From the engine's clock to the world's; asked anew, for the world's may be set."""
    return time.time_ns() - time.monotonic_ns()


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
