"""Slots of the shared memory keep their bytes, never overlap, and reach another process; faulty slots are refused."""

import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from types import FrameType
from typing import TypeAlias

import numpy
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from linnaeus.server.link import pixel_memory
from linnaeus.server.link.pixel_memory import UNIT, PixelReader, PixelWriter, Slot
from linnaeus.server.runtime.runner import Pixels

TraceFunction: TypeAlias = Callable[[FrameType, str, object], "TraceFunction | None"]

UNITS = 30
SIZE = UNITS * UNIT
READ_IN_ANOTHER_PROCESS = """
import socket, sys
from linnaeus.server.link import pixel_memory
from linnaeus.server.link.pixel_memory import PixelReader, Slot
with socket.socket(fileno=int(sys.argv[1])) as link:
    _, (fd,), _, _ = socket.recv_fds(link, 1, 1)
    reader = PixelReader(fd)
    link.sendall(reader.view(Slot(*map(int, sys.argv[2:])), (2, 3, 4)).tobytes())
"""


def noise(length: int, seed: int = 0) -> bytes:
    return numpy.random.default_rng(seed).bytes(length)


def written(writer: PixelWriter, data: bytes) -> Slot:
    slot = writer.write(data)
    assert slot is not None
    return slot


def reader_of(writer: PixelWriter) -> PixelReader:
    return PixelReader(os.dup(writer.fd))


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.fixture
def writer() -> Iterator[PixelWriter]:
    with closing(PixelWriter(SIZE)) as writer:
        yield writer


class AnyHistory(RuleBasedStateMachine):
    """Slots are written and freed in random order; a list of units says which are free."""

    def __init__(self) -> None:
        super().__init__()
        self.writer = PixelWriter(SIZE)
        self.reader = reader_of(self.writer)
        self.held: dict[Slot, tuple[bytes, Pixels]] = {}
        self.freed: list[Slot] = []
        self.taken = [False] * UNITS

    def lowest_room(self, units: int) -> int | None:
        fitting = (first for first in range(UNITS - units + 1) if not any(self.taken[first : first + units]))
        return next(fitting, None)

    @rule(length=st.one_of(st.integers(1, 3 * UNIT), st.integers(1, SIZE), st.sampled_from([UNIT, 8 * UNIT])))
    def write(self, length: int) -> None:
        data, units = noise(length, length), -(-length // UNIT)
        room = self.lowest_room(units)
        slot = self.writer.write(data)
        if room is None:
            assert slot is None
            return
        assert slot is not None
        assert (slot.offset, slot.length) == (room * UNIT, length)
        assert all(slot.generation > other.generation for other in [*self.held, *self.freed])
        self.taken[room : room + units] = [True] * units
        self.held[slot] = data, self.reader.view(slot, (length,))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(list(self.held)))
        self.writer.free(slot)
        del self.held[slot]
        self.freed.append(slot)
        first, end = slot.offset // UNIT, -(-(slot.offset + slot.length) // UNIT)
        self.taken[first:end] = [False] * (end - first)

    @precondition(lambda self: self.freed)
    @rule(data=st.data())
    def free_again(self, data: st.DataObject) -> None:
        with pytest.raises(ValueError, match="is not held"):
            self.writer.free(data.draw(st.sampled_from(self.freed)))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), change=st.sampled_from([(UNIT, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 10**6)]))
    def free_a_forged_slot(self, data: st.DataObject, change: tuple[int, int, int]) -> None:
        slot = data.draw(st.sampled_from(list(self.held)))
        with pytest.raises(ValueError, match="is not held"):
            self.writer.free(Slot(*map(sum, zip(slot, change, strict=True))))

    @invariant()
    def the_bytes_of_held_slots_never_change(self) -> None:
        assert all(pixels.tobytes() == data for data, pixels in self.held.values())

    @invariant()
    def held_slots_never_overlap(self) -> None:
        slots = sorted(self.held)
        ends = [slot.offset + slot.length for slot in slots]
        assert all(end <= slot.offset for end, slot in zip(ends, slots[1:], strict=False))

    @invariant()
    def held_slots_are_counted(self) -> None:
        assert self.writer.held == len(self.held)

    def teardown(self) -> None:
        for slot in self.held:
            self.writer.free(slot)
        assert written(self.writer, noise(SIZE)).length == SIZE, "all is free, and a slot of the full size has no room"
        self.reader.close()
        self.writer.close()


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)


def test_a_full_region_has_room_again_once_a_slot_is_freed(writer: PixelWriter) -> None:
    slots = [written(writer, noise(UNIT)) for _ in range(UNITS)]
    assert writer.write(b"x") is None
    writer.free(slots[7])
    assert written(writer, b"x").offset == slots[7].offset


def test_freed_small_slots_give_room_to_a_large_one(writer: PixelWriter) -> None:
    slots = [written(writer, noise(784)) for _ in range(UNITS)]
    for slot in slots[::2] + slots[1::2]:
        writer.free(slot)
    assert written(writer, noise(SIZE)).offset == 0


def test_a_small_load_stays_at_low_addresses(writer: PixelWriter) -> None:
    burst = [written(writer, noise(UNIT)) for _ in range(UNITS)]
    for slot in burst:
        writer.free(slot)
    held = [written(writer, noise(784)) for _ in range(4)]
    for _ in range(2 * UNITS):
        writer.free(held.pop(0))
        held.append(written(writer, noise(784)))
        assert held[-1].offset < 4 * UNIT


def test_memory_is_used_only_where_something_was_written() -> None:
    with closing(PixelWriter(1 << 30)) as writer:
        assert os.fstat(writer.fd).st_blocks == 0


def test_an_array_is_written_as_it_is(writer: PixelWriter) -> None:
    pixels = numpy.frombuffer(noise(5 * 6 * 3), numpy.uint8).reshape(5, 6, 3)
    slot = writer.write(pixels)
    assert slot is not None
    assert numpy.array_equal(reader_of(writer).view(slot, (5, 6, 3)), pixels)


def test_an_array_in_another_order_is_refused_and_takes_no_slot(writer: PixelWriter) -> None:
    with pytest.raises(TypeError):
        writer.write(numpy.zeros((3, 5, 6), numpy.uint8).transpose(1, 2, 0))
    assert writer.held == 0


@pytest.mark.parametrize("length", [0, SIZE + 1])
def test_data_that_never_fits_is_refused_rather_than_waited_for(writer: PixelWriter, length: int) -> None:
    with pytest.raises(ValueError, match=f"{length} bytes do not fit into a region of {SIZE} bytes"):
        writer.write(bytes(length))


@pytest.mark.parametrize("size", [0, -UNIT, UNIT + 1])
def test_a_region_has_whole_units(size: int) -> None:
    with pytest.raises(ValueError, match=f"multiple of {UNIT}"):
        PixelWriter(size)


@pytest.fixture
def switched_threads() -> Iterator[None]:
    """Lets threads that are started now be interrupted at every instruction of the module, not only at its calls."""

    def trace(frame: FrameType, event: str, argument: object) -> TraceFunction | None:
        if frame.f_code.co_filename != pixel_memory.__file__:
            return None
        frame.f_trace_opcodes = True
        return trace

    interval, old = sys.getswitchinterval(), threading.gettrace()
    sys.setswitchinterval(1e-6)
    threading.settrace(trace)
    yield
    threading.settrace(old)
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("switched_threads")
def test_many_threads_write_and_free_without_mixing_their_bytes(writer: PixelWriter) -> None:
    reader = reader_of(writer)
    faults: list[object] = []
    start = threading.Barrier(6)

    def write_and_free(thread: int) -> None:
        start.wait()
        try:
            for length in numpy.random.default_rng(thread).integers(1, 3 * UNIT, 500).tolist():
                slot = written(writer, bytes([thread]) * length)  # each of the six has room
                if (reader.view(slot, (length,)) != thread).any():
                    faults.append(slot)
                writer.free(slot)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=write_and_free, args=(thread,)) for thread in range(6)]
    for started in threads:
        started.start()
    for started in threads:
        started.join()
    assert (faults, writer.held) == ([], 0)
    assert written(writer, noise(SIZE)).length == SIZE


@pytest.mark.parametrize(
    "slot",
    [
        Slot(SIZE, 24, 1),
        Slot(SIZE - 23, 24, 1),
        Slot(-24, 24, 1),
        Slot(-1, 24, 1),
        Slot(24, -24, 1),
        Slot(0, 2**63, 1),
        Slot(2**63, 24, 1),
    ],
)
def test_a_reader_refuses_slots_outside_the_region(writer: PixelWriter, slot: Slot) -> None:
    with pytest.raises(ValueError, match="is not inside the region"):
        reader_of(writer).view(slot, (2, 3, 4))


@pytest.mark.parametrize("length", [0, 23, 25])
def test_a_reader_refuses_slots_of_another_length_than_the_shape(writer: PixelWriter, length: int) -> None:
    with pytest.raises(ValueError, match=f"has {length} bytes, and pixels of the shape \\(2, 3, 4\\) have 24"):
        reader_of(writer).view(Slot(0, length, 1), (2, 3, 4))


def test_a_view_is_read_only(writer: PixelWriter) -> None:
    pixels = reader_of(writer).view(written(writer, noise(24)), (24,))
    with pytest.raises(ValueError):
        pixels[0] = 1
    with pytest.raises(ValueError):
        pixels.flags.writeable = True


def test_a_view_outlives_both_ends() -> None:
    writer, data = PixelWriter(SIZE), noise(24)
    reader = reader_of(writer)
    pixels = reader.view(written(writer, data), (2, 3, 4))
    reader.close()
    writer.close()
    assert pixels.tobytes() == data


def test_closed_ends_refuse_work() -> None:
    writer = PixelWriter(SIZE)
    reader, slot = reader_of(writer), written(writer, noise(24))
    for end in (reader, writer, reader, writer):
        end.close()
    with pytest.raises(ValueError):
        reader.view(slot, (24,))
    with pytest.raises(ValueError):
        writer.write(b"x")


def test_another_process_sees_the_bytes(writer: PixelWriter) -> None:
    written(writer, noise(5000))
    data = noise(24, 1)
    slot = written(writer, data)
    link, other = socket.socketpair()
    with link, other:
        command = [sys.executable, "-c", READ_IN_ANOTHER_PROCESS, str(other.fileno()), *map(str, slot)]
        with subprocess.Popen(command, pass_fds=[other.fileno()]) as process:
            other.close()
            socket.send_fds(link, [b"x"], [writer.fd])
            with link.makefile("rb") as received:
                assert received.read() == data
        assert process.returncode == 0


def test_a_writer_closes_its_descriptor_once() -> None:
    writer = PixelWriter(SIZE)
    assert not os.get_inheritable(writer.fd)
    writer.close()
    assert not is_open(writer.fd)
    with open(os.devnull) as reused:
        assert reused.fileno() == writer.fd
        writer.close()
        assert is_open(reused.fileno())


def test_a_reader_closes_the_descriptor_that_it_is_given(writer: PixelWriter) -> None:
    fd = os.dup(writer.fd)
    PixelReader(fd)
    assert not is_open(fd)


def test_a_reader_refuses_an_empty_file_and_closes_it() -> None:
    fd = os.open(os.devnull, os.O_RDONLY)
    with pytest.raises((OSError, ValueError)):
        PixelReader(fd)
    assert not is_open(fd)


def test_without_memfd_a_private_file_without_a_name_is_the_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    with closing(PixelWriter(SIZE)) as writer:
        status = os.fstat(writer.fd)
        assert (stat.S_IMODE(status.st_mode), status.st_nlink) == (0o600, 0)
        assert not os.get_inheritable(writer.fd)
        data = noise(24)
        assert reader_of(writer).view(written(writer, data), (24,)).tobytes() == data
