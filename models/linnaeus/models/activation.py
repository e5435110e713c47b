"""The activation that is put after a network, so that the server gets probabilities."""

from enum import StrEnum


class Activation(StrEnum):
    """What turns the outputs of a network into probabilities.

    SOFTMAX is for logits of which one label fits an image; its probabilities sum to 1. SIGMOID is for logits of labels
    that are independent of one another, of which any number may fit. NONE is for a network that has it within.
    """

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    NONE = "none"
