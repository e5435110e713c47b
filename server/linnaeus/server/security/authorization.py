"""Authorization of calls: which right each method requires, and the checks before each call.

Parses no token file, computes no rates, and maps no error to a gRPC status.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from linnaeus.server.errors import Overloaded, PermissionDenied, Unauthenticated
from linnaeus.server.scheduling import Priority
from linnaeus.server.security.caller_identity import caller_without_token
from linnaeus.server.security.current_caller import Caller, current_caller
from linnaeus.server.security.rate_limit import RateLimiter
from linnaeus.server.security.token_file import TokenFile
from linnaeus.server.security.tokens import Right, TokenHolder

# Charges the rate limit of a call's caller. Arguments: the call's context and the number of further images.
Charge: TypeAlias = Callable[[Any, float], None]

_HEALTH = "grpc.health.v1.Health"
_ADMIN_SERVICES = frozenset({"linnaeus.v1.ModelService"})
_ADMIN_METHODS = frozenset(
    {
        ("inference.GRPCInferenceService", "RepositoryModelLoad"),
        ("inference.GRPCInferenceService", "RepositoryModelUnload"),
    }
)
_SCHEME = "bearer"


def required_right(service: str, method: str) -> Right | None:
    """Returns the right that a method requires: None for the health service, else at least `Right.INFER`."""
    if service == _HEALTH:
        return None
    if service in _ADMIN_SERVICES or (service, method) in _ADMIN_METHODS:
        return Right.ADMIN
    return Right.INFER


def no_charge(context: Any, cost: float) -> None:
    """Charges nothing: the `Charge` of a server without a rate limit."""


class Authorizer:
    """A check of token, right and rate limit before each call.

    Belongs to the event loop's thread.

    Invariants:
        - the health service requires no token and has no rate limit;
        - with a token file, every other method requires a token that has the method's right;
        - a refused call does not reach its method, and a call with an unknown token is not charged to any caller.

    Args:
        tokens: the accepted tokens; None accepts calls without a token.
        limiter: the rate limit per caller; None for no limit.
        max_priority: the highest priority of any caller; a token's own may be lower.
    """

    def __init__(
        self, tokens: TokenFile | None, limiter: RateLimiter | None, max_priority: Priority = Priority.HIGH
    ) -> None:
        self._tokens = tokens
        self._limiter = limiter
        self._max_priority = max_priority

    def authorize(self, right: Right, context: Any) -> Caller:
        """Checks the caller's token and charges one image; returns the caller.

        Args:
            right: the right that the method requires.
            context: the call's context, of which only the metadata and the connection are used.

        Raises:
            Unauthenticated: if the call carries no known token.
            PermissionDenied: if the token lacks the right.
            Overloaded: if the caller exceeds its rate limit.
        """
        if self._tokens is None:
            caller = caller_without_token(context, True, self._max_priority)
        else:
            holder = _holder(self._tokens, context.invocation_metadata(), right)
            priority = max(holder.max_priority, self._max_priority)
            caller = Caller(holder.identity, holder.identity, priority)
        self._take(caller.identity, 1.0)
        return caller

    def charge(self, context: Any, cost: float) -> None:
        """Charges the images of an authorized call beyond the first, such as the rest of a batch.

        Raises:
            Overloaded: if the caller exceeds its rate limit.
        """
        if cost > 0:
            self._take(current_caller().identity, cost)

    def _take(self, identity: str, cost: float) -> None:
        if self._limiter is None:
            return
        wait_seconds = self._limiter.take(identity, cost)
        if wait_seconds:
            message = f"this caller may ask {self._limiter.rate:g} times a second; ask again in {wait_seconds:.3f} s"
            raise Overloaded(message, wait_seconds)


def _holder(tokens: TokenFile, metadata: Sequence[tuple[str, str | bytes]] | None, right: Right) -> TokenHolder:
    token = _token(metadata)
    if token is None:
        raise Unauthenticated(
            "this server asks for a token: linnaeus-client --token-file FILE, or in gRPC's metadata "
            "authorization: Bearer TOKEN"
        )
    holder = tokens.holder(token)
    if holder is None:
        raise Unauthenticated("the server does not know this token: it may have been withdrawn or mistyped")
    if holder.right < right:
        needed = right.name.lower()
        raise PermissionDenied(f"this call needs the right {needed}, which {holder.name} does not have", needed)
    return holder


def _token(metadata: Sequence[tuple[str, str | bytes]] | None) -> str | None:
    """Returns the call's bearer token; None if there is none or more than one."""
    values = [value for key, value in metadata or () if key == "authorization"]
    if len(values) != 1 or not isinstance(values[0], str):
        return None
    scheme, _, token = values[0].partition(" ")
    return token.strip() or None if scheme.lower() == _SCHEME else None
