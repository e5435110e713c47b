"""Classifies the errors of runtimes: whether memory was short, and the line that says what happened."""

import torch

# An error inside TorchScript becomes a plain RuntimeError, so only its text identifies it: the words of torch's
# allocators, of CUDA's runtime, and of cuDNN and cuBLAS, which allocate memory themselves. OpenVINO and ONNX Runtime
# have no error of their own for it either; the last two are ONNX Runtime's.
_OUT_OF_MEMORY_PHRASES = (
    "out of memory",
    "can't allocate memory",
    "STATUS_ALLOC_FAILED",
    "Failed to allocate",
    "bad_alloc",
    "BFCArena",
)
# Identify the line that says what happened; the interpreter's frames precede it, and CUDA's advice follows.
_MESSAGE_PHRASES = ("CUDA error:", "cuDNN error:", "out of memory")
_MAX_SENTENCES = 3
# What a runtime raises when a model fails: an error of its own, or one raised by the model's code.
FAILURES = (RuntimeError, torch.jit.Error)


class OutOfMemory(RuntimeError):
    """The device has too little memory left for this run; a smaller batch may fit."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether a run failed because memory was short. An error raised by the model's own code never counts."""
    return isinstance(error, OutOfMemory | torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and names_memory(error)
    )


def names_memory(error: Exception) -> bool:
    """Whether the text of a runtime's error says that memory was short."""
    return any(words in str(error) for words in _OUT_OF_MEMORY_PHRASES)


def error_summary(error: Exception) -> str:
    """Returns the line of a torch error that says what happened, without the advice that follows it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return "without a message"
    line = next((line for line in lines if any(words in line for words in _MESSAGE_PHRASES)), lines[-1])
    return ". ".join(line.split(". ")[:_MAX_SENTENCES])
