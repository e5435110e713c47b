"""Authorization of calls: which right each method requires, and the check of token and right before each call.

Parses no token file, counts no rates, and maps no error to a gRPC status.
"""

from collections.abc import Sequence
from typing import Any

from linnaeus.server.errors import PermissionDenied, Unauthenticated
from linnaeus.server.scheduling import Priority
from linnaeus.server.security.caller_identity import caller_without_token
from linnaeus.server.security.current_caller import Caller
from linnaeus.server.security.token_file import TokenFile
from linnaeus.server.security.tokens import Right, TokenHolder

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


class Authorizer:
    """A check of token and right before each call.

    Belongs to the event loop's thread.

    Invariants:
        - the health service requires no token;
        - with a token file, every other method requires a token that has the method's right;
        - a refused call does not reach its method.

    Args:
        tokens: the accepted tokens; None accepts calls without a token.
        max_priority: the highest priority of any caller; a token's own may be lower.
    """

    def __init__(self, tokens: TokenFile | None, max_priority: Priority = Priority.HIGH) -> None:
        self._tokens = tokens
        self._max_priority = max_priority

    def authorize(self, right: Right, context: Any) -> Caller:
        """Checks the caller's token; returns the caller.

        Args:
            right: the right that the method requires.
            context: the call's context, of which only the metadata and the connection are used.

        Raises:
            Unauthenticated: if the call carries no known token.
            PermissionDenied: if the token lacks the right.
        """
        if self._tokens is None:
            return caller_without_token(context, True, self._max_priority)
        holder = _holder(self._tokens, context.invocation_metadata(), right)
        priority = max(holder.max_priority, self._max_priority)
        return Caller(holder.identity, holder.identity, priority)


def _holder(tokens: TokenFile, metadata: Sequence[tuple[str, str | bytes]] | None, right: Right) -> TokenHolder:
    token = _token(metadata)
    if token is None:
        raise Unauthenticated(
            "this server asks for a token: linnaeus-client --token-file FILE, or authorization: Bearer TOKEN in HTTP's "
            "headers or gRPC's metadata"
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
