"""Detection of reference cycles, which only the garbage collector can free."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reference_cycles() -> Iterator[set[str]]:
    """Yields a set that is filled, when the block ends, with the `linnaeus.server` types found in reference cycles."""
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
