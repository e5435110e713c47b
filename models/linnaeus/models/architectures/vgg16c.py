"""VGG-16, configuration C (Simonyan and Zisserman, 2014): the last convolution of blocks 3 to 5 is 1x1."""

from collections import OrderedDict

from torch import Tensor, nn

from linnaeus.models.architectures.initialization import initialize_for_relu


class VGG16C(nn.Module):
    """Maps float32 [N, 3, H, W], H and W at least 32 and made for 224, to logits [N, classes].

    133,638,952 parameters with 1000 classes.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            OrderedDict(
                block1=_block(3, 64, (3, 3)),
                block2=_block(64, 128, (3, 3)),
                block3=_block(128, 256, (3, 3, 1)),
                block4=_block(256, 512, (3, 3, 1)),
                block5=_block(512, 512, (3, 3, 1)),
            )
        )
        self.pooling = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, classes),
        )
        initialize_for_relu(self)

    def forward(self, images: Tensor) -> Tensor:
        """Maps float32 [N, 3, H, W] to logits [N, classes]."""
        logits: Tensor = self.classifier(self.pooling(self.features(images)))
        return logits


def _block(inputs: int, outputs: int, kernels: tuple[int, ...]) -> nn.Sequential:
    """Builds convolutions that keep height and width, and a pooling layer that halves them."""
    layers: list[nn.Module] = []
    for kernel in kernels:
        layers += [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers, nn.MaxPool2d(2))
