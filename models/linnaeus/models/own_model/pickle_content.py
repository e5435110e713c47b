"""Reads what a pickle would do when it is loaded, without loading it: `pickletools` decodes it, nothing is executed."""

import io
import pickletools
from dataclasses import dataclass

# What a file of plain tensors names: containers, storages and the functions that rebuild tensors from them.
_PLAIN_MODULES = ("collections", "torch", "torch._utils", "torch.serialization", "torch.storage", "torch._tensor")
_NO_OBJECT = ("PROTO", "FRAME")


@dataclass(frozen=True, slots=True)
class PickleContent:
    """What a pickle names.

    Attributes:
        top: the class of the outermost object, such as `torchvision.models.resnet.ResNet`; empty for a container.
        classes: the classes and functions it names that are not part of plain tensors, as `module.name`.
        strings: all its strings; among them the keys of dictionaries.
        tensors: how many tensors it refers to.
    """

    top: str
    classes: tuple[str, ...]
    strings: tuple[str, ...]
    tensors: int


def read_pickle(data: bytes, place: int = 0) -> PickleContent:
    """Decodes one of the pickles that follow one another in `data`, by default the first.

    Raises:
        ValueError: if there is none, or it is cut short.
    """
    stream = io.BytesIO(data)
    for _ in range(place):
        _read_next(stream)
    return _read_next(stream)


def _read_next(stream: io.BytesIO) -> PickleContent:
    names: list[str] = []
    strings: list[str] = []
    tensors = 0
    first = ""
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            first = first or (opcode.name if opcode.name not in _NO_OBJECT else "")
            if opcode.name == "GLOBAL":
                names.append(str(argument).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                names.append(".".join(strings[-2:]))
            elif opcode.name == "BINPERSID":
                tensors += 1
            elif isinstance(argument, str):
                strings.append(argument)
    except Exception as error:  # genops raises what its decoders raise: ValueError, IndexError, UnicodeDecodeError, …
        raise ValueError("it is no complete pickle") from error
    classes = tuple(name for name in dict.fromkeys(names) if name.rpartition(".")[0] not in _PLAIN_MODULES)
    top = names[0] if first in ("GLOBAL", "STACK_GLOBAL") and names[0] in classes else ""
    return PickleContent(top, classes, tuple(strings), tensors)
