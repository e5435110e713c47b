"""The origin of web pages that may call by HTTP, as operators write it."""

import re
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

from linnaeus.server.config.shown_value import shown

_ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.ASCII)


def read_origin(origin: str, info: ValidationInfo) -> str:
    """Returns an origin as browsers write it, `*`, or nothing.

    Raises:
        ValueError: if it is none; the message is a sentence about the setting.
    """
    bare = origin.strip().lower().removesuffix("/")
    if bare in ("", "*") or _ORIGIN.fullmatch(bare):
        return bare
    wanted = "an origin without a path, such as https://example.org, or * for all"
    raise ValueError(f"{info.field_name} is {shown(origin)}, but must be {wanted}")


Origin = Annotated[str, AfterValidator(read_origin)]
