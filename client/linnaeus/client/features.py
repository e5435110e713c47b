"""Features as they are sent, made numbers: with numpy where it is installed, otherwise with the standard library."""

import array
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy

    # A numpy array, or without numpy a memoryview.
    FeatureArray: TypeAlias = numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.float32]]
else:
    FeatureArray = Any


def unpack_features(packed: bytes) -> FeatureArray:
    """Returns the numbers of packed float32, the least byte first, read-only."""
    try:
        import numpy  # here, because the client does not need it
    except ImportError:
        without_numpy: FeatureArray = _unpack_without_numpy(packed)
        return without_numpy
    return numpy.frombuffer(packed, "<f4")


def _unpack_without_numpy(packed: bytes) -> Any:
    if sys.byteorder == "little":
        return memoryview(packed).cast("f")
    swapped = array.array("f", packed)
    swapped.byteswap()
    return memoryview(swapped).toreadonly()
