"""The packages of the extra `quantize` are named where they lack, and report nothing to their maker."""

import pytest
from tests.blocked_packages import run_without

pytestmark = pytest.mark.slow
QUANTIZE = """
import sys
sys.argv = ["linnaeus-zoo", "quantize", "lenet", "--calibration", "nowhere"]
from linnaeus.models.cli import main
main()
"""
IMPORTS = """
from linnaeus.openvino_telemetry import block_telemetry
block_telemetry()
block_telemetry()
import openvino, nncf, sys
print({name for name in sys.modules if name.startswith("openvino_telemetry.")})
"""


def test_a_missing_package_is_named_with_its_extra_before_any_work() -> None:
    status, output, errors = run_without({"nncf"}, QUANTIZE)
    assert (status, output, errors) == (1, "", "linnaeus-zoo needs nncf: pip install 'linnaeus[quantize]'\n")


def test_nothing_of_the_telemetry_is_imported() -> None:
    assert run_without(set(), IMPORTS)[:2] == (0, "set()\n")
