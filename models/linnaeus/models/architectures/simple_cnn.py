"""The example network of source document 001: three padded 3x3 convolutions with pooling, three dense layers.

The layers have the names of the source document.
"""

from collections import OrderedDict

from torch import Tensor, nn


class SimpleCNN(nn.Module):
    """Maps float32 [N, 3, 32, 32] to logits [N, classes]; 1,175,818 parameters with ten classes.

    In the source document, the printed module tree has no padding in the second convolution and the code has. This is
    the code: only its sizes match the 2048 inputs of the first dense layer.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.layer1 = _stage(1, 3, 32)
        self.layer2 = _stage(2, 32, 64)
        self.layer3 = _stage(3, 64, 128)
        self.layer4 = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                fc1=nn.Linear(128 * 4 * 4, 512),
                fc_relu1=nn.ReLU(),
                fc2=nn.Linear(512, 64),
                fc_relu2=nn.ReLU(),
                f3=nn.Linear(64, classes),
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        """Maps float32 [N, 3, 32, 32] to logits [N, classes]."""
        logits: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(images))))
        return logits


def _stage(number: int, inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            {
                f"conv{number}": nn.Conv2d(inputs, outputs, 3, padding=1),
                f"relu{number}": nn.ReLU(),
                f"pool{number}": nn.MaxPool2d(2),
            }
        )
    )
