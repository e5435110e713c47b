"""The options of the connection, which every command takes before and after its name.

`takes_connection` adds them to a command, so that no command repeats them. What stands after the command's name
overrides what stands before it, which overrides the environment.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, TypeVar

import typer

from linnaeus.client.aio.client import AsyncClient
from linnaeus.client.cli.credentials import Credentials, read_credentials
from linnaeus.client.cli.option_names import with_option_names
from linnaeus.client.config import DEFAULT_TARGET, DEFAULT_TIMEOUT_SECONDS
from linnaeus.client.transport.deadlines import check_timeout
from linnaeus.client.transport.targets import check_target

Command = TypeVar("Command", bound=Callable[..., None])


def _check_server(server: str | None) -> str | None:
    try:
        return None if server is None else check_target(server)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _check_timeout(timeout: float | None) -> float | None:
    try:
        return None if timeout is None else check_timeout(timeout)
    except ValueError:
        raise typer.BadParameter("it must be above 0 seconds and at most a year") from None


@dataclass(frozen=True)  # without slots, because the credentials are read once
class Connection:
    """The options of the connection, as they were given; None or False for one that was not."""

    server_option: str | None = None
    timeout_option: float | None = None
    token_file: str | None = None
    tls: bool = False
    tls_ca: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    tls_server_name: str | None = None

    @property
    def server(self) -> str:
        """The server's address."""
        return self.server_option or DEFAULT_TARGET

    @property
    def timeout_seconds(self) -> float:
        """The timeout of a call."""
        return self.timeout_option or DEFAULT_TIMEOUT_SECONDS

    @functools.cached_property
    def credentials(self) -> Credentials:
        """Token and TLS settings. Reads the token's file, once: it may be a pipe.

        Raises:
            typer.BadParameter: if the options contradict each other, or the file cannot be read.
        """
        try:
            return read_credentials(
                self.token_file, self.tls, self.tls_ca, self.tls_certificate, self.tls_key, self.tls_server_name
            )
        except ValueError as error:
            raise typer.BadParameter(with_option_names(str(error))) from None

    def overridden_by(self, other: "Connection") -> "Connection":
        """Returns these options, but for those that `other` has."""
        given = {
            each.name: value for each in fields(other) if (value := getattr(other, each.name)) not in (None, False)
        }
        return replace(self, **given)

    def client(self) -> AsyncClient:
        """Returns a client with these options.

        Raises:
            typer.BadParameter: if they contradict each other, or a file cannot be read.
        """
        credentials = self.credentials
        try:
            return AsyncClient(
                self.server, timeout_seconds=self.timeout_seconds, tls=credentials.tls, token=credentials.token
            )
        except ValueError as error:
            raise typer.BadParameter(with_option_names(str(error))) from None


@dataclass(frozen=True, slots=True)
class _Option:
    """One option; `variable` is the environment variable that stands for it, `default` what the help names."""

    field: str
    type: Any
    flag: str
    help: str
    metavar: str | None = None
    variable: str | None = None
    default: str | None = None
    callback: Callable[[Any], Any] | None = None

    def parameter(self, *, is_before_name: bool) -> inspect.Parameter:
        """Returns the keyword that typer makes the option of."""
        option = typer.Option(
            self.flag,
            metavar=self.metavar,
            help=self.help if self.default is None else f"{self.help} Default: {self.default}.",
            callback=self.callback,
            envvar=self.variable if is_before_name else None,
            show_default=False,
            rich_help_panel="Connection",
        )
        default = False if self.type is bool else None
        return inspect.Parameter(
            self.field, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[self.type, option]
        )


_TEXT = str | None
_OPTIONS = (
    _Option(
        "server_option",
        _TEXT,
        "--server",
        "The server's address.",
        "HOST:PORT",
        "LINNAEUS_SERVER",
        DEFAULT_TARGET,
        _check_server,
    ),
    _Option(
        "timeout_option",
        float | None,
        "--timeout",
        "How long one call may take.",
        "SECONDS",
        default=f"{DEFAULT_TIMEOUT_SECONDS:g}",
        callback=_check_timeout,
    ),
    _Option(
        "token_file",
        _TEXT,
        "--token-file",
        "Holds the token to show; LINNAEUS_TOKEN may hold the token itself.",
        "FILE",
    ),
    _Option("tls", bool, "--tls", "Encrypt the connection.", variable="LINNAEUS_TLS"),
    _Option("tls_ca", _TEXT, "--tls-ca", "Whom to trust, in PEM; implies --tls.", "FILE", "LINNAEUS_TLS_CA"),
    _Option(
        "tls_certificate", _TEXT, "--tls-certificate", "This client's own certificate, in PEM; implies --tls.", "FILE"
    ),
    _Option("tls_key", _TEXT, "--tls-key", "Its private key, in PEM.", "FILE"),
    _Option(
        "tls_server_name",
        _TEXT,
        "--tls-server-name",
        "In the server's certificate, where it is not the address's.",
        "NAME",
    ),
)


def takes_connection(*, reads_environment: bool = False) -> Callable[[Command], Command]:
    """Adds the options to a command, whose context then holds a `Connection` in `context.obj`.

    Args:
        reads_environment: whether the environment stands for options that are not given. True before the command's
            name only, so that what is given there counts more.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(context: typer.Context, **given: Any) -> None:
            own = Connection(**{option.field: given.pop(option.field) for option in _OPTIONS})
            context.obj = own if context.obj is None else context.obj.overridden_by(own)
            command(context, **given)

        signature = inspect.signature(command)
        options = [option.parameter(is_before_name=reads_environment) for option in _OPTIONS]
        run.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*signature.parameters.values(), *options]
        )
        return run  # type: ignore[return-value]

    return decorate
