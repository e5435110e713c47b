"""OpenMP's own setting, which has to be made before torch is imported; so this must not import torch."""

import os

_SPIN_COUNT = "5000"


def limit_spinning() -> None:
    """Lets torch's threads sleep soon when they wait for one another, unless the environment says otherwise.

    By default they spin for milliseconds, on cores that decoders and calls could use: with them beside it, a served
    model lost a tenth of its throughput to that. Some microseconds still bridge the gaps between a model's operations
    (docs/decisions/0005-sharing-the-cores.md). This is GNU's OpenMP, which torch's Linux packages bring.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)
