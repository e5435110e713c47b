"""ONNX Runtime gives what the TorchScript of the same model gives; what it cannot run is refused in one sentence."""

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from tests.server.runtime.memory import resident_bytes

from linnaeus.models.export.onnx import export_onnx
from linnaeus.models.manifest import Manifest, read_manifest
from linnaeus.models.registry import find
from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime import onnxruntime_runner
from linnaeus.server.runtime.artifact_checks import load_module, read_artifact
from linnaeus.server.runtime.onnxruntime_runner import OnnxRuntimeRunner
from linnaeus.server.runtime.out_of_memory import OutOfMemory
from linnaeus.server.runtime.runner import Pixels
