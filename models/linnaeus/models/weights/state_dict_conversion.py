"""Converts published state dicts to the names of the zoo's networks; names what does not fit."""

import re
from collections.abc import Iterable

from torch import Tensor

from linnaeus.models.zoo_model import ZooModel

# Checkpoints from before PyTorch 0.4 name the modules of a dense layer norm.1, conv.2 (source document 002).
_DOTTED_DENSE_LAYER = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\.(?:weight|bias|running_mean|running_var))")
# The auxiliary heads of GoogLeNet, with the names of torchvision and of source document 000.
_FAMILY_WITH_AUXILIARY_HEADS = "GoogLeNet"
_AUXILIARY_HEAD = re.compile(r"aux(?:_stage|_head|iliary)?_?[12]\.")
_DATA_PARALLEL_PREFIX = "module."
# Batch normalization counts its batches since PyTorch 0.4.1; evaluation does not use the counter.
_BATCH_COUNTER = ".num_batches_tracked"
_MAX_NAMES = 3


def convert_state_dict(state: dict[str, Tensor], model: ZooModel, classes: int, source: str) -> dict[str, Tensor]:
    """Returns the state dict with the names of the network.

    It renames old dotted DenseNet names, removes the prefix of `DataParallel`, and drops GoogLeNet's auxiliary heads.

    Args:
        state: the state dict as read.
        model: the model whose network it is for.
        classes: number of classes of the network.
        source: name of the state dict for error messages.

    Raises:
        ValueError: if a tensor is missing, unexpected or of another shape; the message names it.
    """
    expected = model.build(classes).state_dict()
    fitted = _rename(state)
    if model.family == _FAMILY_WITH_AUXILIARY_HEADS:
        fitted = _drop_auxiliary_heads(fitted, expected)
    fitted |= {name: expected[name] for name in expected.keys() - fitted.keys() if name.endswith(_BATCH_COUNTER)}
    where = f"{source} does not fit {model.name}"
    if missing := [name for name in expected if name not in fitted]:
        raise ValueError(f"{where}: {_list(missing)} missing")
    if left_over := [name for name in fitted if name not in expected]:
        raise ValueError(f"{where}: {_list(left_over)} left over")
    _check_shapes(fitted, expected, model, classes, where)
    return fitted


def _rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    if state and all(name.startswith(_DATA_PARALLEL_PREFIX) for name in state):
        state = {name.removeprefix(_DATA_PARALLEL_PREFIX): tensor for name, tensor in state.items()}
    return {_DOTTED_DENSE_LAYER.sub(r"\1\2", name): tensor for name, tensor in state.items()}


def _drop_auxiliary_heads(state: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name in expected or not _AUXILIARY_HEAD.match(name)}


def _check_shapes(
    state: dict[str, Tensor], expected: dict[str, Tensor], model: ZooModel, classes: int, where: str
) -> None:
    """Raises ValueError for the first wrong shape; a head for other classes gets a message about the labels."""
    for name, tensor in expected.items():
        given, wanted = tuple(state[name].shape), tuple(tensor.shape)
        if given == wanted:
            continue
        if given[1:] == wanted[1:] and wanted[0] == classes:
            raise ValueError(
                f"{where}: its head {name} tells {given[0]} classes apart, but there are {classes} labels; "
                f"give one label for each class with --labels"
            )
        raise ValueError(f"{where}: {name} has the shape {_shape(given)}, but must have {_shape(wanted)}")


def _shape(sizes: Iterable[int]) -> str:
    return "x".join(map(str, sizes)) or "of a single number"


def _list(names: list[str]) -> str:
    shown = ", ".join(names[:_MAX_NAMES])
    rest = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return f"{shown}{rest} {'is' if len(names) == 1 else 'are'}"
