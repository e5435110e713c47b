"""Quantizes an OpenVINO model to int8 with NNCF, from pictures, without training.

Must not know of repositories or judge what comes of it.
"""

import contextlib
import importlib
import logging
import sys
from typing import TYPE_CHECKING

from linnaeus.models.quantization.pictures import Pictures
from linnaeus.openvino_telemetry import block_telemetry

if TYPE_CHECKING:
    import openvino


def require_packages() -> None:
    """Raises ModuleNotFoundError if a package of the extra `quantize` is missing, before any work was done."""
    block_telemetry()
    # It warns that there is no CUDA, which OpenVINO does not use.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    for package in ("openvino", "nncf"):
        importlib.import_module(package)


def quantize_to_int8(model: "openvino.Model", calibration: Pictures) -> "openvino.Model":
    """Returns a model with int8 weights, and int8 activations whose ranges are those that the pictures cause.

    NNCF's progress goes to stderr.
    """
    require_packages()
    import nncf
    from nncf.quantization.advanced_parameters import OverflowFix

    nncf.set_log_level(logging.WARNING)
    dataset = nncf.Dataset(range(len(calibration)), lambda index: calibration.pixels(index, index + 1).numpy())
    with contextlib.redirect_stdout(sys.stderr):
        # What agreed best with float32 (docs/decisions/0033): activations with a zero point of their own, the slow
        # correction of biases, and all eight bits, which processors without VNNI cannot add up without overflow.
        quantized: openvino.Model = nncf.quantize(
            model,
            dataset,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(calibration),
            fast_bias_correction=False,
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=OverflowFix.DISABLE),
        )
    return quantized
