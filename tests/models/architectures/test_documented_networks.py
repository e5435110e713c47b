"""The networks of the source documents have the documented layers, sizes and parameter counts."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from linnaeus.models.architectures.alexnet_two_tower import AlexNetTwoTower
from linnaeus.models.architectures.inception_densenet import DenseLayer
from linnaeus.models.architectures.initialization import initialize_for_relu
from linnaeus.models.zoo_entries import digits, imagenet
from linnaeus.models.zoo_model import ZooModel

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS = {model.name: model for model in (*digits.ENTRIES, *imagenet.ENTRIES)}
NAMES = (
    *("lenet5", "mnist_cnn", "simple_cnn", "alexnet_two_tower"),
    *("zfnet", "vgg16c", "googlenet_plain", "inception_densenet121"),
)
# Input sizes of networks that pool to a fixed size; small images are faster.
SMALL = {"vgg16c": 64, "googlenet_plain": 64, "inception_densenet121": 64}


def conv(inputs: int, outputs: int, kernel: int) -> int:
    """Returns the number of parameters of a convolution with bias, or of a dense layer if the kernel is 1."""
    return outputs * (inputs * kernel**2 + 1)


def inception(inputs: int, one: int, reduce3: int, three: int, reduce5: int, five: int, pooled: int) -> int:
    return (
        conv(inputs, one, 1)
        + conv(inputs, reduce3, 1)
        + conv(reduce3, three, 3)
        + conv(inputs, reduce5, 1)
        + conv(reduce5, five, 5)
        + conv(inputs, pooled, 1)
    )


def inception_dense_block(inputs: int, layers: int) -> int:
    """Returns the parameters of a dense block of Inception layers, each of which appends 4 * 8 = 32 channels."""
    return sum(inception(inputs + 32 * place, 8, 32, 8, 32, 8, 8) for place in range(layers))


def transition(inputs: int) -> int:
    """Returns the parameters of batch norm and a 1x1 convolution without bias to half the channels."""
    return 2 * inputs + inputs * (inputs // 2)


PARAMETERS = {
    # C1, S2, C3 (60 kernels, 16 biases), S4, C5, F6; the output has none
    "lenet5": 156 + 12 + (60 * 25 + 16) + 32 + 48_120 + 10_164,
    # each convolution with its batch norm, then the dense layers
    "mnist_cnn": (conv(1, 16, 3) + 2 * 16)
    + (conv(16, 32, 3) + 2 * 32)
    + (conv(32, 64, 3) + 2 * 64)
    + (conv(64, 128, 3) + 2 * 128)
    + (conv(2048, 1024, 1) + conv(1024, 128, 1) + conv(128, 10, 1)),
    "simple_cnn": (conv(3, 32, 3) + conv(32, 64, 3) + conv(64, 128, 3))
    + (conv(2048, 512, 1) + conv(512, 64, 1) + conv(64, 10, 1)),
    # two lower towers, the two upper ones, the dense layers
    "alexnet_two_tower": 2 * (conv(3, 48, 11) + conv(48, 128, 5))
    + (conv(128 + 128, 192, 3) + conv(192, 192, 3) + conv(192, 128, 3))
    + (conv(128 + 256, 192, 3) + conv(192, 192, 3) + conv(192, 128, 3))
    + (conv(9216, 4096, 1) + conv(4096, 4096, 1) + conv(4096, 1000, 1)),
    "zfnet": (conv(3, 96, 7) + conv(96, 256, 5) + conv(256, 384, 3) + conv(384, 384, 3) + conv(384, 256, 3))
    + (conv(9216, 4096, 1) + conv(4096, 4096, 1) + conv(4096, 1000, 1)),
    # block by block, then the dense layers
    "vgg16c": (conv(3, 64, 3) + conv(64, 64, 3))
    + (conv(64, 128, 3) + conv(128, 128, 3))
    + (conv(128, 256, 3) + conv(256, 256, 3) + conv(256, 256, 1))
    + (conv(256, 512, 3) + conv(512, 512, 3) + conv(512, 512, 1))
    + (conv(512, 512, 3) + conv(512, 512, 3) + conv(512, 512, 1))
    + (conv(25_088, 4096, 1) + conv(4096, 4096, 1) + conv(4096, 1000, 1)),
    # stem, 3a and 3b, 4a to 4e, 5a and 5b, classifier
    "googlenet_plain": (conv(3, 64, 7) + conv(64, 64, 1) + conv(64, 192, 3))
    + (inception(192, 64, 96, 128, 16, 32, 32) + inception(256, 128, 128, 192, 32, 96, 64))
    + (inception(480, 192, 96, 208, 16, 48, 64) + inception(512, 160, 112, 224, 24, 64, 64))
    + (inception(512, 128, 128, 256, 24, 64, 64) + inception(512, 112, 144, 288, 32, 64, 64))
    + inception(528, 256, 160, 320, 32, 128, 128)
    + (inception(832, 256, 160, 320, 32, 128, 128) + inception(832, 384, 192, 384, 48, 128, 128))
    + conv(1024, 1000, 1),
    # stem without bias and its norm; blocks of 6, 12, 24 and 16 layers; last norm and classifier
    "inception_densenet121": (64 * 3 * 49 + 2 * 64)
    + (inception_dense_block(64, 6) + transition(256))
    + (inception_dense_block(128, 12) + transition(512))
    + (inception_dense_block(256, 24) + transition(1024))
    + inception_dense_block(512, 16)
    + (2 * 1024 + conv(1024, 1000, 1)),
}


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@dataclass
class Case:
    """A network for seven classes in evaluation mode, three input images, and its logits for them."""

    model: ZooModel
    network: nn.Module
    pictures: Tensor
    logits: Tensor
    tolerance: float


@pytest.fixture(scope="module", params=NAMES)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    model = ROWS[request.param]
    torch.manual_seed(0)
    network = model.build(7).eval()
    if model.name != "lenet5":
        # With PyTorch's default initialization all images give nearly the same logits, which would hide an error.
        initialize_for_relu(network)
    size = SMALL.get(model.name, model.input.height)
    pictures = torch.randn(3, model.input.channels, size, size)
    with torch.inference_mode():
        logits = network(pictures)
    yield Case(model, network, pictures, logits, tolerance=5e-6 * float(logits.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts_are_exact(name: str) -> None:
    with torch.device("meta"):
        network = ROWS[name].network()
    assert parameters(network) == PARAMETERS[name]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("lenet5", 60_000),
        ("mnist_cnn", 2_328_298),
        ("simple_cnn", 1_175_818),
        ("alexnet_two_tower", 61_186_408),
        ("zfnet", 62_357_608),
        ("vgg16c", 133_638_952),
        ("googlenet_plain", 6_998_552),
        ("inception_densenet121", 4_760_296),
    ],
)
def test_the_docstrings_state_the_derived_parameter_counts(name: str, count: int) -> None:
    stated = ROWS[name].build.__doc__ or ""
    assert PARAMETERS[name] == count and f"{count:,} " in stated


def test_any_number_of_classes_is_possible(case: Case) -> None:
    assert case.logits.shape == (3, 7) and case.logits.dtype == torch.float32


def test_the_logits_of_an_image_do_not_depend_on_its_batch(case: Case) -> None:
    with torch.inference_mode():
        alone = torch.cat([case.network(picture.unsqueeze(0)) for picture in case.pictures])
    assert alone.shape == case.logits.shape
    assert (alone - case.logits).abs().max() <= case.tolerance
    assert (case.logits[0] - case.logits[1]).abs().max() > 100 * case.tolerance, (
        "the test could not detect an influence of the batch"
    )


def test_the_scripted_form_computes_the_same_and_names_no_device(case: Case) -> None:
    script = torch.jit.script(case.network)
    # Unoptimized, because the optimization of the first calls takes longer than everything else.
    with torch.inference_mode(), torch.jit.optimized_execution(False):
        for batch in (1, 3):
            assert (script(case.pictures[:batch]) - case.logits[:batch]).abs().max() <= case.tolerance
    assert "Device = prim::Constant" not in str(script.inlined_graph)
    assert not any(isinstance(value, torch.device) for part in script.modules() for value in vars(part).values())


def test_torch_fx_can_trace_it(case: Case) -> None:
    traced = torch.fx.symbolic_trace(case.network)
    with torch.inference_mode():
        assert (traced(case.pictures[:2]) - case.logits[:2]).abs().max() <= case.tolerance


def test_every_parameter_gets_a_gradient(case: Case) -> None:
    case.network.train()
    try:
        case.network(case.pictures[:2]).logsumexp(1).sum().backward()
        assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in case.network.parameters())
    finally:
        case.network.zero_grad(set_to_none=True)
        case.network.eval()


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("mnist_cnn", [(16, 26), (32, 24), (64, 10), (128, 8)]),
        ("simple_cnn", [(32, 32), (64, 16), (128, 8)]),
        # both towers below the exchange, then both above it
        ("alexnet_two_tower", [(48, 55), (128, 27)] * 2 + [(192, 13), (192, 13), (128, 13)] * 2),
        ("zfnet", [(96, 110), (256, 26), (384, 13), (384, 13), (256, 13)]),
        (
            "vgg16c",
            [(64, 224)] * 2 + [(128, 112)] * 2 + [(256, 56)] * 3 + [(512, 28)] * 3 + [(512, 14)] * 3,
        ),
    ],
)
def test_every_convolution_has_the_documented_output_size(name: str, sizes: list[tuple[int, int]]) -> None:
    given = []

    def note(module: nn.Module, _: object, maps: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            given.append((maps.shape[1], maps.shape[2]))

    model = ROWS[name]
    with torch.device("meta"), nn.modules.module.register_module_forward_hook(note):
        model.network()(torch.empty(2, model.input.channels, model.input.height, model.input.width))
    assert given == sizes


def test_blocks_3_to_5_of_vgg16c_end_with_a_1x1_convolution() -> None:
    with torch.device("meta"):
        network = ROWS["vgg16c"].network()
    kernels = [module.kernel_size[0] for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert kernels == [3, 3, 3, 3, 3, 3, 1, 3, 3, 1, 3, 3, 1]


def test_simple_cnn_has_the_parameter_names_of_the_document() -> None:
    names = [f"layer{number}.conv{number}" for number in (1, 2, 3)] + ["layer4.fc1", "layer4.fc2", "layer4.f3"]
    expected = [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]
    assert [name for name, _ in ROWS["simple_cnn"].network().named_parameters()] == expected


def test_the_second_tower_receives_its_own_maps_and_the_joined_ones() -> None:
    network = AlexNetTwoTower(7).eval()
    seen: dict[str, Tensor] = {}
    network.lower1.register_forward_hook(lambda module, given, maps: seen.update(one=maps))
    network.lower2.register_forward_hook(lambda module, given, maps: seen.update(two=maps))
    network.upper1.register_forward_hook(lambda module, given, maps: seen.update(first=given[0]))
    network.upper2.register_forward_hook(lambda module, given, maps: seen.update(second=given[0]))
    with torch.inference_mode():
        network(torch.randn(1, 3, 224, 224))
    assert not torch.equal(seen["one"], seen["two"])
    assert torch.equal(seen["first"], torch.cat([seen["one"], seen["two"]], 1))
    assert torch.equal(seen["second"], torch.cat([seen["two"], seen["one"], seen["two"]], 1))


def test_each_tower_is_on_its_device() -> None:
    network = AlexNetTwoTower(7, torch.device("cpu"), torch.device("meta"))
    there = {name.split(".")[0]: parameter.device.type for name, parameter in network.named_parameters()}
    assert there == {"lower1": "cpu", "lower2": "meta", "upper1": "cpu", "upper2": "meta", "classifier": "cpu"}


@pytest.mark.gpu
def test_two_devices_compute_what_one_computes() -> None:
    torch.manual_seed(0)
    one = AlexNetTwoTower(7).eval()
    two = AlexNetTwoTower(7, torch.device("cpu"), torch.device("cuda")).eval()
    two.load_state_dict(one.state_dict())
    pictures = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        expected, given = one(pictures), two(pictures)
    assert given.device.type == "cpu" and torch.allclose(given, expected, atol=1e-4)


def test_an_inception_dense_layer_appends_8_channels_of_each_branch() -> None:
    layer = DenseLayer(16).eval()
    x = torch.randn(2, 16, 5, 5)
    with torch.inference_mode():
        y = layer(x)
        branches = [branch(x) for branch in layer.inception.children()]
    assert [branch.shape[1] for branch in branches] == [8, 8, 8, 8]
    assert torch.equal(y, torch.cat([x, *branches], dim=1))


def test_the_normalization_is_the_documented_one() -> None:
    for name in NAMES[4:]:
        assert (ROWS[name].mean, ROWS[name].std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (ROWS["mnist_cnn"].mean, ROWS["mnist_cnn"].std) == ((0.5,), (0.5,))
    (mean,), (std,) = ROWS["lenet5"].mean, ROWS["lenet5"].std
    assert [(ink - mean) / std for ink in (0, 1)] == pytest.approx([-0.1, 1.175])
