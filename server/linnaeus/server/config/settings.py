"""Every setting of the server, declared once: the declaration gives flag, environment variable, help and check.

A field `drain_seconds` is the flag `--drain-seconds` and the variable `LINNAEUS_DRAIN_SECONDS`; the text below a
field is its help.
"""

from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from linnaeus.server.config.devices import DeviceNames
from linnaeus.server.config.front_ends import AUTO, FrontEnds
from linnaeus.server.config.hosts import GrpcHost, TcpHost, is_socket_file
from linnaeus.server.config.origins import Origin
from linnaeus.server.config.ports import is_shared, require_different_ports
from linnaeus.server.config.ranges import LARGEST_INT32, BatchSize, Bytes, Factor, Images, Port, Seconds, Threads
from linnaeus.server.config.repository_url import Repository
from linnaeus.server.config.shown_value import shown
from linnaeus.server.config.validation import explain
from linnaeus.server.errors import StartupError

ENVIRONMENT_PREFIX = "LINNAEUS_"
OptionalPort = Annotated[int, Field(ge=-1, le=65_535)]
Connections = Annotated[int, Field(ge=0, le=LARGEST_INT32)]
_CONFIG = ConfigDict(strict=True, allow_inf_nan=False, use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True, kw_only=True, config=_CONFIG)
class Settings:
    """What the operator chose. Read once, checked once, passed down.

    Raises:
        pydantic.ValidationError: if a value is of the wrong type or outside its range.
    """

    repository: Repository = "model-repository"
    """Folder that holds MODEL/VERSION folders, or the URL of one: s3://, gs://, az://, hf:// or https://. It is copied
    then."""
    repository_folder: str = "auto"
    """Folder that keeps the copy of a repository that is a URL, also between starts; auto: in --cache-dir."""
    repository_bytes: Bytes = 0
    """Bytes that the copy may have at most. 0: what the disk has."""
    model_name: str = ""
    """Name of the model if --repository is one model's folder, one version's, or holds one model; several keep theirs.
    Empty: that of its folder."""
    models: str = ""
    """Models to serve, separated by commas; empty for all."""
    default_model: str = ""
    """Model for calls that name none; empty: the only one of --models or, without it, of the repository. If there are
    several, such calls are refused."""
    model_control: Literal["watch", "start", "explicit"] = "watch"
    """watch: follow the repository's changes; start: serve what it holds then; explicit: serve what --models names. All
    obey ModelService."""
    watch_seconds: Annotated[float, Field(ge=0.1, le=86_400)] = 2.0
    """How often --model-control watch looks through the repository, which may be on a network."""
    device: DeviceNames = "auto"
    """auto (the first CUDA device, else the CPU), cpu or cuda:N. Several, separated by commas, share the work."""
    front_ends: FrontEnds = AUTO
    """Processes that answer calls for one engine: auto (half as many as cores, 1 to 16), a number, or 0: one process
    does everything."""
    host: GrpcHost = "127.0.0.1"
    """Address that gRPC listens on: an IP address, a host name, :: for all of IPv6 and IPv4, or unix:/PATH for a socket
    file."""
    port: Port = 8001
    """Port that gRPC listens on; 0 takes a free one and logs it."""
    listen_early: bool = False
    """Whether gRPC listens before the models are ready and refuses calls until then; else it listens once each is ready
    or refused."""
    insecure: bool = False
    """Whether gRPC may listen without TLS where other machines reach it, and take tokens in the clear."""
    tls_certificate: str = ""
    """File with the server's certificate chain, in PEM; empty for no TLS."""
    tls_key: str = ""
    """File with the certificate's private key, in PEM."""
    tls_client_ca: str = ""
    """File with the authorities, in PEM, that clients' certificates must come from; empty asks for none."""
    token_file: str = ""
    """File with a line NAME RIGHT TOKEN for each caller; empty lets anybody call."""
    rate_limit: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    """Calls a second that one caller may make. 0: as many as it likes."""
    rate_burst: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Calls that one caller may make at once after a rest. 0: what --rate-limit gives in a second."""
    max_priority: Literal["high", "normal", "low"] = "high"
    """Highest priority of any caller's requests; higher claims are lowered to it. A token may have a lower one."""
    max_connections: Connections = 0
    """Connections that gRPC and HTTP each keep open at most; others are closed at once. 0: as many as a process may
    have open files, less 256, for both."""
    health_host: GrpcHost = "127.0.0.1"
    """Address that the health-only port listens on, as --host. A socket file needs no --health-port."""
    health_port: OptionalPort = -1
    """Port that answers grpc.health.v1 only, without TLS or token, for probes; 0 takes a free one and logs it. -1:
    none."""
    metrics_host: TcpHost = "127.0.0.1"
    """Address that the metrics listen on; :: for all of IPv6 and IPv4."""
    metrics_port: Port = 8002
    """Port that answers GET /metrics, /livez and /readyz by HTTP; 0 takes a free one and logs it. May be
    --http-port."""
    http_host: TcpHost = "127.0.0.1"
    """Address that HTTP listens on, with the console; :: for all of IPv6 and IPv4. TLS and tokens are those of gRPC."""
    http_port: OptionalPort = 8000
    """Port that answers by HTTP what gRPC does, and has the console; 0 takes a free one and logs it. -1: none."""
    http_allow_origin: Origin = ""
    """Origin whose web pages may call by HTTP, such as https://example.org, or * for all; empty: the console alone."""
    max_batch_size: BatchSize = 0
    """Images in one batch at most, up to 1024. 0: found at warm-up, where throughput stops growing."""
    max_queue_size: Images = 512
    """Images of all priorities a model version may hold; more get RESOURCE_EXHAUSTED or displace lower ones."""
    max_queue_delay_seconds: Seconds = 0.0
    """How long a batch that is not full waits for more. 0: a free device takes what waits."""
    default_timeout_seconds: Seconds = 0.0
    """How long a call that sets no deadline may take. 0: as long as it needs."""
    decode_threads: Threads = 0
    """Threads that decode pictures. 0: one a core, but at most 4 beside a GPU in one process."""
    decode_priority: Literal["normal", "background"] = "normal"
    """normal, or background: decoders take only what every other thread of the machine leaves them, which may pay where
    one batch runs on all cores."""
    streams: Threads = 0
    """Batches side by side on the device, each on its part of the cores. 0: on a CPU one a core, at most 4; on a GPU 2,
    one of which computes."""
    intra_op_threads: Threads = 0
    """Threads of one operation on the CPU, for a batch that runs alone. 0: one for each core, but one for a model whose
    batches take a few milliseconds."""
    runtime: Literal["auto", "torchscript", "openvino", "onnxruntime"] = "auto"
    """What computes the models: torchscript, openvino, onnxruntime, or auto for the fastest that agrees with the
    recorded run, measured at load."""
    runtime_memory_factor: Factor = 2.0
    """Memory that OpenVINO may compile a model into, in several forms, as a multiple of its weights."""
    cache_dir: str = "auto"
    """Folder where compiled models and measured choices stay between starts; auto: the user's cache folder; none."""
    max_image_pixels: Annotated[int, Field(ge=1, le=LARGEST_INT32)] = 50_000_000
    """Height times width of a picture at most, read from its header."""
    max_message_bytes: Annotated[int, Field(ge=1024, le=LARGEST_INT32)] = 32 * 1024 * 1024
    """A request message at most, in bytes."""
    max_bytes_in_flight: Bytes = 0
    """Bytes of request messages at most, each counted as --max-message-bytes until it is there. 0: a quarter of the
    memory."""
    max_bytes_in_flight_per_caller: Bytes = 0
    """The same for one caller: a token, a certificate or an address. 0: half of --max-bytes-in-flight."""
    max_batch_images: Images = 256
    """Images in one ClassifyBatch call at most."""
    stream_window: Images = 64
    """Images of one stream in the server at once; no more is read until an answer is written."""
    lame_duck_seconds: Seconds = 0.0
    """How long calls are still taken after SIGTERM, while the health says NOT_SERVING and callers turn elsewhere."""
    drain_seconds: Seconds = 30.0
    """How long calls in flight may take to finish after SIGTERM."""
    max_connection_age_seconds: Seconds = 0.0
    """After about this long a connection is asked to reconnect, so that callers spread over new servers. 0: never."""
    max_connection_grace_seconds: Seconds = 0.0
    """How long calls of a connection that was asked may still take. 0: as long as they need."""
    trace: str = ""
    """File that gets a line of JSON for each thing that happens to a request or a batch; empty for none."""
    otel_endpoint: str = ""
    """Where traces are sent by OTLP over gRPC, such as http://collector:4317; empty for no traces. Needs the extra
    otel."""
    otel_sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the images that are traced, from 0 to 1; a caller's traceparent decides for its own."""
    request_log: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the images that the log has a line for at their end, from 0 to 1. 0: none."""
    log_format: Literal["text", "json"] = "text"
    """text or json."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error."""

    def __post_init__(self) -> None:
        """Raises ValueError if two ports are the same, or --models leaves out the default model."""
        if self.wanted_models and self.default_model not in self.wanted_models | {""}:
            raise ValueError(f"default_model is {shown(self.default_model)}, but must be one of those in models")
        if self.front_end_count > 1 and self.has_socket_file:
            raise ValueError(
                f"front_ends is {self.front_ends}, but must be at most 1 for a socket file; or choose a port"
            )
        ports = [
            ("port", self.host, self.port),
            ("metrics_port", self.metrics_host, self.metrics_port),
            ("health_port", self.health_host, self.health_port),
            ("http_port", self.http_host, self.http_port),
        ]
        if self.has_metrics_on_http:
            ports.remove(("metrics_port", self.metrics_host, self.metrics_port))
        require_different_ports(ports)

    @property
    def front_end_count(self) -> int:
        """Number of front ends; 0 as long as `auto` stands for none, see `automatic_front_ends`."""
        return self.front_ends if isinstance(self.front_ends, int) else 0

    @property
    def has_socket_file(self) -> bool:
        """Whether gRPC or the health listens on a socket file, which processes cannot share as they share a port."""
        return is_socket_file(self.host) or is_socket_file(self.health_host)

    @property
    def has_health_port(self) -> bool:
        """Whether there is a health-only port, or a socket file in its place."""
        return self.health_port >= 0 or is_socket_file(self.health_host)

    @property
    def has_metrics_on_http(self) -> bool:
        """Whether the HTTP port has the metrics and there is no other one of theirs."""
        return is_shared(self.http_host, self.http_port, self.metrics_host, self.metrics_port)

    @property
    def wanted_models(self) -> frozenset[str]:
        """The names in `models`; empty for all."""
        return frozenset(name.strip() for name in self.models.split(",") if name.strip())


def read_settings(**chosen: Any) -> Settings:
    """Returns the checked settings; a setting that is not named has its default.

    Raises:
        StartupError: if a value is of the wrong type or outside its range; names the setting.
    """
    try:
        return Settings(**chosen)
    except ValidationError as error:
        raise StartupError(explain(error)) from None


def help_texts() -> dict[str, str]:
    """The help of every setting by its name."""
    described = TypeAdapter(Settings).json_schema()["properties"]
    return {each.name: " ".join(described[each.name]["description"].split()) for each in fields(Settings)}
