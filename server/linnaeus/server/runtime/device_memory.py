"""How much memory a device has, and what this process holds of it."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """The memory of one device, in bytes.

    Attributes:
        reserved_bytes: held by this process's allocator, in use or kept for the next batch.
        free_bytes: held by nobody, this process or another.
        limit_bytes: all there is.
    """

    reserved_bytes: int
    free_bytes: int
    limit_bytes: int


def device_memory(device: torch.device) -> DeviceMemory | None:
    """Asks the device. Any thread may; it waits for no batch.

    Returns:
        None for a CPU, whose memory is the process's, and for a device that does not answer any more.
    """
    if device.type != "cuda":
        return None
    try:
        free, limit = torch.cuda.mem_get_info(device)
        return DeviceMemory(torch.cuda.memory_reserved(device), free, limit)
    except RuntimeError:
        return None
