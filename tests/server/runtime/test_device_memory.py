"""What a device tells of its memory."""

import pytest
import torch

from linnaeus.server.runtime.device_memory import device_memory


def test_a_cpu_has_no_memory_of_its_own() -> None:
    assert device_memory(torch.device("cpu")) is None


def test_a_device_that_does_not_answer_any_more_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(device: torch.device) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "mem_get_info", fail)
    assert device_memory(torch.device("cuda", 0)) is None


@pytest.mark.gpu
def test_what_is_held_on_a_gpu_shows() -> None:
    device = torch.device("cuda", 0)
    held = torch.empty(64 << 20, dtype=torch.uint8, device=device)
    memory = device_memory(device)
    assert memory is not None
    assert held.nbytes <= memory.reserved_bytes <= memory.limit_bytes - memory.free_bytes
