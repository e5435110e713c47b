"""What only the collector can free: objects that hold one another in a circle."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reference_cycles() -> Iterator[set[str]]:
    """Gathers the names of our own types of which such objects were left when the `with` ended."""
    names: set[str] = set()
    gc.collect()
    gc.disable()
    try:
        yield names
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        names |= {
            type(each).__name__ for each in gc.garbage if str(type(each).__module__).startswith("linnaeus.server.")
        }
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
