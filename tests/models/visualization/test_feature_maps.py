"""Which stages a network has, and the feature maps they give."""

import torch
from tests.models.visualization.tiny_networks import Inception
from torch import Tensor, nn

from linnaeus.models.visualization.feature_maps import feature_maps, find_stages
from linnaeus.models.visualization.image_analysis import ImageAnalysis


def test_every_stage_of_lenet_and_efficientnet_is_found_in_order(seven: ImageAnalysis, coffee: ImageAnalysis) -> None:
    assert [(stage.name, list(stage.values.shape)) for stage in seven.feature_maps] == [
        ("features.0", [20, 24, 24]),
        ("features.1", [20, 24, 24]),
        ("features.2", [20, 12, 12]),
        ("features.3", [50, 8, 8]),
        ("features.4", [50, 8, 8]),
        ("features.5", [50, 4, 4]),
    ]
    # the first is padding; blocks with a stride, which pad inside, are one stage each
    assert [stage.name for stage in coffee.feature_maps] == [f"features.{number}" for number in range(1, 23)]


def test_a_run_of_blocks_at_one_resolution_is_one_stage() -> None:
    body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1))
    network = nn.Sequential(nn.Sequential(body, nn.Dropout(), nn.MaxPool2d(2), nn.MaxPool2d(2)), nn.Flatten())
    assert find_stages(network.eval(), torch.zeros(1, 3, 16, 16)) == ("0.0", "0.2", "0.3")


def test_all_four_branches_of_every_inception_block_are_there_and_differ(tiny_analysis: ImageAnalysis) -> None:
    branches = [stage for stage in tiny_analysis.feature_maps if "branch" in stage.name]
    expected = [f"body.{block}.branch{number}" for block in (1, 4) for number in (1, 2, 3, 4)]
    assert [stage.name for stage in branches] == expected
    assert [len(stage.values) for stage in branches] == [2, 3, 4, 5] * 2
    for block in (branches[:4], branches[4:]):
        firsts = [stage.values[0] for stage in block]
        assert all(not torch.equal(a, b) for place, a in enumerate(firsts) for b in firsts[:place])


def test_branches_stand_for_an_inception_block_that_is_a_stage() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), Inception(), nn.Flatten()).eval()
    images = torch.zeros(1, 3, 4, 4)
    assert find_stages(network, images) == ("0", "1")
    maps = feature_maps(network, images, ("0", "1"))
    assert [stage.name for stage in maps] == ["0", *(f"1.branch{number}" for number in (1, 2, 3, 4))]


def test_inception_blocks_inside_a_stage_are_drawn_besides_it() -> None:
    network = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 1), Inception(), nn.Conv2d(14, 2, 1)), nn.Flatten())
    images = torch.zeros(1, 3, 4, 4)
    maps = feature_maps(network.eval(), images, find_stages(network, images))
    assert [stage.name for stage in maps] == [*(f"0.1.branch{number}" for number in (1, 2, 3, 4)), "0"]


def test_a_map_is_what_the_layer_gave_though_the_next_works_in_place(tiny_analysis: ImageAnalysis) -> None:
    by_name = {stage.name: stage.values for stage in tiny_analysis.feature_maps}
    assert by_name["conv"].min() < 0
    torch.testing.assert_close(by_name["conv"].relu(), by_name["relu"])


def test_a_module_that_runs_twice_gives_two_maps() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3)

        def forward(self, images: Tensor) -> Tensor:
            y: Tensor = self.conv(self.conv(images))
            return y.flatten(1)

    maps = feature_maps(Twice().eval(), torch.zeros(1, 1, 9, 9), ["conv"])
    assert [(stage.name, list(stage.values.shape)) for stage in maps] == [
        ("conv", [1, 7, 7]),
        ("conv (2)", [1, 5, 5]),
    ]
