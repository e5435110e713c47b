"""The document's GoogLeNet: trained with heads, served without."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from linnaeus.models.architectures.googlenet_plain import GoogLeNetPlain, Inception, InceptionWidths

# inputs, 1x1, reduced 3x3, 3x3, reduced 5x5, 5x5, pooled: table 1 of the paper
BLOCKS = {
    "stage1.inception3a": (192, 64, 96, 128, 16, 32, 32),
    "stage1.inception3b": (256, 128, 128, 192, 32, 96, 64),
    "stage1.inception4a": (480, 192, 96, 208, 16, 48, 64),
    "stage2.inception4b": (512, 160, 112, 224, 24, 64, 64),
    "stage2.inception4c": (512, 128, 128, 256, 24, 64, 64),
    "stage2.inception4d": (512, 112, 144, 288, 32, 64, 64),
    "stage3.inception4e": (528, 256, 160, 320, 32, 128, 128),
    "stage3.inception5a": (832, 256, 160, 320, 32, 128, 128),
    "stage3.inception5b": (832, 384, 192, 384, 48, 128, 128),
}


@pytest.fixture(scope="module")
def headed() -> GoogLeNetPlain:
    torch.manual_seed(0)
    return GoogLeNetPlain(4, aux_heads=True)


def pictures(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 96, 96, generator=torch.Generator().manual_seed(1))


def test_the_blocks_are_the_papers() -> None:
    with torch.device("meta"):
        network = GoogLeNetPlain()
    given = {
        name: (block.branch1[0].conv.in_channels, *(layer.out_channels for layer in convolutions(block)))
        for name, block in network.named_modules()
        if isinstance(block, Inception)
    }
    assert given == BLOCKS


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def test_an_inception_block_has_1x1_3x3_5x5_and_pooled_branches_in_this_order() -> None:
    block = Inception(8, InceptionWidths(1, 2, 3, 4, 5, 6))
    assert [layer.kernel_size[0] for layer in convolutions(block)] == [1, 1, 3, 1, 5, 1]
    x = torch.randn(2, 8, 7, 9)
    y = block(x)
    assert y.shape == (2, InceptionWidths(1, 2, 3, 4, 5, 6).total, 7, 9)
    assert torch.equal(y, torch.cat([branch(x) for branch in block.children()], dim=1))
    assert torch.equal(y[:, -6:], block.branch4[1](functional.max_pool2d(x, 3, 1, 1)))


def test_a_head_has_as_many_parameters_as_the_listing_gives_it() -> None:
    with torch.device("meta"):
        network = GoogLeNetPlain(1000, aux_heads=True)
    dense = 2048 * (4096 + 1) + 1000 * (2048 + 1)
    for head, inputs in ((network.aux1, 512), (network.aux2, 528)):
        assert head is not None
        assert sum(weight.numel() for weight in head.parameters()) == 1024 * (inputs + 1) + dense


def test_training_gives_three_logits_and_evaluation_one(headed: GoogLeNetPlain) -> None:
    headed.train()
    logits, first, second = headed(pictures(2))
    assert logits.shape == first.shape == second.shape == (2, 4)
    with torch.inference_mode():
        alone = headed.eval()(pictures(2))
    # The heads drop out units at random, the network itself does not.
    assert torch.allclose(alone, logits.detach(), atol=1e-5)


def test_the_heads_see_4a_and_4d_and_pass_their_gradient_on() -> None:
    torch.manual_seed(0)
    network = GoogLeNetPlain(4, aux_heads=True)
    _, first, second = network(pictures(2))
    first.square().sum().backward(retain_graph=True)
    assert network.stage1.inception4a.branch1[0].conv.weight.grad.abs().sum() > 0
    assert network.stage2.inception4b.branch1[0].conv.weight.grad is None
    second.square().sum().backward()
    assert network.stage2.inception4d.branch1[0].conv.weight.grad.abs().sum() > 0
    assert network.stage3.inception4e.branch1[0].conv.weight.grad is None


def test_a_headed_checkpoint_fits_the_headless_network_once_the_heads_are_dropped(headed: GoogLeNetPlain) -> None:
    state = {name: value for name, value in headed.state_dict().items() if not name.startswith(("aux1.", "aux2."))}
    headless = GoogLeNetPlain(4).eval()
    headless.load_state_dict(state)
    with torch.inference_mode():
        assert torch.equal(headless(pictures(2)), headed.eval()(pictures(2)))
    with pytest.raises(RuntimeError, match="Unexpected key"):
        headless.load_state_dict(headed.state_dict())


@pytest.mark.parametrize("training", [False, True])
def test_the_scripted_form_gives_logits_alone_even_with_heads(headed: GoogLeNetPlain, training: bool) -> None:
    with torch.inference_mode(), torch.jit.optimized_execution(False):
        expected = headed.eval()(pictures(1))
        given = torch.jit.script(headed.train(training))(pictures(1))
    assert given.shape == (1, 4) and torch.allclose(given, expected, atol=1e-5)


def test_it_takes_any_size_from_32() -> None:
    network = GoogLeNetPlain(4).eval()
    with torch.inference_mode():
        assert network(torch.randn(1, 3, 32, 50)).shape == (1, 4)
