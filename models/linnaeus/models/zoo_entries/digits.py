"""Networks for the digits of MNIST."""

from linnaeus.models import labels
from linnaeus.models.architectures.lenet import LeNet
from linnaeus.models.architectures.lenet5 import LeNet5
from linnaeus.models.architectures.mnist_cnn import MnistCNN
from linnaeus.models.architectures.simple_cnn import SimpleCNN
from linnaeus.models.manifest import InputSpec
from linnaeus.models.weights import bundled
from linnaeus.models.zoo_model import ZooModel

ENTRIES = (
    ZooModel(
        name="lenet",
        family="LeNet",
        year=1998,
        build=LeNet,
        input=InputSpec(channels=1, height=28, width=28, resize=28, interpolation="bilinear"),
        mean=(0.1307,),
        std=(0.3081,),
        labels=labels.digits,
        bundled=bundled.bundled_lenet,
    ),
    ZooModel(
        name="lenet5",
        family="LeNet",
        year=1998,
        build=LeNet5,
        input=InputSpec(channels=1, height=32, width=32, resize=32, interpolation="bilinear"),
        # As in the paper: the background becomes -0.1, the ink 1.175.
        mean=(0.1 / 1.275,),
        std=(1 / 1.275,),
        labels=labels.digits,
        bundled=bundled.bundled_lenet5,
    ),
    ZooModel(
        name="mnist_cnn",
        family="Plain CNN",
        year=2022,
        build=MnistCNN,
        input=InputSpec(channels=1, height=28, width=28, resize=28, interpolation="bilinear"),
        mean=(0.5,),
        std=(0.5,),
        labels=labels.digits,
    ),
    ZooModel(
        name="simple_cnn",
        family="Plain CNN",
        year=2022,
        build=SimpleCNN,
        input=InputSpec(channels=3, height=32, width=32, resize=32, interpolation="bilinear"),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        labels=labels.digits,
    ),
)
