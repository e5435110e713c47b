"""One sentence for what pydantic found wrong, as an operator reads it."""

from pydantic import ValidationError

from linnaeus.server.config.shown_value import shown

_MISSING = "missing"
_UNKNOWN = "extra_forbidden"
_OF_OUR_VALIDATORS = "value_error"
# pydantic's words, and those that the documentation of the settings uses.
_WORDS = {
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
    "a finite number": "finite",
    "a tuple, list, dictionary or an instance of PriorityWeights": "a table of high, normal and low",
}


def explain(error: ValidationError) -> str:
    """Returns what is wrong with the first value that was refused, such as `port is -1, but must be at least 0`."""
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == _OF_OUR_VALIDATORS:
        return str(first["ctx"]["error"])
    if first["type"] in (_MISSING, _UNKNOWN):
        return f"{key} is {'missing' if first['type'] == _MISSING else 'unknown'}"
    wanted = first["msg"].removeprefix("Input should ")
    for theirs, ours in _WORDS.items():
        wanted = wanted.replace(theirs, ours)
    return f"{key} is {shown(first['input'])}, but must {wanted}"
