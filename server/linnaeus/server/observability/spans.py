"""Spans of OpenTelemetry, made from the records of ended requests: nothing is measured here, and nothing is sent.

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

from linnaeus.server.observability.sampling import is_sampled
from linnaeus.server.requests.request_record import BatchRecord, RequestRecord, StageTiming
from linnaeus.server.rpc.trace_context import CallContext, current_call

# What OpenTelemetry calls errors of a server; the others are the caller's.
_ERRORS = frozenset({"failed", "deadline", "unavailable"})


@dataclass(frozen=True, slots=True)
class _SampledRequest:
    """Where an image that is traced comes from, and what its span stands below."""

    call: CallContext
    parent: Context


class SpanHandler:
    """Makes the spans; a `RecordHandler`.

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

    def sample(self, number: int) -> object | None:
        """Chooses as the caller did, or by the number."""
        call = current_call()
        parent = self._parent(call)
        known = span_of(parent).get_span_context()
        chosen = known.trace_flags.sampled if known.is_valid else is_sampled(number, self._share)
        return _SampledRequest(call, parent) if chosen else None

    def request_ended(self, context: object, record: RequestRecord) -> None:
        """Makes the spans of one image."""
        if isinstance(context, _SampledRequest):
            self._make(context, record, _clock_offset_nanoseconds())

    def batch_ended(self, batch: BatchRecord) -> None:
        """Ends the span of a batch, if it has one."""
        span = self._batches.pop(batch.number, None)
        if span is None:
            return
        if not batch.succeeded:
            span.set_status(Status(StatusCode.ERROR, "failed"))
        span.end(_clock_offset_nanoseconds() + _nanoseconds(batch.finished_at))

    def _make(self, sampled: _SampledRequest, record: RequestRecord, offset: int) -> None:
        attributes = _attributes(sampled.call, record)
        began, ended = offset + _nanoseconds(record.arrived_at), offset + _nanoseconds(record.ended_at)
        span = self._tracer.start_span("classify", sampled.parent, SpanKind.SERVER, attributes, start_time=began)
        links = () if record.batch is None else (self._link(span, record.batch, offset),)
        below = set_span_in_context(span, Context())
        for stage in record.stages():
            self._stage(stage, below, links if stage.name == "inference" else (), offset)
        if record.outcome in _ERRORS:
            span.set_status(Status(StatusCode.ERROR, record.outcome))
        span.end(ended)

    def _parent(self, call: CallContext) -> Context:
        if not call.traceparent:
            return Context()
        return self._propagator.extract({"traceparent": call.traceparent, "tracestate": call.tracestate}, Context())

    def _link(self, span: Span, batch: BatchRecord, offset: int) -> Link:
        """Links the batch to an image; returns the link back."""
        batch_span = self._batches.get(batch.number)
        if batch_span is None:
            began = offset + _nanoseconds(batch.taken_at)
            batch_span = self._tracer.start_span(
                "batch", Context(), attributes=_batch_attributes(batch), start_time=began
            )
            self._batches[batch.number] = batch_span
        batch_span.add_link(span.get_span_context())
        return Link(batch_span.get_span_context())

    def _stage(self, stage: StageTiming, below: Context, links: tuple[Link, ...], offset: int) -> None:
        began = offset + _nanoseconds(stage.began_at)
        self._tracer.start_span(stage.name, below, links=links, start_time=began).end(
            offset + _nanoseconds(stage.ended_at)
        )


def _attributes(call: CallContext, record: RequestRecord) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "linnaeus.request": record.number,
        "linnaeus.model": record.model,
        "linnaeus.version": record.version,
        "linnaeus.outcome": record.outcome,
        "linnaeus.priority": record.priority.name.lower(),
        "linnaeus.image_bytes": record.image_bytes,
        "rpc.system": "grpc",
        "rpc.method": call.method,
    }
    if record.timeout_seconds is not None:
        attributes["linnaeus.timeout_seconds"] = record.timeout_seconds
    return attributes


def _batch_attributes(batch: BatchRecord) -> dict[str, AttributeValue]:
    return {
        "linnaeus.batch": batch.number,
        "linnaeus.model": batch.model,
        "linnaeus.version": batch.version,
        "linnaeus.device": batch.device,
        "linnaeus.batch_size": batch.size,
    }


def _clock_offset_nanoseconds() -> int:
    """From the engine's clock to the world's; asked anew, for the world's may be set."""
    return time.time_ns() - time.monotonic_ns()


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
