"""Features are the inputs of the last layer of every network of the zoo, and probabilities stay what they were."""

import pytest
import torch
from torch import Tensor, nn

from linnaeus.models.activation import Activation
from linnaeus.models.feature_classifier import FeatureClassifier, append_features
from linnaeus.models.registry import ZOO

CLASSES = 7
# Networks that end in different ways, the quickest of each; the others are of the same families.
FAMILIES = ("lenet", "lenet5", "mnist_cnn", "simple_cnn", "resnet18", "densenet_cifar")


@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_what_a_linear_probe_or_the_last_layer_itself_makes_the_classes_of(name: str) -> None:
    model = ZOO[name]
    torch.manual_seed(1)
    network = model.build(CLASSES).eval()
    images = torch.rand(2, model.input.channels, model.input.height, model.input.width)
    with torch.inference_mode():
        logits = network(images)
        append_features(network, CLASSES, images[:1])
        last = next(module for module in network.modules() if type(module).__name__ == "_LayerWithInput").layer
        script = torch.jit.script(FeatureClassifier(network, CLASSES, model.mean, model.std, Activation.SOFTMAX).eval())
        pixels = (images * 255).to(torch.uint8)
        probabilities, features = script(pixels)
        assert torch.allclose(network(images)[:, :CLASSES], logits, atol=1e-5)
        assert torch.allclose(last(features).softmax(1), probabilities, atol=1e-5)
        assert features.shape[1] > CLASSES and features.dtype == torch.float32
        assert not torch.equal(features[0], features[1])


class Pooled(nn.Module):
    """Ends in a convolution with pooling behind it, as SqueezeNet does."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 12, 3)
        self.last = nn.Conv2d(12, CLASSES, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(torch.relu(self.body(images))).mean(dim=(2, 3))


def test_features_of_a_network_that_ends_in_a_convolution_are_its_pooled_inputs() -> None:
    network, images = Pooled().eval(), torch.rand(2, 3, 8, 8)
    with torch.inference_mode():
        expected = torch.relu(network.body(images)).mean(dim=(2, 3))
        append_features(network, CLASSES, images)
        assert torch.allclose(network(images)[:, CLASSES:], expected, atol=1e-6)


class Scaled(nn.Sequential):
    """Changes what passes behind its last layer."""

    def forward(self, images: Tensor) -> Tensor:
        return 3 * super().forward(images)


def test_a_network_whose_features_would_be_changed_is_refused() -> None:
    images = torch.rand(1, 3, 4, 4)
    with pytest.raises(ValueError, match="what follows 1, the last layer of the network, changes its inputs"):
        append_features(Scaled(nn.Flatten(), nn.Linear(48, CLASSES)).eval(), CLASSES, images)


class Mixing(Pooled):
    """Computes over all channels of its last layer, so the features would change the logits."""

    def forward(self, images: Tensor) -> Tensor:
        return self.last(torch.relu(self.body(images))).log_softmax(dim=1).mean(dim=(2, 3))


def test_a_network_whose_logits_would_be_changed_is_refused() -> None:
    with pytest.raises(ValueError, match="what follows last, the last layer of the network, mixes its inputs"):
        append_features(Mixing().eval(), CLASSES, torch.rand(1, 3, 8, 8))


def test_a_network_without_a_layer_for_its_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="no layer of the network has an output for each class"):
        append_features(nn.Sequential(nn.Flatten(), nn.Linear(48, 5)).eval(), CLASSES, torch.rand(1, 3, 4, 4))
