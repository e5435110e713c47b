"""What the fork server imports: all that the engine or a front end needs, but gRPC, whose threads no fork survives.

What serves HTTP is 4 MB, which each front end would have for itself.
"""

import gc

import prometheus_client  # noqa: F401
import starlette.applications  # noqa: F401
import starlette.middleware.cors  # noqa: F401
import uvicorn.protocols.http.httptools_impl  # noqa: F401

import linnaeus.server.app.engine_process
import linnaeus.server.engine.engine
import linnaeus.server.process.event_loop  # noqa: F401

# A collection in a child would write to every object, and so copy the memory that it shares with the others.
gc.collect()
gc.freeze()
