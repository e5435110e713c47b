"""Wrong invocations of `linnaeus-server`: the table and the files that they name."""

import dataclasses
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.certificates import Authority

from linnaeus.models.manifest import Check, InputSpec, Manifest, Weights
from linnaeus.server.config.settings import Settings

MANIFEST = Manifest(
    name="tiny",
    version=1,
    architecture="Tiny",
    task="image-classification",
    input=InputSpec(channels=1, height=2, width=3, resize=4, interpolation="bilinear"),
    classes=2,
    weights=Weights("random", 7),
    parameters=12,
    sha256="ab" * 32,
    torch_version="2.14.1",
    check=Check("seed", 1e-3, (0.25, 0.75)),
)


@dataclass(frozen=True)
class Wrong:
    """One wrong invocation.

    Attributes:
        arguments: separated by spaces; `{name}` is a file or port of `wrong_files`.
        said: what the answer must hold, with the same names.
        code: the exit status.
        environment: variables to set.
    """

    arguments: str
    said: str
    code: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join([*(f"{name}={value}" for name, value in self.environment.items()), self.arguments])


def write_model(root: Path, config: bytes = b"", labels: str | None = "a\nb\n", manifest: str | None = None) -> Path:
    """Writes a model of which the text files can be read, but no network; returns the repository."""
    folder = root / "tiny" / "1"
    folder.mkdir(parents=True)
    (folder.parent / "config.toml").write_bytes(config)
    (folder / "manifest.json").write_text(json.dumps(dataclasses.asdict(MANIFEST)) if manifest is None else manifest)
    if labels is not None:
        (folder / "labels.txt").write_text(labels)
    return root


CONFIGS = {
    "unknown key": (b"max_batch = 3", "config.toml: max_batch is no setting of a model"),
    "text for a number": (b'max_batch_size = "8"', "config.toml: max_batch_size is '8', but must be a whole number"),
    "date for a policy": (b"versions = 2020-01-02", 'config.toml: versions is "2020-01-02", but must be "all"'),
    "out of range": (b"weight = 0", "config.toml: weight is 0, but must be at least"),
    "half a table": (b"priority_weights = {high = 1}", "config.toml: priority_weights.normal is missing"),
    "no TOML": (b"max_batch_size = ", "config.toml cannot be read: Invalid value"),
    "no UTF-8": (b"labels = \xff\xe9", "config.toml cannot be read: it is not UTF-8 (byte 0xff in line 1)"),
    "UTF-16": ("weight = 1".encode("utf-16"), "config.toml cannot be read: it is UTF-16"),
    "endless number": (b"weight = " + b"9" * 5_000, "config.toml cannot be read: a number has too many digits"),
    "nesting": (b"versions = " + b"[" * 5_000, "config.toml cannot be read: it nests too deeply"),
    "unknown device": (b'devices = ["gpu"]', "config.toml: devices: device is 'gpu', but must be auto, cpu or cuda:N"),
    "no version": (b"labels = {a = true}", "config.toml: labels.a is true, but must be a version number"),
    "no label": (b'labels = {"1" = 2}', "config.toml: labels.1 must begin with a letter"),
}
_FIELDS = dataclasses.asdict(MANIFEST)
MANIFESTS = {
    "no JSON": ("{", "manifest.json is not valid JSON: Expecting property name"),
    "a list": ("[]", "manifest.json: the whole must be an object"),
    "null": (json.dumps(_FIELDS | {"sha256": None}), "manifest.json: sha256 is null, but must be text"),
    "text for a number": (json.dumps(_FIELDS | {"version": "1"}), 'version is "1", but must be a whole number'),
    "unknown field": (json.dumps(_FIELDS | {"colour": "red"}), "manifest.json: colour is not a known field"),
    "no number": (
        json.dumps(_FIELDS | {"check": {"seed": "s", "tolerance": float("nan"), "probabilities": [0, 1]}}),
        "check.tolerance is NaN, but must be a finite number",
    ),
}

TOKEN_FILES = {
    "nothing": (b"", "it holds no token; write a line NAME RIGHT TOKEN"),
    "comments": (b"# nobody\n\n", "it holds no token"),
    "two words": (b"camera infer\n", "line 1 has 2 words, but must be NAME RIGHT TOKEN"),
    "unknown right": (b"camera write abcdefghijklmnop\n", "line 1: the right must be infer or admin"),
    "short token": (b"camera infer abc\n", "line 1: the token must be sha256:"),
    "twice": (b"a infer abcdefghijklmnop\nb infer abcdefghijklmnop\n", "it holds one token twice"),
    "not UTF-8": (b"camera infer \xff\n", "it is not UTF-8"),
    "beyond ASCII": ("caméra infer abcdefghijklmnop\n".encode(), "it holds letters beyond ASCII"),
    "wrong cap": (b"camera infer abcdefghijklmnop cap=low\n", "the last may only be one of max_priority=high"),
}


@contextmanager
def wrong_files(root: Path) -> Iterator[dict[str, str]]:
    """Makes the files that the table names, and takes a port; yields their paths by name."""
    names = {"missing": root / "nowhere" / "file", "folder": root / "folder", "file": root / "file"}
    names["folder"].mkdir()
    names["file"].write_bytes(b"\x00\x01 neither PEM nor text")
    names["models"] = write_model(root / "models")
    names["no_versions"] = root / "no-versions"
    (names["no_versions"] / "tiny" / "v1").mkdir(parents=True)
    for number, (config, _) in enumerate(CONFIGS.values()):
        names[f"config_{number}"] = write_model(root / f"config-{number}", config=config)
    for number, (manifest, _) in enumerate(MANIFESTS.values()):
        names[f"manifest_{number}"] = write_model(root / f"manifest-{number}", manifest=manifest)
    names["few_labels"] = write_model(root / "few-labels", labels="a\n")
    names["no_labels"] = write_model(root / "no-labels", labels=None)
    for number, (tokens, _) in enumerate(TOKEN_FILES.values()):
        names[f"tokens_{number}"] = root / f"tokens-{number}"
        names[f"tokens_{number}"].write_bytes(tokens)
    authority = Authority()
    names["certificate"], names["key"] = authority.issue("localhost").write(root, "right")
    _, names["other_key"] = authority.issue("localhost").write(root, "other")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield {name: str(path) for name, path in names.items()} | {"taken": str(taken.getsockname()[1])}


_TLS = "--tls-certificate {certificate} --tls-key {key}"
_NUMBERS = [each for each in dataclasses.fields(Settings) if type(each.default) in (int, float)]
_CHOICES = ("model_control", "max_priority", "decode_priority", "log_format", "log_level")


def _flag(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"


_OPTIONS = [
    *(Wrong(f"{_flag(each.name)} x", f"{each.name} is 'x', but must be a") for each in _NUMBERS),
    *(Wrong(f"{_flag(each.name)} -2", f"{each.name} is -2") for each in _NUMBERS),
    *(Wrong(f"{_flag(each.name)} 1e999", f"{each.name} is ") for each in _NUMBERS),
    *(Wrong(f"{_flag(each)} x", f"{each} is 'x', but must be '") for each in _CHOICES),
    *(Wrong("", f"{each.name} is 'x'", environment={f"LINNAEUS_{each.name.upper()}": "x"}) for each in _NUMBERS[:3]),
    Wrong("", "(env var: 'LINNAEUS_INSECURE'): it must be true or false (see", 2, {"LINNAEUS_INSECURE": "perhaps"}),
    Wrong("--port 65536", "port is 65536, but must be at most 65535"),
    Wrong("--port 8001.5", "port is '8001.5', but must be a whole number"),
    Wrong("--rate-limit nan", "rate_limit is nan, but must be finite"),
    Wrong("--port 8002", "port and metrics_port are both 8002, but must be different ports"),
    Wrong("--health-port 8001", "port and health_port are both 8001"),
    Wrong("--host 127.0.0.1:8001", "host is '127.0.0.1:8001', but must be an IP address or a host name without a port"),
    Wrong("--host http://here", "host is 'http://here', but must be"),
    Wrong("--host unix:", "host is 'unix:', but must be unix: and a path of at most 107 bytes"),
    Wrong(f"--health-host unix:/{'x' * 200}", "a path of at most 107 bytes"),
    Wrong("--host unix:/tmp/x --front-ends 2", "front_ends is 2, but must be at most 1 for a socket file; or"),
    Wrong("--front-ends -1", "front_ends is -1, but must be auto or a number from 0 to 256"),
    Wrong("--front-ends some", "front_ends is 'some', but must be auto or a number from 0 to 256"),
    Wrong("--metrics-host unix:/tmp/x", "HTTP is served over TCP only"),
    Wrong("--device gpu", "device is 'gpu', but must be auto, cpu or cuda:N"),
    Wrong("--device cpu,tpu:0", "device is 'cpu,tpu:0', but must be"),
    Wrong("--device ,", "device is ',', but must be"),
    Wrong("--models a,b --default-model c", "default_model is 'c', but must be one of those in models"),
    Wrong("--nothing", "No such option: --nothing", 2),
    Wrong("--prot 1", "No such option: --prot", 2),
    Wrong("--models", "Option '--models' requires an argument", 2),
    Wrong("--insecure=yes", "Option '--insecure' does not take a value", 2),
    Wrong("serve", "No such command 'serve'", 2),
    Wrong("model-repository", "No such command 'model-repository'", 2),
]
_FILES = [
    Wrong("--repository {missing}", "the model repository {missing} is not a folder; "),
    Wrong("--repository {file}", "the model repository {file} is not a folder; "),
    Wrong("--repository {folder}", "the model repository {folder} holds no version folder; "),
    Wrong("--repository {no_versions}", "holds no version folder; "),
    Wrong(f"--repository /{'x' * 300}", "cannot be read: file name too long"),
    Wrong("--models tiny,nobody", "the model repository {models} has no model nobody"),
    Wrong("--model-control explicit --models nobody", "the model repository {models} has no model nobody"),
    Wrong("--default-model nobody", "has no model nobody, which --default-model names"),
    *(Wrong(f"--repository {{config_{n}}}", f"tiny/1: {said}") for n, (_, said) in enumerate(CONFIGS.values())),
    *(Wrong(f"--repository {{manifest_{n}}}", said) for n, (_, said) in enumerate(MANIFESTS.values())),
    Wrong("--repository {few_labels}", "labels.txt has 1 lines, but manifest.json says classes is 2"),
    Wrong("--repository {no_labels}", "no model can be served: tiny/1: labels.txt is missing"),
    Wrong("--trace {missing}", "trace is {missing}, which cannot be written: no such file or directory"),
    Wrong("--trace {folder}", "trace is {folder}, which cannot be written: is a directory; name a file in it"),
    *(Wrong(f"--otel-endpoint {url}", "otel_endpoint must be") for url in ("here", "http://here", "http://a:b@here:1")),
]
_SECURITY = [
    Wrong("--host 0.0.0.0", "listening on 0.0.0.0 without TLS lets everybody"),
    Wrong("--host 192.0.2.1 --insecure", "gRPC cannot listen on 192.0.2.1:0: the address is none of this machine's"),
    Wrong("--host a..b --insecure", "gRPC cannot listen on a..b:0: this machine does not know the host"),
    Wrong("--metrics-host a..b", "the metrics cannot listen on a..b:0: this machine does not know the host"),
    Wrong("--port {taken}", "gRPC cannot listen on 127.0.0.1:{taken}: another program uses the port"),
    Wrong("--health-port {taken}", "gRPC cannot listen on 127.0.0.1:{taken}: another program uses the port"),
    Wrong("--http-port {taken}", "HTTP cannot listen on 127.0.0.1:{taken}: another program uses the port"),
    Wrong("--metrics-port {taken}", "the metrics cannot listen on 127.0.0.1:{taken}: another program uses the port"),
    Wrong("--host unix:/nowhere/at/all", "its folder /nowhere/at does not exist; make it first"),
    Wrong("--host unix:{file}", "it is a file, but no socket; choose another path"),
    Wrong("--tls-certificate {certificate}", "tls_certificate and tls_key belong together: name both or neither"),
    Wrong("--tls-key {key}", "tls_certificate and tls_key belong together"),
    Wrong("--tls-client-ca {certificate}", "tls_client_ca asks clients for certificates"),
    Wrong("--tls-certificate {missing} --tls-key {key}", "TLS: the file {missing} cannot be read: no such file"),
    Wrong("--tls-certificate {folder} --tls-key {key}", "TLS: the file {folder} cannot be read: is a directory"),
    Wrong("--tls-certificate {file} --tls-key {file}", "cannot be used together: one of them is not PEM"),
    Wrong("--tls-certificate {certificate} --tls-key {other_key}", "together: the key is that of another certificate"),
    Wrong(f"{_TLS} --tls-client-ca {{file}}", "the file {file} holds no certificates in PEM"),
    Wrong("--token-file {tokens_0}", "without TLS, tokens travel readable by all"),
    Wrong("--insecure --token-file {missing}", "the token file {missing} cannot be used: no such file"),
    Wrong("--insecure --token-file {folder}", "the token file {folder} cannot be used: is a directory"),
    *(
        Wrong(f"--insecure --token-file {{tokens_{n}}}", f"cannot be used: {said}" if n < 2 else said)
        for n, (_, said) in enumerate(TOKEN_FILES.values())
    ),
    Wrong("--max-bytes-in-flight 2000", "max_bytes_in_flight is 2000, but must hold one message of max_message_bytes"),
    Wrong("--max-bytes-in-flight-per-caller 1", "max_bytes_in_flight_per_caller is 1, but must hold one message"),
]
_HEALTHCHECK = [
    Wrong("healthcheck --timeout-seconds x", "timeout_seconds is 'x', but must be a number from 0.001"),
    Wrong("healthcheck --timeout-seconds 0", "timeout_seconds is 0.0, but must be a number from 0.001"),
    Wrong("healthcheck --port 1", "No such option: --port", 2),
    Wrong("healthcheck now", "Got unexpected extra argument", 2),
    Wrong("--port 0 healthcheck", "port is 0, so the port that the server took is not known here; set LINNAEUS_PORT"),
    Wrong("--port 1 healthcheck", "no health from 127.0.0.1:1: no server answers there"),
    Wrong(f"{_TLS} healthcheck", "the server speaks TLS; set LINNAEUS_HEALTH_PORT"),
]
# Found without the machine's files and ports, and with them.
SETTINGS = [*_OPTIONS, *_HEALTHCHECK]
MACHINE = [*_FILES, *_SECURITY]
