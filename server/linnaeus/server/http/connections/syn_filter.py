"""A listening socket that takes no new connections, without those being refused or lost.

The kernel resets what a listening socket holds when it is closed: also a connection that was made a moment after the
last `accept`, whose caller may have sent a request. So a filter first discards the packets that ask for a connection
(SYN). The caller's kernel repeats such a packet after a second; by then another server listens there, or none.
"""

import contextlib
import ctypes
import socket
import struct
import sys

# Of Linux (asm-generic/socket.h, linux/bpf_common.h); the socket module does not name them.
_SO_ATTACH_FILTER = 26
_LOAD_BYTE, _JUMP_IF_SET, _RETURN = 0x30, 0x45, 0x06
_TCP_FLAGS, _SYN = 13, 0x02  # RFC 9293, section 3.1
_DISCARD, _ACCEPT = 0, 0xFFFFFFFF
# Each instruction: code, instructions to skip if the condition holds, or if not, operand. Byte 0 is TCP's first.
_PROGRAM = (
    (_LOAD_BYTE, 0, 0, _TCP_FLAGS),
    (_JUMP_IF_SET, 0, 1, _SYN),
    (_RETURN, 0, 0, _DISCARD),
    (_RETURN, 0, 0, _ACCEPT),
)


def discard_syns(listener: socket.socket) -> None:
    """Has the kernel discard what asks for new connections; those that are being made go on.

    Does nothing where sockets have no such filters.
    """
    if sys.platform != "linux":
        return  # the option's number means another thing there
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in _PROGRAM))
    program = struct.pack("HP", len(_PROGRAM), ctypes.addressof(instructions))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
