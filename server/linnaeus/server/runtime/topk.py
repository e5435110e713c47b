"""Top-k in a fixed order."""

import torch
from torch import Tensor


def top_k(probabilities: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Returns the k highest of each row and their places, best first, equal ones by lower index.

    `torch.topk` breaks ties in no fixed order, also across the k-th place; a stable sort does not.

    Args:
        probabilities: float32 [N, classes], on any device.
        k: from 1 to classes.

    Returns:
        Values, float32 [N, k], and indices, int64 [N, k], on the same device.
    """
    values, indices = probabilities.sort(dim=1, descending=True, stable=True)
    return values[:, :k], indices[:, :k]


# In one call: torch lets go of the interpreter's lock at each, and while the event loop works it comes back late.
scripted_top_k = torch.jit.script(top_k)
