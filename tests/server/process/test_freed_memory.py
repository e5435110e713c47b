"""Tests of `FreedMemory` and `return_freed_memory`: memory goes back to the system, once things are quiet."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from linnaeus.server.process.freed_memory import FreedMemory


def test_memory_is_released_once_after_many_notes() -> None:
    released, calls = threading.Event(), []

    def release() -> None:
        calls.append(threading.current_thread().name)
        released.set()

    freed = FreedMemory(release, quiet_seconds=0.2, longest_seconds=60.0)
    for _ in range(50):
        freed.note()
    assert released.wait(30)
    assert calls == ["linnaeus-memory"]
    released.clear()
    freed.note()
    assert released.wait(30) and len(calls) == 2


def test_memory_is_released_in_time_though_it_is_never_quiet() -> None:
    released = threading.Event()
    freed = FreedMemory(released.set, quiet_seconds=3600.0, longest_seconds=0.05)
    freed.note()
    assert released.wait(30)


# A process of its own, configured as a server is. Prints the megabytes kept after decoding large pictures.
KEPT = """
import io, threading
from PIL import Image
from linnaeus.models.manifest import InputSpec
from linnaeus.server.decoding import decode as module
from linnaeus.server.process.freed_memory import FreedMemory, return_freed_memory
from linnaeus.server.requests.picture import EncodedImage
from linnaeus.server.runtime.device import configure_process

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 // 1_000_000

configure_process(1)
module._freed_memory = FreedMemory(quiet_seconds=0.1)
spec = InputSpec(3, 224, 224, 256, "bicubic")
def decode(side, format):
    stream = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(stream, format)
    module.decode(EncodedImage(stream.getvalue()), spec, 50_000_000)

for format in ("PNG", "WEBP", "GIF", "BMP"):
    decode(500, format)
return_freed_memory()
before = resident()
for format in ("PNG", "WEBP", "GIF", "BMP"):
    decode(4000, format)
for thread in threading.enumerate():
    if thread.name == "linnaeus-memory":
        thread.join()
print(resident() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads memory as Linux lists it")
def test_the_memory_of_large_pictures_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True, timeout=100)
    assert int(done.stdout) < 30
