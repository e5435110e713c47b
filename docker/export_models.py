"""`linnaeus-zoo` for the image's build, where torchvision may be built for another torch than the image's.

torchvision's wheels for CUDA do not find their kernels beside a torch for CPUs, and then the import itself fails: it
describes operators that nobody has declared. No network of the zoo calls any of them, so here they are declared,
without kernels, and everything else is torchvision as it is.
"""

import torch

_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def declare_missing_operators() -> "torch.library.Library | None":
    """Makes torchvision importable; the declarations hold as long as what is returned lives."""
    try:
        import torchvision  # noqa: F401  # tried for its effects
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        declared = torch.library.Library("torchvision", "FRAGMENT")
        for name in _OPERATORS:
            declared.define(name + _SIGNATURE)
        return declared
    return None


def main() -> None:
    """Runs the command."""
    declared = declare_missing_operators()
    from linnaeus.models.cli import main as zoo  # which imports torchvision

    zoo()
    del declared


main()
