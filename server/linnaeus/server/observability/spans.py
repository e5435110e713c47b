"""OpenTelemetry spans, created from the records of ended requests. Measures nothing and exports nothing.

A request is one span, `classify`, a child of its caller's span; its stages are child spans. A batch is a separate trace
with one span, `batch`, which links to its requests; the inference span of each request links to its batch.
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

# Outcomes that OpenTelemetry counts as server errors; other failures are the caller's.
_ERROR_OUTCOMES = frozenset({"failed", "deadline", "unavailable"})


@dataclass(frozen=True, slots=True)
class _SampledRequest:
    """The call of a sampled request, and the context of its parent span."""

    call: CallContext
    parent: Context


class SpanHandler:
    """A `RecordHandler` that creates the spans of sampled requests and their batches.

    Invariants:
        - a request with a trace context belongs to its caller's trace, and is sampled if the caller's flag is set;
        - a stage's span lies within its request's span;
        - a batch has a span if one of its requests is sampled.

    Args:
        tracer: creates the spans.
        share: the share of sampled requests among those without a trace context, from 0.0 to 1.0.
    """

    def __init__(self, tracer: Tracer, share: float) -> None:
        self._tracer = tracer
        self._share = share
        self._propagator = TraceContextTextMapPropagator()
        self._batches: dict[int, Span] = {}  # removed when the batch ends

    def sample(self, number: int) -> object | None:
        """Samples as the caller's trace flags say; without a trace context, by the request's number."""
        call = current_call()
        parent = self._parent(call)
        caller_span = span_of(parent).get_span_context()
        is_chosen = caller_span.trace_flags.sampled if caller_span.is_valid else is_sampled(number, self._share)
        return _SampledRequest(call, parent) if is_chosen else None

    def request_ended(self, context: object, record: RequestRecord) -> None:
        """Creates the spans of a sampled request."""
        if isinstance(context, _SampledRequest):
            self._create_spans(context, record, _clock_offset_nanoseconds())

    def batch_ended(self, batch: BatchRecord) -> None:
        """Ends the span of a batch if it has one."""
        span = self._batches.pop(batch.number, None)
        if span is None:
            return
        if not batch.succeeded:
            span.set_status(Status(StatusCode.ERROR, "failed"))
        span.end(_clock_offset_nanoseconds() + _nanoseconds(batch.finished_at))

    def _create_spans(self, sampled: _SampledRequest, record: RequestRecord, offset: int) -> None:
        attributes = _attributes(sampled.call, record)
        began, ended = offset + _nanoseconds(record.arrived_at), offset + _nanoseconds(record.ended_at)
        span = self._tracer.start_span("classify", sampled.parent, SpanKind.SERVER, attributes, start_time=began)
        links = () if record.batch is None else (self._link(span, record.batch, offset),)
        parent = set_span_in_context(span, Context())
        for stage in record.stages():
            self._create_stage_span(stage, parent, links if stage.name == "inference" else (), offset)
        if record.outcome in _ERROR_OUTCOMES:
            span.set_status(Status(StatusCode.ERROR, record.outcome))
        span.end(ended)

    def _parent(self, call: CallContext) -> Context:
        if not call.traceparent:
            return Context()
        return self._propagator.extract({"traceparent": call.traceparent, "tracestate": call.tracestate}, Context())

    def _link(self, span: Span, batch: BatchRecord, offset: int) -> Link:
        """Links the batch's span to a request's span; returns the link in the other direction."""
        batch_span = self._batches.get(batch.number)
        if batch_span is None:
            began = offset + _nanoseconds(batch.taken_at)
            batch_span = self._tracer.start_span(
                "batch", Context(), attributes=_batch_attributes(batch), start_time=began
            )
            self._batches[batch.number] = batch_span
        batch_span.add_link(span.get_span_context())
        return Link(batch_span.get_span_context())

    def _create_stage_span(self, stage: StageTiming, parent: Context, links: tuple[Link, ...], offset: int) -> None:
        began = offset + _nanoseconds(stage.began_at)
        self._tracer.start_span(stage.name, parent, links=links, start_time=began).end(
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
    """Returns the offset from the engine's clock to the wall clock, read anew each time since the latter may be set."""
    return time.time_ns() - time.monotonic_ns()


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
