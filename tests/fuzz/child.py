"""Decodes mutants one after the other and reports each; a process of its own, since one of them might end it.

Prints a line of JSON for each mutant that it begins and one for each that it ends. Run by `tests.fuzz.images`.
"""

import json
import resource
import sys
import time
import warnings
from collections.abc import Callable

from tests.fuzz.mutator import mutant
from tests.fuzz.seeds import seeds
from tests.server.decoding.image_files import PHOTO, photograph, save

from linnaeus.server.decoding.decode import decode
from linnaeus.server.decoding.decode_work import decode_work
from linnaeus.server.errors import InvalidImage
from linnaeus.server.requests.picture import EncodedImage

MAX_PIXELS = 50_000_000  # as the server's --max-image-pixels
_ADDRESS_SPACE_BYTES = 12 << 30

# What a mutant may cost, in the time that a pixel of an ordinary picture takes: so much for a pixel that its header
# claims, for a byte, and in any case.
_FOR_A_PIXEL, _FOR_A_BYTE, _IN_ANY_CASE = 10, 50, 5_000_000


def processor_seconds(work: Callable[[], object]) -> float:
    """Returns the processor time of a function."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def seconds_of_a_pixel() -> float:
    """Returns the least processor time of several, for a pixel of an ordinary PNG."""
    data = EncodedImage(save(photograph(1000, 1000), "PNG"))
    return min(processor_seconds(lambda: decode(data, PHOTO, MAX_PIXELS)) for _ in range(7)) / 1e6


def outcome(data: bytes) -> str:
    """Decodes a file; returns `decoded`, `refused`, or the error that must not be."""
    try:
        decode(EncodedImage(data), PHOTO, MAX_PIXELS)
    except InvalidImage:
        return "refused"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "decoded"


def resident_megabytes() -> int:
    """Returns the memory that the process has now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1_000_000


def main(seed: int, start: int, stop: int) -> None:
    """Decodes the mutants of a seed from number `start` up to `stop`."""
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    files, pixel_seconds = seeds(), seconds_of_a_pixel()
    for number in range(start, stop):
        print(json.dumps({"begins": number}), flush=True)
        data, results = mutant(files, seed, number), []
        seconds = processor_seconds(lambda data=data, results=results: results.append(outcome(data)))
        pixels = min(decode_work(data, PHOTO).pixels, MAX_PIXELS)
        allowed = pixel_seconds * (_FOR_A_PIXEL * pixels + _FOR_A_BYTE * len(data) + _IN_ANY_CASE)
        line = {"ends": number, "outcome": results[0], "seconds": seconds, "allowed": allowed}
        print(json.dumps({**line, "bytes": len(data), "megabytes": resident_megabytes()}), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
