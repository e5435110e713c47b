"""Finds the features among the outputs of a user's network."""

from torch import Tensor

from linnaeus.models.own_model.finding import Finding, problem


def feature_place(outputs: object, node: str) -> int | None:
    """Returns the place of the features in a tuple of outputs, from 1, behind the logits; None if there is no such.

    Args:
        outputs: what the network gives.
        node: the place as a number, or the name of a field if the network gives a NamedTuple.
    """
    if not isinstance(outputs, tuple):
        return None
    names: tuple[str, ...] = getattr(outputs, "_fields", ())
    place = names.index(node) if node in names else int(node) if node.isascii() and node.isdigit() else 0
    return place if 1 <= place < len(outputs) else None


def judge_features(outputs: object, node: str, count: int) -> Finding | None:
    """Says what is wrong with the outputs of a network that is to give features; None if nothing is.

    Args:
        outputs: what it gives for `count` images.
        node: see `feature_place`.
        count: number of images.
    """
    place = feature_place(outputs, node)
    if not isinstance(outputs, tuple) or place is None:
        return problem(
            f"gives {_description(outputs)}, in which {node!r} names no features",
            "let forward return a tuple, the logits first, and say --features 1 for its second output, or the "
            "name of a NamedTuple's field",
        )
    features = outputs[place]
    if not isinstance(features, Tensor) or features.dim() != 2 or features.shape[0] != count:
        shape = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
        return problem(f"gives features {shape}, but must give [{count}, features]", "pool and flatten them in forward")
    return None


def _description(outputs: object) -> str:
    if not isinstance(outputs, tuple):
        return "a single tensor" if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
    names: tuple[str, ...] = getattr(outputs, "_fields", ())
    return f"a tuple of {', '.join(names)}" if names else f"a tuple of {len(outputs)}"
