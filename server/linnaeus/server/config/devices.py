"""The names of devices, checked by their form alone: whether a device is there, only torch knows."""

import re
from typing import Annotated

from pydantic import AfterValidator

from linnaeus.server.config.shown_value import shown

WANTED = "auto, cpu or cuda:N"
_NAME = re.compile(r"auto|(cpu|cuda)(:[0-9]{1,3})?")


def is_device_name(name: str) -> bool:
    """Returns whether a name has the form of a device's."""
    return _NAME.fullmatch(name) is not None


def read_device_names(names: str) -> str:
    """Returns names that are separated by commas, as they are.

    Raises:
        ValueError: if one has not the form of a device's, or there is none; the message is a sentence about it.
    """
    each = [name.strip() for name in names.split(",") if name.strip()]
    if not each or not all(map(is_device_name, each)):
        raise ValueError(f"device is {shown(names)}, but must be {WANTED}, or several of them separated by commas")
    return names


DeviceNames = Annotated[str, AfterValidator(read_device_names)]
