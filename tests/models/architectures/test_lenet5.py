"""LeNet-5 has the counts, connections, subsampling and output layer of the paper."""

import io

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from linnaeus.models.architectures.lenet5 import (
    LeNet5,
    PartialConvolution,
    RadialBasisOutput,
    Subsampling,
    class_bitmaps,
)

pytestmark = pytest.mark.usefixtures("one_thread")

# Table I of the paper, by column: the maps of S2 to which each of the sixteen maps of C3 is connected.
TABLE = (
    *("012", "123", "234", "345", "045", "015"),
    *("0123", "1234", "2345", "0345", "0145", "0125", "0134", "1245", "0235"),
    "012345",
)


def layers(network: LeNet5) -> dict[str, tuple[nn.Module, torch.Size]]:
    """Returns each layer with the shape of its output for one image."""
    found = {}
    x = torch.zeros(1, 1, 32, 32)
    for name, layer in network.named_children():
        x = layer(x)
        found[name] = (layer, x.shape)
    return found


@pytest.mark.parametrize(
    ("name", "shape", "parameters", "connections"),
    [
        ("c1", (6, 28, 28), 156, 122_304),
        ("s2", (6, 14, 14), 12, 5_880),
        ("c3", (16, 10, 10), 1_516, 151_600),
        ("s4", (16, 5, 5), 32, 2_000),
        ("c5", (120, 1, 1), 48_120, 48_120),
        ("f6", (84,), 10_164, 10_164),
        ("output", (10,), 0, 0),
    ],
)
def test_every_layer_has_the_documents_shape_parameters_and_connections(
    name: str, shape: tuple[int, ...], parameters: int, connections: int
) -> None:
    layer, given = layers(LeNet5())[name]
    count = sum(parameter.numel() for parameter in layer.parameters())
    assert tuple(given[1:]) == shape
    assert count == parameters
    positions = given[2:].numel()
    if isinstance(layer, Subsampling):
        # at each position of each map: four inputs with one coefficient, and the bias
        assert positions * (4 + 1) * given[1] == connections
    else:
        # every parameter is one connection at each position
        assert positions * count == connections


def test_each_map_of_c3_is_connected_as_in_the_paper() -> None:
    torch.manual_seed(0)
    layer = PartialConvolution()
    x = torch.randn(1, 6, 14, 14)
    with torch.inference_mode():
        before = layer(x)
        connected = [""] * 16
        for place in range(6):
            changed = x.clone()
            changed[:, place] += 1
            for target in (layer(changed) - before).abs().amax(dim=(0, 2, 3)).nonzero().flatten().tolist():
                connected[target] += str(place)
    assert tuple(connected) == TABLE


def test_subsampling_is_the_sigmoid_of_weight_times_sum_plus_bias() -> None:
    layer = Subsampling(2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, -1.0]))
        layer.bias.copy_(torch.tensor([1.0, 2.0]))
        given = layer(torch.tensor([1.0, 2.0, 3.0, -4.0]).view(1, 1, 2, 2).repeat(1, 2, 1, 1))
    expected = torch.sigmoid(torch.tensor([0.5 * 2 + 1, -1.0 * 2 + 2])).view(1, 2, 1, 1)
    assert torch.allclose(given, expected)


def test_logits_are_negative_squared_distances_to_the_bitmaps() -> None:
    output = RadialBasisOutput(10)
    codes = class_bitmaps(10) * 0.9
    logits = output(codes)
    assert logits.argmax(dim=1).tolist() == list(range(10))
    for digit in range(10):
        for code in range(10):
            distance = sum(
                (a - b) ** 2 for a, b in zip(codes[code].tolist(), class_bitmaps(10)[digit].tolist(), strict=True)
            )
            assert logits[code, digit].item() == pytest.approx(-distance, abs=1e-3)


def test_half_precision_codes_keep_exact_distances() -> None:
    output = RadialBasisOutput(10)
    codes = torch.rand(4, 84, generator=torch.Generator().manual_seed(0)).half()
    assert torch.equal(output.half()(codes), RadialBasisOutput(10)(codes.float()))


def test_the_bitmaps_are_distinct_signs_and_not_trained() -> None:
    network = LeNet5()
    codes = network.output.bitmaps
    assert codes.shape == (10, 84) and set(codes.flatten().tolist()) == {-1.0, 1.0}
    apart = (codes.unsqueeze(0) != codes.unsqueeze(1)).sum(dim=2)
    assert apart[~torch.eye(10, dtype=torch.bool)].min() >= 6
    assert not any("bitmaps" in name for name, _ in network.named_parameters())
    assert "output.bitmaps" in network.state_dict()


@pytest.mark.parametrize("classes", [1, 7, 10, 12, 100])
def test_class_bitmaps_are_distinct_and_constant_for_any_number_of_classes(classes: int) -> None:
    codes = class_bitmaps(classes)
    assert codes.shape == (classes, 84) and torch.equal(codes, class_bitmaps(100)[:classes])
    assert len({tuple(code) for code in codes.tolist()}) == classes


def test_the_scripted_file_keeps_connections_and_bitmaps() -> None:
    torch.manual_seed(0)
    network = LeNet5().eval()
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(network), file)
    file.seek(0)
    digits = torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(torch.jit.freeze(torch.jit.load(file))(digits), network(digits))


def test_it_learns_ten_images_from_its_initialization() -> None:
    torch.manual_seed(0)
    network = LeNet5()
    pictures = drawn_digits()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.002)
    for _ in range(50):
        optimizer.zero_grad()
        functional.cross_entropy(network(pictures), torch.arange(10)).backward()
        optimizer.step()
    assert network(pictures).argmax(dim=1).tolist() == list(range(10))


def drawn_digits() -> Tensor:
    """Returns the ten bitmaps, enlarged twice, centered in 32x32, on the scale of the paper."""
    drawn = functional.interpolate(class_bitmaps(10).view(10, 1, 12, 7), scale_factor=2.0)
    return functional.pad(drawn * 0.6375 + 0.5375, [9, 9, 4, 4], value=-0.1)
