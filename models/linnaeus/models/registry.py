"""The zoo's one list of names."""

from linnaeus.models.zoo_entries import cifar, digits, imagenet, regnet, torchvision
from linnaeus.models.zoo_model import ZooModel

ZOO: dict[str, ZooModel] = {
    model.name: model for rows in (digits, imagenet, torchvision, cifar, regnet) for model in rows.ENTRIES
}


def find(name: str) -> ZooModel:
    """Returns the model of that name.

    Raises:
        ValueError: there is none; the message lists what there is.
    """
    try:
        return ZOO[name]
    except KeyError:
        raise ValueError(f"there is no model {name!r} in the zoo; there are: {', '.join(ZOO)}") from None
