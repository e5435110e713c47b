"""The settings of a replica, from an application's arguments and the environment."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from linnaeus.server.config.settings import ENVIRONMENT_PREFIX, Settings
from linnaeus.server.config.validation import explain
from linnaeus.server.errors import StartupError

_NAMES = tuple(each.name for each in fields(Settings))
# Ray's proxy has the port of callers.
_OF_THE_PROXY = (
    "tls_certificate",
    "tls_key",
    "tls_client_ca",
    "health_port",
    "http_port",
    "front_ends",
    "port",
    "host",
)


def replica_settings(arguments: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """Returns the settings of a replica: one process without a port for callers.

    Args:
        arguments: values by the settings' names, as text or as TOML and YAML have them.
        environment: variables `LINNAEUS_…`, for what the arguments do not name.

    Raises:
        StartupError: if a setting does not exist, has a wrong value, or is one that Ray's proxy stands in for.
    """
    for name in arguments:
        if name not in _NAMES:
            raise StartupError(f"{name} is no setting of linnaeus-server; see linnaeus-server --help")
        if name in _OF_THE_PROXY:
            raise StartupError(f"{name} is of no use on Ray, whose proxy answers callers; leave it out")
    named = {f"{ENVIRONMENT_PREFIX}{name.upper()}": name for name in _NAMES if name not in _OF_THE_PROXY}
    chosen = {name: environment[variable] for variable, name in named.items() if variable in environment}
    chosen |= {name: _text(value) for name, value in arguments.items()}
    try:
        read: Settings = TypeAdapter(Settings).validate_strings({**chosen, "http_port": "-1"}, strict=False)
    except ValidationError as error:
        raise StartupError(explain(error)) from None
    return replace(read, front_ends=0)


def with_cores(settings: Settings, cores: float, gpus: float) -> Settings:
    """Returns the settings of a replica that Ray reserved these cores and GPUs for.

    Ray reserves cores but does not bind a process to them: without this each replica would take the whole machine.
    """
    threads = max(int(cores), 1)
    streams = settings.streams or (0 if gpus else min(threads, 4))
    decoders = settings.decode_threads or (min(threads, 4) if gpus else threads)
    return replace(settings, streams=streams, decode_threads=decoders)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
