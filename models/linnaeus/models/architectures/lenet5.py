"""LeNet-5 as LeCun et al. (1998) drew it and source document 000 describes it.

Every layer carries the paper's name. Sub-sampling is trained, C3 sees only some of S2's maps, and the output measures
the distance to a stylised picture of each digit. The squashing function is the logistic sigmoid, where the document
has it: after S2, S4 and F6.
"""

from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional

# Table I of the paper: the maps of S2 that each map of C3 sees.
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
    """Adds up each 2x2 neighbourhood; multiplies, shifts and squashes, with one coefficient and one bias a map."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        # The sum times 1 is the mean times 4, which makes up for the sigmoid's slope of 1/4.
        self.weight = nn.Parameter(torch.ones(maps))
        self.bias = nn.Parameter(torch.zeros(maps))

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [N, maps, H, W] to values between 0 and 1 [N, maps, H // 2, W // 2]."""
        sums = 4 * functional.avg_pool2d(x, 2)
        return torch.sigmoid(sums * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1))


class PartialConvolution(nn.Module):
    """C3: sixteen 5x5 convolutions, of which six see three maps of S2, nine see four, and the last sees all six.

    Maps that see equally many are one grouped convolution, for which their inputs are laid out side by side.
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
    """Euclidean radial basis units: the squared distance of a code to each class's bitmap, which is never trained."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.bitmaps: Tensor
        self.register_buffer("bitmaps", class_bitmaps(classes))

    def forward(self, code: Tensor) -> Tensor:
        """Maps codes [N, 84] to negative squared distances, float32 [N, classes].

        The distance is measured in float32 whatever the codes are: half precision would round it to a quarter.
        """
        difference = code.to(torch.float32).unsqueeze(1) - self.bitmaps.to(torch.float32)
        return -difference.square().sum(dim=2)


class LeNet5(nn.Module):
    """C1, S2, C3, S4, C5, F6 and the radial basis output; 60,000 trained parameters.

    Takes float32 [N, 1, 32, 32], which the paper scales such that the background is -0.1 and the ink 1.175; gives
    logits [N, classes], the negatives of the output's distances, so that the nearest bitmap is the likeliest.
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
        """Keeps the signal's size, and the sigmoids at work in their middle, where their slope is."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
        for layer in (self.c3.from_three, self.c3.from_four, self.c3.from_all, self.c5):
            _center_inputs(layer)


def _center_inputs(layer: nn.Conv2d) -> None:
    """Fits a convolution to inputs from sigmoids: values around 1/2 add up to nothing, narrow ones are widened."""
    with torch.no_grad():
        layer.weight *= 2
        if layer.bias is not None:
            layer.bias.copy_(-layer.weight.sum(dim=(1, 2, 3)) / 2)


def class_bitmaps(classes: int) -> Tensor:
    """The code of each class, +1 for ink and -1 for paper, float32 [classes, 84].

    The first ten are the digits; a network for more classes gives the others codes drawn once and for all by chance.
    """
    pixels = [line.split() for line in BITMAPS.split("\n") if line]
    codes = ["".join(rows) for rows in zip(*pixels, strict=True)][:classes]
    random = Random(1998)
    codes += ["".join(".#"[random.random() < 0.5] for _ in range(BITMAP_SIZE)) for _ in range(classes - len(codes))]
    return torch.tensor([[1.0 if pixel == "#" else -1.0 for pixel in code] for code in codes])
