"""Networks for the digits of MNIST."""

from linnaeus.models import labels, weights
from linnaeus.models.architectures.lenet import LeNet
from linnaeus.models.manifest import InputSpec
from linnaeus.models.zoo_model import ZooModel

ROWS = (
    ZooModel(
        name="lenet",
        family="LeNet",
        year=1998,
        build=LeNet,
        input=InputSpec(channels=1, height=28, width=28, resize=28, interpolation="bilinear"),
        mean=(0.1307,),
        std=(0.3081,),
        labels=labels.digits,
        bundled=weights.bundled_lenet,
    ),
)
