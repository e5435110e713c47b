"""Files that `torch.save` wrote: state dicts, checkpoints, whole modules. They are decoded, never unpickled."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

from linnaeus.models.own_model.pickle_content import PickleContent, read_pickle

# torch.save before 1.6 wrote a magic number, the protocol, the machine, then the object: four pickles.
_LEGACY_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
_LEGACY_PLACE = 3
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
# A pickle of tensors without their numbers is short; a longer one is no file of torch.
_MOST_BYTES = 64 * 1024 * 1024
_MOST_NAMES = 3


@dataclass(frozen=True, slots=True)
class PickledFile:
    """Whether a pickled file holds plain tensors only; `description` completes "it is …"."""

    is_weights: bool
    description: str


def read_archive(archive: zipfile.ZipFile) -> PickledFile:
    """Describes a zip archive of `torch.save`, as it writes them since 1.6."""
    name = next(each for each in archive.namelist() if each.rpartition("/")[2] == "data.pkl")
    with archive.open(name) as file:
        return _describe(file.read(_MOST_BYTES), 0)


def read_single(path: Path, head: bytes) -> PickledFile | None:
    """Describes a file that is a pickle by itself; None if it is not."""
    if not head.startswith(_PICKLES):
        return None
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES)
    return _describe(data, _LEGACY_PLACE if head.startswith(_LEGACY_MAGIC) else 0)


def _describe(data: bytes, place: int) -> PickledFile:
    try:
        content = read_pickle(data, place)
    except ValueError:
        return PickledFile(False, "a pickle that is damaged or cut short")
    if content.top:
        return PickledFile(False, f"a whole object, pickled: {content.top}")
    if content.classes:
        named = ", ".join(content.classes[:_MOST_NAMES])
        more = f" and {len(content.classes) - _MOST_NAMES} more" if len(content.classes) > _MOST_NAMES else ""
        return PickledFile(False, f"a checkpoint that holds pickled objects beside its weights: {named}{more}")
    return PickledFile(True, _weights(content))


def _weights(content: PickleContent) -> str:
    if content.tensors == 0:
        return "a pickle without tensors"
    return f"a state dict, weights without a network: {content.tensors} tensor{'s' * (content.tensors > 1)}"
