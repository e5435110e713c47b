"""The memory of a device, and what this process holds of it."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """The memory of one device, in bytes.

    Attributes:
        reserved_bytes: held by this process's allocator, in use or cached for later batches.
        free_bytes: held by no process.
        limit_bytes: the total.
    """

    reserved_bytes: int
    free_bytes: int
    limit_bytes: int


def device_memory(device: torch.device) -> DeviceMemory | None:
    """Returns the memory of a device. Any thread may call it; it does not wait for batches.

    Returns:
        None for a CPU, which has no memory of its own, and for a device that no longer responds.
    """
    if device.type != "cuda":
        return None
    try:
        free, limit = torch.cuda.mem_get_info(device)
        return DeviceMemory(torch.cuda.memory_reserved(device), free, limit)
    except RuntimeError:
        return None
