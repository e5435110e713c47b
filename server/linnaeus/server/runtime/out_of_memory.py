"""What went wrong on a device, told from torch's errors: whether memory was short, and the line that says it."""

import torch

# An error raised inside TorchScript comes out as a plain RuntimeError, so its class says nothing. These are the words
# of torch's allocators, of CUDA's runtime, and of cuDNN and cuBLAS, which allocate for themselves.
_SHORT_OF_MEMORY = ("out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED")
# Lines that say what happened; CUDA's advice follows them, and the interpreter's frames go before them.
_TELLING = ("CUDA error:", "cuDNN error:", "out of memory")
_SENTENCES = 3


class OutOfMemory(RuntimeError):
    """The device has too little memory left for this run; a smaller one may do."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether a run failed for want of memory, on whatever device. What a model says in its own words is no sign."""
    return isinstance(error, OutOfMemory | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _SHORT_OF_MEMORY)
    )


def error_summary(error: Exception) -> str:
    """Returns the line of an error of torch that says what happened, without the advice that follows it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    line = next((line for line in lines if any(words in line for words in _TELLING)), lines[-1])
    return ". ".join(line.split(". ")[:_SENTENCES])
