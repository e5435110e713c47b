"""The event loop of the server."""

import asyncio


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Returns an event loop of uvloop if it is installed, else of asyncio.

    uvloop saves an eighth of a small call's CPU time.
    """
    try:
        import uvloop
    except ImportError:  # uvloop does not support every platform
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
