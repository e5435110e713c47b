"""Who may call what, and how often: asked before every call, where there are locks at all.

Owns which right each method needs. Tokens and rates are others' business, as is how a refusal is spoken in gRPC.
"""

import inspect
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeAlias

from linnaeus.server.errors import Overloaded, PermissionDenied, StartupError, Unauthenticated
from linnaeus.server.security.caller_identity import caller_identity
from linnaeus.server.security.rate_limit import RateLimiter
from linnaeus.server.security.reloaded_files import ReloadedFiles
from linnaeus.server.security.tokens import Holder, Right, find_holder, read_tokens

logger = logging.getLogger(__name__)

# Counts further pictures of a call: the context that it came with, and how many.
Charge: TypeAlias = Callable[[Any, float], None]

_HEALTH = "grpc.health.v1.Health"
_ADMIN_SERVICES = frozenset({"linnaeus.v1.ModelService"})
_ADMIN_METHODS = frozenset(
    {
        ("inference.GRPCInferenceService", "RepositoryModelLoad"),
        ("inference.GRPCInferenceService", "RepositoryModelUnload"),
    }
)
_CHECK_SECONDS = 1.0
_SCHEME = "bearer"


def required_right(service: str, method: str) -> Right | None:
    """Returns the right that a method needs: none for the health, at least `infer` for everything else."""
    if service == _HEALTH:
        return None
    if service in _ADMIN_SERVICES or (service, method) in _ADMIN_METHODS:
        return Right.ADMIN
    return Right.INFER


def no_charge(context: Any, cost: float) -> None:
    """The `Charge` of a server without a rate limit."""


class TokenFile:
    """The tokens of a file, looked at again at most once a second.

    A file that becomes unusable is told of in the log, and the tokens that were known before stay good.

    Belongs to the event loop's thread.

    Raises:
        StartupError: the file cannot be used from the start.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._checked_at = clock()
        try:
            self._file = ReloadedFiles([path], lambda contents: read_tokens(contents[0]), self._refused)
        except (ValueError, OSError) as error:
            raise StartupError(f"the token file {path} cannot be used: {_reason(error)}") from None

    def holder(self, token: str) -> Holder | None:
        """Finds whose token it is; None for nobody's."""
        now = self._clock()
        if now - self._checked_at >= _CHECK_SECONDS:
            self._checked_at = now
            if self._file.reload_if_changed():
                logger.info("the token file %s was read again: %d tokens", self._path, len(self._file.value))
        return find_holder(token.encode("utf-8", "surrogateescape"), self._file.value)

    def _refused(self, error: Exception) -> None:
        logger.error("the token file %s cannot be used; the old tokens hold: %s", self._path, _reason(error))


class Authorizer:
    """Lets a call pass or refuses it.

    Invariants:
        - health is asked by anybody, as often as they like;
        - where there are tokens, every other method needs one that has its right;
        - a call that is refused has not reached its method, and an unknown token is not counted as anybody's call.

    Args:
        tokens: None lets anybody call.
        limiter: None lets them call as often as they like.
    """

    def __init__(self, tokens: TokenFile | None, limiter: RateLimiter | None) -> None:
        self._tokens = tokens
        self._limiter = limiter

    def wrap(self, behaviour: Callable[..., Any], service: str, method: str) -> Callable[..., Any]:
        """Returns a method of the same kind that authorizes each call first."""
        right = required_right(service, method)
        if right is None:
            return behaviour
        if inspect.isasyncgenfunction(behaviour):
            return self._stream(behaviour, right)
        return self._single(behaviour, right)

    def authorize(self, context: Any, right: Right) -> None:
        """Checks the caller of a call, and counts the call.

        Raises:
            Unauthenticated, PermissionDenied: it may not make this call.
            Overloaded: not so soon.
        """
        holder = None if self._tokens is None else _holder(self._tokens, context.invocation_metadata(), right)
        self._charge(context, holder, 1.0)

    def charge(self, context: Any, cost: float) -> None:
        """Counts what a call that was admitted takes beyond one picture, such as the rest of a batch.

        Raises:
            Overloaded: not so soon.
        """
        if self._limiter is None or cost <= 0:
            return
        token = None if self._tokens is None else _token(context.invocation_metadata())
        holder = None if self._tokens is None or token is None else self._tokens.holder(token)
        self._charge(context, holder, cost)

    def _charge(self, context: Any, holder: Holder | None, cost: float) -> None:
        if self._limiter is None:
            return
        wait_seconds = self._limiter.take(caller_identity(context) if holder is None else f"token:{holder.name}", cost)
        if wait_seconds:
            message = f"this caller may ask {self._limiter.rate:g} times a second; ask again in {wait_seconds:.3f} s"
            raise Overloaded(message, wait_seconds)

    def _single(self, behaviour: Callable[..., Any], right: Right) -> Callable[..., Any]:
        async def authorized(request: Any, context: Any) -> Any:
            self.authorize(context, right)
            return await behaviour(request, context)

        return authorized

    def _stream(self, behaviour: Callable[..., Any], right: Right) -> Callable[..., Any]:
        async def authorized(request: Any, context: Any) -> AsyncIterator[Any]:
            self.authorize(context, right)
            async for response in behaviour(request, context):
                yield response

        return authorized


def _holder(tokens: TokenFile, metadata: Sequence[tuple[str, str | bytes]] | None, right: Right) -> Holder:
    token = _token(metadata)
    if token is None:
        raise Unauthenticated("this server asks for a token: send it as the metadata `authorization: Bearer TOKEN`")
    holder = tokens.holder(token)
    if holder is None:
        raise Unauthenticated("the server does not know this token: it may have been withdrawn or mistyped")
    if holder.right < right:
        needed = right.name.lower()
        raise PermissionDenied(f"this call needs the right {needed}, which {holder.name} does not have", needed)
    return holder


def _token(metadata: Sequence[tuple[str, str | bytes]] | None) -> str | None:
    """The one bearer token that a call carries; None for none, or for several."""
    values = [value for key, value in metadata or () if key == "authorization"]
    if len(values) != 1 or not isinstance(values[0], str):
        return None
    scheme, _, token = values[0].partition(" ")
    return token.strip() or None if scheme.lower() == _SCHEME else None


def _reason(error: Exception) -> str:
    return str(error.strerror or error) if isinstance(error, OSError) else str(error)
