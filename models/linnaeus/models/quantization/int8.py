"""Quantizes an OpenVINO model to int8 with NNCF, from pictures, without training.

Must not know of repositories or judge what comes of it.
"""

import contextlib
import logging
import sys
from typing import TYPE_CHECKING

from linnaeus.models.quantization.pictures import Pictures
from linnaeus.openvino_telemetry import block_telemetry

if TYPE_CHECKING:
    import openvino


def quantize_to_int8(model: "openvino.Model", calibration: Pictures) -> "openvino.Model":
    """Returns a model with int8 weights, and int8 activations whose ranges are those that the pictures cause.

    NNCF's progress goes to stderr.
    """
    block_telemetry()
    # It warns that there is no CUDA, which OpenVINO does not use.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    import nncf

    nncf.set_log_level(logging.WARNING)
    dataset = nncf.Dataset(range(len(calibration)), lambda index: calibration.pixels(index, index + 1).numpy())
    with contextlib.redirect_stdout(sys.stderr):
        # Mixed: activations with a zero point of their own, which those behind swish, hard swish and sums need.
        quantized: openvino.Model = nncf.quantize(
            model, dataset, preset=nncf.QuantizationPreset.MIXED, subset_size=len(calibration)
        )
    return quantized
