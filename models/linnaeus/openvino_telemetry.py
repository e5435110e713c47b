"""Keeps OpenVINO's telemetry off.

`openvino` and `nncf` bring the package `openvino_telemetry` along, and report to its maker that and how they are used,
already when they are imported, unless the user has opted out in a file. This project sends nothing unasked.
"""

import sys
from typing import Any


def block_telemetry() -> None:
    """Makes `openvino_telemetry` impossible to import in this process; both packages do without it.

    Has to be called before either is imported.
    """
    modules: dict[str, Any] = sys.modules
    modules.setdefault("openvino_telemetry", None)
