"""The zoo: all models by name."""

from linnaeus.models.zoo_entries import cifar, digits, imagenet, regnet, torchvision
from linnaeus.models.zoo_model import ZooModel

ZOO: dict[str, ZooModel] = {
    model.name: model for group in (digits, imagenet, torchvision, cifar, regnet) for model in group.ENTRIES
}


def find(name: str) -> ZooModel:
    """Returns the model of that name.

    Raises:
        ValueError: if there is none; the message lists all names.
    """
    try:
        return ZOO[name]
    except KeyError:
        raise ValueError(f"there is no model {name!r} in the zoo; there are: {', '.join(ZOO)}") from None
