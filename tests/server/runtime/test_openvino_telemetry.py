"""The server reports nothing to OpenVINO's maker, which `import openvino` would."""

from tests.blocked_packages import run_without

PROGRAM = """
import sys
from linnaeus.server.runtime.openvino_conversion import openvino_core
openvino_core()
print({name for name in sys.modules if name.startswith("openvino_telemetry.")})
"""


def test_nothing_of_the_telemetry_is_imported() -> None:
    assert run_without(set(), PROGRAM)[:2] == (0, "set()\n")
