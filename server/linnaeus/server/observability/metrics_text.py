"""The metrics of a registry as text, for those who answer requests on an event loop."""

from functools import partial

from prometheus_client import CollectorRegistry, generate_latest

from linnaeus.server.process.daemon_threads import run_in_thread
from linnaeus.server.process.shared_call import SharedCall


def registry_text(registry: CollectorRegistry) -> SharedCall[bytes]:
    """Returns a call that returns the text of a registry, made on a thread: it takes milliseconds.

    Those who ask while it is made share it, so that many that ask at once take no more threads than one.
    """
    return SharedCall(lambda: run_in_thread("linnaeus-metrics-text", partial(generate_latest, registry)))
