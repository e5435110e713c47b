"""The reported memory of a device."""

import pytest
import torch

from linnaeus.server.runtime.device_memory import device_memory


def test_a_cpu_has_no_device_memory() -> None:
    assert device_memory(torch.device("cpu")) is None


def test_a_device_that_no_longer_responds_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(device: torch.device) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "mem_get_info", fail)
    assert device_memory(torch.device("cuda", 0)) is None


@pytest.mark.gpu
def test_reserved_memory_of_a_gpu_is_reported() -> None:
    device = torch.device("cuda", 0)
    held = torch.empty(64 << 20, dtype=torch.uint8, device=device)
    memory = device_memory(device)
    assert memory is not None
    assert held.nbytes <= memory.reserved_bytes <= memory.limit_bytes - memory.free_bytes
