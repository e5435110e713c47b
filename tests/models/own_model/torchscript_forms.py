"""Networks of torchvision and timm, the forms in which people save them, and whether a form is imported and served."""

import copy
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from linnaeus.models.activation import Activation
from linnaeus.models.export.torchscript_import import ModelMetadata, import_torchscript
from linnaeus.models.export.version_folder import check_input
from linnaeus.models.manifest import InputSpec
from linnaeus.models.pixel_classifier import normalize
from linnaeus.server.runtime.artifact_checks import load_module, read_artifact
from linnaeus.server.runtime.device import without_profiling

CLASSES = 10
HALVES = (0.5, 0.5, 0.5)
IMAGES = 2
# Of what the logits of two images differ by; an input without normalization is further away.
TOLERANCE = 0.01
# Absolute: of float32, and of graphs that round to float16 on the way.
_ROUNDING, _HALF_ROUNDING = 2e-6, 1e-3


@dataclass(frozen=True, slots=True)
class Network:
    """A network of random weights: the library that builds it, and the smallest input that it takes well."""

    library: str
    name: str
    size: int = 64

    def build(self) -> nn.Module:
        """Returns the network in evaluation mode, with random weights that are always the same."""
        torch.manual_seed(0)
        network = _timm(self) if self.library == "timm" else _torchvision(self)
        return network.eval()

    @property
    def input(self) -> InputSpec:
        return InputSpec(3, self.size, self.size, self.size, "bilinear")


def _torchvision(network: Network) -> nn.Module:
    """Builds the large ones with fewer layers, which are of the same kinds."""
    from torchvision import models
    from torchvision.models.convnext import CNBlockConfig

    few = [1, 1, 1, 1]
    shallow: dict[str, Callable[[], nn.Module]] = {
        "convnext": lambda: models.ConvNeXt(
            [CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 1)], num_classes=CLASSES
        ),
        "densenet": lambda: models.DenseNet(8, (2, 2, 2, 2), 16, num_classes=CLASSES),
        "swin": lambda: models.SwinTransformer([4, 4], 24, few, [1, 2, 4, 8], [2, 2], num_classes=CLASSES),
        "vit": lambda: models.VisionTransformer(network.size, 16, 2, 4, 64, 128, num_classes=CLASSES),
    }
    if network.name in shallow:
        return shallow[network.name]()
    sized = {"init_weights": False} if network.name in ("googlenet", "inception_v3") else {}
    return models.get_model(network.name, weights=None, num_classes=CLASSES, **sized)


def _timm(network: Network) -> nn.Module:
    import timm

    try:
        return timm.create_model(network.name, num_classes=CLASSES, img_size=network.size)
    except TypeError:  # convolutions alone take any size
        return timm.create_model(network.name, num_classes=CLASSES)


def scripted(network: nn.Module, _: Tensor) -> torch.jit.ScriptModule:
    return torch.jit.script(network)


def traced(network: nn.Module, example: Tensor) -> torch.jit.ScriptModule:
    return torch.jit.trace(network, example, check_trace=False)


def frozen(network: nn.Module, example: Tensor) -> torch.jit.ScriptModule:
    return torch.jit.freeze(traced(network, example))


def half(network: nn.Module, example: Tensor) -> torch.jit.ScriptModule:
    return traced(network.half(), example.half())


def channels_last(network: nn.Module, example: Tensor) -> torch.jit.ScriptModule:
    network = network.to(memory_format=torch.channels_last)
    return traced(network, example.to(memory_format=torch.channels_last))


FORMS: dict[str, Callable[[nn.Module, Tensor], torch.jit.ScriptModule]] = {
    "scripted": scripted,
    "traced": traced,
    "frozen": frozen,
    "half": half,
    "channels last": channels_last,
}


def _served(subject: Network, network: nn.Module, form: str, example: Tensor, folder: Path) -> torch.jit.ScriptModule:
    FORMS[form](network, example).save(str(folder / "model.pt"))
    # stated, because random logits may all lie between 0 and 1, as those of squeezenet1_1 do
    metadata = ModelMetadata("mine", subject.input, HALVES, HALVES, tuple("abcdefghij"), activation=Activation.SOFTMAX)
    version = import_torchscript(folder / "model.pt", metadata, folder, 1)
    return load_module(read_artifact(version), torch.device("cpu"))


def why_not(subject: Network, network: nn.Module, form: str) -> str | None:
    """Imports and serves a form of the network; returns why that is not possible, or None."""
    pixels = torch.cat([check_input(subject.input, str(place)) for place in range(IMAGES)])
    images = normalize(pixels, HALVES, HALVES)
    network = copy.deepcopy(network)
    reference = copy.deepcopy(network).half().float() if form == "half" else network
    with torch.inference_mode():
        expected, other = (reference(each).softmax(1) for each in (images, pixels / 255))
    spread = float((expected - other).abs().max())
    # of the libraries' own, such as those that tracing brings out
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        try:
            served = _served(subject, network, form, images[:1], Path(folder))
        except (RuntimeError, torch.jit.Error, ValueError) as error:
            return str(error).removeprefix(f"{Path(folder, 'model.pt')} ")
    with torch.inference_mode(), without_profiling():
        answers = served(pixels)
    difference = float((answers - expected).abs().max())
    if difference > TOLERANCE * spread + (_HALF_ROUNDING if form == "half" else _ROUNDING):
        return f"answers differ by {difference:.2g}, and wrong images by {spread:.2g}"
    return None


TORCHVISION = [
    Network("torchvision", "alexnet"),
    Network("torchvision", "convnext"),
    Network("torchvision", "densenet"),
    Network("torchvision", "efficientnet_b0", 32),
    Network("torchvision", "googlenet", 32),
    Network("torchvision", "inception_v3", 75),
    Network("torchvision", "mnasnet0_5"),
    Network("torchvision", "mobilenet_v2", 32),
    Network("torchvision", "mobilenet_v3_small", 32),
    Network("torchvision", "regnet_y_400mf", 32),
    Network("torchvision", "resnet18", 32),
    Network("torchvision", "shufflenet_v2_x0_5", 32),
    Network("torchvision", "squeezenet1_1"),
    Network("torchvision", "swin"),
    Network("torchvision", "vit"),
]
TIMM = [
    Network("timm", "convnextv2_atto"),
    Network("timm", "deit_tiny_patch16_224"),
    Network("timm", "edgenext_xx_small"),
    Network("timm", "efficientformerv2_s0", 224),
    Network("timm", "efficientvit_b0"),
    Network("timm", "fasternet_t0"),
    Network("timm", "fastvit_t8"),
    Network("timm", "ghostnet_050"),
    Network("timm", "hgnetv2_b0"),
    Network("timm", "inception_next_atto"),
    Network("timm", "lcnet_050"),
    Network("timm", "mixer_s32_224"),
    Network("timm", "mobilenetv4_conv_small_050"),
    Network("timm", "mobilevit_xxs"),
    Network("timm", "poolformer_s12"),
]
