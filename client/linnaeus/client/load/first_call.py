"""One call before the load: whether the server is there, lets this caller in, knows the model and reads the picture.

Then, how many connections the server wants a busy caller to open.
"""

from contextlib import closing

from linnaeus.client.config import DEFAULT_TIMEOUT_SECONDS, make_config
from linnaeus.client.errors import Overloaded
from linnaeus.client.load.plan import Plan
from linnaeus.client.sync.calls import Calls
from linnaeus.client.sync.client import Client


def make_first_call(plan: Plan) -> None:
    """Classifies the plan's first picture, as every client does, with the plan's model, priority, TLS and token.

    The plan's deadline does not apply: a model that has just been loaded may take longer once. A server that has too
    much to do is no reason to stop: the load test is there to see that.

    Raises:
        LinnaeusError: if there is no answer. The message is the server's own, or says what is wrong and what to do.
        OSError: if the picture cannot be read.
    """
    picture = plan.pictures[0]
    content = picture.read_bytes()
    client = Client(plan.target, timeout_seconds=DEFAULT_TIMEOUT_SECONDS, tls=plan.tls or False, token=plan.token)
    with client:
        try:
            client.classify(
                content,
                model=plan.model,
                version=plan.version or None,
                top_k=plan.top_k,
                priority=plan.priority,
                image_id=picture.name,
            )
        except Overloaded:
            return


def ask_connections(plan: Plan) -> int:
    """Returns how many connections the server tells a busy caller to open; 1 if it does not tell."""
    config = make_config(
        plan.target,
        timeout_seconds=DEFAULT_TIMEOUT_SECONDS,
        max_message_bytes=None,
        tls=plan.tls or False,
        token=plan.token,
        hedging=False,
        connections="auto",
    )
    with closing(Calls(config)) as calls:
        return calls.query_connections(config.deadline(None)) or 1
