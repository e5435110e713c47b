"""The errors about models and versions that are not served: short, however many there are and whatever they are called.

A message lists what is served only, the nearest to what was asked for first. Together with the details that
`rpc.status` adds it stays below 4 KiB: gRPC refuses trailers of 8 KiB, and a caller would see RESOURCE_EXHAUSTED.
"""

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from linnaeus.server.errors import InvalidArgument, ModelNotFound

_MOST_LISTED = 6
_MOST_NAME_BYTES = 64  # as many as a model that is served may have
_MOST_REASON_BYTES = 320
# Names that are compared with the wanted one, 0.4 microseconds each on the event loop; difflib takes 50 for each.
_MOST_COMPARED = 256
# Below it, two names have less in common than not.
_LEAST_SIMILARITY = 0.5


def unknown_model(name: str, served: Sequence[str]) -> ModelNotFound:
    """Returns the error for a name that no model has; `served` is sorted."""
    nearest = _nearest(name, served)
    message = f"there is no model {quoted(name)}; there are: {_list_nearest(served, nearest)}{_hint(nearest)}"
    return ModelNotFound(shortened(name), message)


def missing_name(default_model: str, served: Sequence[str]) -> InvalidArgument:
    """Returns the error for a call that names no model, where no default model could answer it.

    Args:
        default_model: name of the default model, which the repository does not hold; empty if there is none.
        served: the names of the served models, sorted.
    """
    is_missing = f"the server's default model {shortened(default_model)} is not in its repository"
    why = is_missing if default_model else "this server has no default model"
    advice = f"name one of: {list_nearest('', served)}" if served else "no model is served now"
    return InvalidArgument("model", f"model is empty and {why}; {advice}")


def unknown_version(
    model: str, version: str, served: Iterable[int], labels: Mapping[str, int]
) -> ModelNotFound | InvalidArgument:
    """Returns the error for a version that a model does not have.

    Args:
        model: name of the model.
        version: what the call named: a number, a label or neither.
        served: the numbers of the model's served versions.
        labels: version numbers by label.
    """
    name, resource = shortened(model), shortened(f"{model}/{version}")
    if version in labels:
        missing = f"label {version} of model {name} names version {labels[version]}, which is not there"
        return ModelNotFound(resource, missing)
    if not _is_well_formed(version):
        return InvalidArgument("version", f"version is {version!r:.40}, but must be a number, a label or empty")
    numbers = sorted(served)
    named = sorted(label for label, number in labels.items() if number in numbers)
    return ModelNotFound(resource, f"model {name} has no version {version:.20}; there are: {_versions(numbers, named)}")


def not_served(model: str, version: int, why: str, reason: str = "") -> ModelNotFound:
    """Returns the error for a version that is there and not served."""
    name = f"{shortened(model)}/{version}"
    return ModelNotFound(name, f"model {name} {why}{shortened(reason, _MOST_REASON_BYTES)}")


def shortened(text: str, most_bytes: int = _MOST_NAME_BYTES) -> str:
    """Cuts a text to so many bytes of UTF-8; what cannot be encoded is replaced."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= most_bytes:
        return encoded.decode("utf-8")
    return encoded[: most_bytes - len("…".encode())].decode("utf-8", "ignore") + "…"


def quoted(name: str) -> str:
    """Returns a name in quotes, with its control characters escaped, cut to `_MOST_NAME_BYTES`."""
    return shortened(repr(shortened(name)), _MOST_NAME_BYTES + 2)


def list_nearest(wanted: str, names: Sequence[str]) -> str:
    """Lists sorted names; if they are many, those most like the wanted one, and how many more there are."""
    return _list_nearest(names, _nearest(wanted, names))


def _list_nearest(names: Sequence[str], nearest: Sequence[tuple[float, str]]) -> str:
    if len(names) <= _MOST_LISTED:
        return ", ".join(map(shortened, names)) or "none"
    shown = ", ".join(shortened(name) for _, name in nearest)
    return f"{shown} and {len(names) - len(nearest)} more"


def _hint(nearest: Sequence[tuple[float, str]]) -> str:
    is_close = nearest and -nearest[0][0] >= _LEAST_SIMILARITY
    return f"; did you mean {shortened(nearest[0][1])}?" if is_close else ""


def _nearest(wanted: str, names: Sequence[str]) -> list[tuple[float, str]]:
    """Returns the names that share most pairs of letters with the wanted one, each after its negative similarity.

    The similarity is Dice's coefficient: 1.0 if all pairs are shared, 0.0 if none is. Of very many names, only those
    that stand near the wanted one in the alphabet are compared.
    """
    start = max(bisect_left(names, wanted) - _MOST_COMPARED // 2, 0) if len(names) > _MOST_COMPARED else 0
    mine = _pairs(wanted[:_MOST_NAME_BYTES])
    compared = ((name, _pairs(name)) for name in names[start : start + _MOST_COMPARED])
    scored = [(-2 * len(mine & theirs) / (len(mine) + len(theirs)), name) for name, theirs in compared]
    return heapq.nsmallest(_MOST_LISTED, scored)


@lru_cache(maxsize=1024)
def _pairs(name: str) -> frozenset[str]:
    padded = f" {name.lower()} "
    return frozenset(map("".join, zip(padded, padded[1:], strict=False)))


def _versions(numbers: Sequence[int], labels: Sequence[str]) -> str:
    """Lists the highest versions and the first labels, and how many more there are."""
    names = [*map(str, numbers[-_MOST_LISTED:]), *labels[:_MOST_LISTED]]
    more = len(numbers) + len(labels) - len(names)
    return (", ".join(names) or "none") + (f" and {more} more" if more else "")


def _is_well_formed(version: str) -> bool:
    return version.isascii() and version.replace("-", "").replace("_", "").isalnum() and version[0] != "-"
