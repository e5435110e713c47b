"""Every setting of the server, defined once: the definition gives flag, environment variable, help and check.

A field `drain_seconds` is the flag `--drain-seconds` and the variable `LINNAEUS_DRAIN_SECONDS`.
"""

from dataclasses import dataclass, field, fields
from math import inf
from pathlib import Path
from typing import Any

from linnaeus.server.errors import StartupError

ENVIRONMENT_PREFIX = "LINNAEUS_"


def setting(
    default: Any,
    description: str,
    least: float | None = None,
    choices: tuple[str, ...] = (),
    most: float | None = None,
) -> Any:
    """Defines one setting: its default, its help and what it may be."""
    metadata = {"help": description, "least": least, "most": most, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator chose. Read once, checked once, passed down."""

    repository: Path = setting(Path("model-repository"), "Folder that holds MODEL/VERSION folders.")
    models: str = setting("", "Models to serve, separated by commas; empty for all.")
    model_control: str = setting(
        "watch",
        "watch: follow the repository's changes; start: serve what it holds then; explicit: serve what "
        "--models names. All obey ModelService.",
        choices=("watch", "start", "explicit"),
    )
    watch_seconds: float = setting(
        2.0, "How often --model-control watch looks through the repository, which may be on a network.", least=0.1
    )
    device: str = setting(
        "auto",
        "auto (the first CUDA device, else the CPU), cpu or cuda:N. Several, separated by commas, share the work.",
    )
    host: str = setting("127.0.0.1", "Address that gRPC listens on.")
    port: int = setting(8001, "Port that gRPC listens on; 0 takes a free one and logs it.", least=0)
    insecure: bool = setting(
        False, "Whether gRPC may listen without TLS where other machines reach it, and take tokens in the clear."
    )
    tls_certificate: str = setting("", "File with the server's certificate chain, in PEM; empty for no TLS.")
    tls_key: str = setting("", "File with the certificate's private key, in PEM.")
    tls_client_ca: str = setting(
        "", "File with the authorities, in PEM, that clients' certificates must come from; empty asks for none."
    )
    token_file: str = setting("", "File with a line NAME RIGHT TOKEN for each caller; empty lets anybody call.")
    rate_limit: float = setting(0.0, "Calls a second that one caller may make. 0: as many as it likes.", least=0)
    rate_burst: int = setting(
        0, "Calls that one caller may make at once after a rest. 0: what --rate-limit gives in a second.", least=0
    )
    max_connections: int = setting(
        0,
        "Connections that gRPC keeps open at most; further ones are closed at once. 0: as many as the process may have "
        "open files, less 256.",
        least=0,
    )
    health_host: str = setting("127.0.0.1", "Address that the health-only port listens on.")
    health_port: int = setting(
        -1,
        "Port that answers grpc.health.v1 only, without TLS or token, for probes; 0 takes a free one and logs it. "
        "-1: none.",
        least=-1,
    )
    metrics_host: str = setting("127.0.0.1", "Address that the metrics listen on.")
    metrics_port: int = setting(8002, "Port that GET /metrics listens on; 0 takes a free one and logs it.", least=0)
    max_batch_size: int = setting(
        0, "Images in one batch at most. 0: found at warm-up, where throughput stops growing.", least=0
    )
    max_queue_size: int = setting(
        512, "Images a model version may hold, decoding or waiting; more are refused with RESOURCE_EXHAUSTED.", least=1
    )
    max_queue_delay_seconds: float = setting(
        0.0, "How long a batch that is not full waits for more. 0: a free device never waits.", least=0
    )
    default_timeout_seconds: float = setting(
        0.0, "How long a call that sets no deadline may take. 0: as long as it needs.", least=0
    )
    decode_threads: int = setting(0, "Threads that decode pictures. 0: one a core, beside a GPU at most 4.", least=0)
    decode_priority: str = setting(
        "normal",
        "normal, or background: decoders take only what every other thread of the machine leaves them, which may pay "
        "where one batch runs on all cores.",
        choices=("normal", "background"),
    )
    streams: int = setting(
        0,
        "Batches side by side on the device, each on its part of the cores. 0: on a CPU one a core, at most 4; "
        "on a GPU 2, one of which computes.",
        least=0,
    )
    intra_op_threads: int = setting(
        0,
        "Threads of one operation on the CPU, for a batch that runs alone. 0: one for each core, but one for a model "
        "whose batches take a few milliseconds.",
        least=0,
    )
    max_image_pixels: int = setting(
        50_000_000, "Height times width of a picture at most, read from its header.", least=1
    )
    max_message_bytes: int = setting(32 * 1024 * 1024, "A request message at most, in bytes.", least=1024)
    max_batch_images: int = setting(256, "Images in one ClassifyBatch call at most.", least=1)
    stream_window: int = setting(
        64, "Images of one stream in the server at once; no more is read until an answer is written.", least=1
    )
    lame_duck_seconds: float = setting(
        0.0,
        "How long calls are still taken after SIGTERM, while the health says NOT_SERVING and callers turn elsewhere.",
        least=0,
    )
    drain_seconds: float = setting(30.0, "How long calls in flight may take to finish after SIGTERM.", least=0)
    max_connection_age_seconds: float = setting(
        0.0,
        "After about this long a connection is asked to reconnect, so that callers spread over new servers. 0: never.",
        least=0,
    )
    max_connection_grace_seconds: float = setting(
        0.0, "How long calls of a connection that was asked may still take. 0: as long as they need.", least=0
    )
    trace: str = setting(
        "", "File that gets a line of JSON for each thing that happens to a request or a batch; empty for none."
    )
    otel_endpoint: str = setting(
        "",
        "Where traces are sent by OTLP over gRPC, such as http://collector:4317; empty for no traces. Needs the extra "
        "otel.",
    )
    otel_sample: float = setting(
        1.0,
        "Share of the images that are traced, from 0 to 1; a caller's traceparent decides for its own.",
        least=0,
        most=1,
    )
    request_log: float = setting(
        0.0, "Share of the images that the log has a line for at their end, from 0 to 1. 0: none.", least=0, most=1
    )
    log_format: str = setting("text", "text or json.", choices=("text", "json"))
    log_level: str = setting("info", "debug, info, warning or error.", choices=("debug", "info", "warning", "error"))

    def __post_init__(self) -> None:
        for each in fields(self):
            _check(each.name, getattr(self, each.name), each.metadata["least"], each.metadata["choices"])
            _check_most(each.name, getattr(self, each.name), each.metadata["most"])

    @property
    def wanted_models(self) -> frozenset[str]:
        """The names in `models`; empty for all."""
        return frozenset(name.strip() for name in self.models.split(",") if name.strip())


def _check(name: str, value: Any, least: float | None, choices: tuple[str, ...]) -> None:
    if isinstance(value, float) and value == inf:
        raise StartupError(f"{name} is {value}, but must be finite")
    if least is not None and not value >= least:
        raise StartupError(f"{name} is {value}, but must be at least {least:g}")
    if choices and value not in choices:
        raise StartupError(f"{name} is {value!r}, but must be one of {', '.join(choices)}")


def _check_most(name: str, value: Any, most: float | None) -> None:
    if most is not None and value > most:
        raise StartupError(f"{name} is {value}, but must be at most {most:g}")
