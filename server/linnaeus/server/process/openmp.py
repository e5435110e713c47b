"""OpenMP's limit on spinning.

It has an effect only if it is set before torch is imported, so this module must not import torch.
"""

import os

_SPIN_COUNT = "5000"


def limit_spinning() -> None:
    """Limits the spinning of torch's waiting threads, unless the environment already sets a wait policy.

    By default the threads spin for milliseconds on cores that decoders and calls need, which cost a served model a
    tenth of its throughput. A few microseconds of spinning still bridge the gaps between a model's operations
    (docs/decisions/0005-sharing-the-cores.md). Applies to GNU OpenMP, which torch's Linux packages contain.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)
