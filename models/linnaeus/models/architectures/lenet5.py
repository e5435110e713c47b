"""LeNet-5 of LeCun et al. (1998), as described in source document 000.

The layers have the names of the paper. Subsampling has trainable coefficients, each map of C3 is connected to some of
the maps of S2 only, and the output layer measures the distance to a stylized bitmap of each digit. The activation is
the logistic sigmoid after S2, S4 and F6, as in the source document.
"""

from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional

# Table I of the paper: the maps of S2 to which each map of C3 is connected.
C3_FROM_THREE = ((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5))
C3_FROM_FOUR = (
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
)
BITMAP_SIZE = 7 * 12
# The digits 0 to 9, each 7 pixels wide and 12 high.
BITMAPS = """
..###.. ...#... .#####. .#####. .....#. ####### ..####. ####### .#####. .#####.
.#...#. ..##... #.....# #.....# ....##. #...... .#..... ......# #.....# #.....#
#.....# .#.#... ......# ......# ...#.#. #...... #...... .....#. #.....# #.....#
#.....# ...#... ......# ......# ..#..#. #...... #...... .....#. #.....# #.....#
#.....# ...#... .....#. ......# .#...#. ######. #.####. ....#.. .#...#. #.....#
#.....# ...#... ....#.. ..####. #....#. ......# ##....# ....#.. ..###.. .######
#.....# ...#... ...#... ......# ####### ......# #.....# ...#... .#...#. ......#
#.....# ...#... ..#.... ......# .....#. ......# #.....# ...#... #.....# ......#
#.....# ...#... .#..... ......# .....#. ......# #.....# ..#.... #.....# ......#
#.....# ...#... #...... ......# .....#. #.....# #.....# ..#.... #.....# #.....#
.#...#. ...#... #...... #.....# .....#. #.....# .#...#. .#..... #.....# .#...#.
..###.. .#####. ####### .#####. .....#. .#####. ..###.. .#..... .#####. ..###..
"""


class Subsampling(nn.Module):
    """sigmoid(weight * sum of each 2x2 window + bias), with one weight and one bias per map."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        # A weight of 1 for the sum is a weight of 4 for the mean, which compensates the sigmoid's slope of 1/4.
        self.weight = nn.Parameter(torch.ones(maps))
        self.bias = nn.Parameter(torch.zeros(maps))

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [N, maps, H, W] to [N, maps, H // 2, W // 2] with values between 0 and 1."""
        sums = 4 * functional.avg_pool2d(x, 2)
        return torch.sigmoid(sums * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1))


class PartialConvolution(nn.Module):
    """C3: sixteen 5x5 convolutions; six are connected to three maps of S2, nine to four, and the last to all six.

    Maps with the same number of connections form one grouped convolution, whose inputs are gathered side by side.
    """

    def __init__(self) -> None:
        super().__init__()
        self.for_three: Tensor
        self.for_four: Tensor
        self.from_three = nn.Conv2d(18, 6, 5, groups=6)
        self.from_four = nn.Conv2d(36, 9, 5, groups=9)
        self.from_all = nn.Conv2d(6, 1, 5)
        self.register_buffer("for_three", torch.tensor(C3_FROM_THREE).flatten(), persistent=False)
        self.register_buffer("for_four", torch.tensor(C3_FROM_FOUR).flatten(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [N, 6, H, W] to [N, 16, H - 4, W - 4]."""
        three = self.from_three(x.index_select(1, self.for_three))
        four = self.from_four(x.index_select(1, self.for_four))
        return torch.cat([three, four, self.from_all(x)], dim=1)


class RadialBasisOutput(nn.Module):
    """Euclidean radial basis units: squared distance of the 84 inputs to a fixed bitmap of each class."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.bitmaps: Tensor
        self.register_buffer("bitmaps", class_bitmaps(classes))

    def forward(self, code: Tensor) -> Tensor:
        """Maps codes [N, 84] to negative squared distances, float32 [N, classes].

        The distance is computed in float32 for any input dtype: half precision would round it to multiples of 1/4.
        """
        difference = code.to(torch.float32).unsqueeze(1) - self.bitmaps.to(torch.float32)
        return -difference.square().sum(dim=2)


class LeNet5(nn.Module):
    """C1, S2, C3, S4, C5, F6 and the radial basis output; 60,000 trainable parameters.

    Maps float32 [N, 1, 32, 32], scaled such that the background is -0.1 and the ink 1.175 (as in the paper), to
    logits [N, classes]. The logits are negative distances: the class with the nearest bitmap has the highest one.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, 5)
        self.s2 = Subsampling(6)
        self.c3 = PartialConvolution()
        self.s4 = Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Sequential(nn.Flatten(), nn.Linear(120, 84), nn.Sigmoid())
        self.output = RadialBasisOutput(classes)
        self._initialize()

    def forward(self, images: Tensor) -> Tensor:
        """Maps float32 [N, 1, 32, 32] to logits [N, classes]."""
        sampled = self.s4(self.c3(self.s2(self.c1(images))))
        logits: Tensor = self.output(self.f6(self.c5(sampled)))
        return logits

    def _initialize(self) -> None:
        """Keeps the variance of the signal, and the inputs of the sigmoids near 0, where their slope is largest."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
        for layer in (self.c3.from_three, self.c3.from_four, self.c3.from_all, self.c5):
            _center_inputs(layer)


def _center_inputs(layer: nn.Conv2d) -> None:
    """Centers a convolution for inputs between 0 and 1: their mean of 1/2 contributes 0, their spread is doubled."""
    with torch.no_grad():
        layer.weight *= 2
        if layer.bias is not None:
            layer.bias.copy_(-layer.weight.sum(dim=(1, 2, 3)) / 2)


def class_bitmaps(classes: int) -> Tensor:
    """Returns the bitmap of each class as float32 [classes, 84], +1 for ink and -1 for paper.

    The first ten are the digits. Further classes get random bitmaps, which are the same in every run.
    """
    pixels = [line.split() for line in BITMAPS.split("\n") if line]
    codes = ["".join(rows) for rows in zip(*pixels, strict=True)][:classes]
    random = Random(1998)
    codes += ["".join(".#"[random.random() < 0.5] for _ in range(BITMAP_SIZE)) for _ in range(classes - len(codes))]
    return torch.tensor([[1.0 if pixel == "#" else -1.0 for pixel in code] for code in codes])
