"""Looking: feature maps, heat map, contact sheet and page of real models."""

import re
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from linnaeus.models import labels
from linnaeus.models.manifest import InputSpec
from linnaeus.models.pixel_classifier import PixelClassifier, eager_classifier
from linnaeus.models.preprocessing import load_image, to_pixels
from linnaeus.models.registry import find
from linnaeus.models.visualization.contact_sheet import draw_contact_sheet
from linnaeus.models.visualization.feature_maps import feature_maps, find_stages
from linnaeus.models.visualization.grad_cam import grad_cam
from linnaeus.models.visualization.heat_map import draw_heat_map
from linnaeus.models.visualization.html_page import render_page
from linnaeus.models.visualization.image_analysis import ImageAnalysis, analyze_image
from linnaeus.models.visualization.output_files import save_analysis
from linnaeus.models.zoo_model import ModelWeights, ZooModel

COLOUR = InputSpec(channels=3, height=16, width=16, resize=16, interpolation="bilinear")


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for number in range(1, 5):
            self.add_module(f"branch{number}", nn.Conv2d(8, number + 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.children()], 1)


class TinyGoogLeNet(nn.Module):
    """As the real ones: layers that work in place, Inception blocks, global pooling, a convolution as classifier."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.body = nn.Sequential(nn.MaxPool2d(2), Inception(), nn.Conv2d(14, 8, 1), nn.MaxPool2d(2), Inception())
        self.dropout = nn.Dropout()
        self.tail = nn.MaxPool2d(2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Conv2d(14, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.tail(self.dropout(self.body(self.relu(self.conv(images)))))
        logits: Tensor = self.classifier(self.pool(x)).flatten(1)
        return logits


class Towers(nn.Module):
    """Two towers of which each sees one half; they meet in the classifier only."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3, padding=1)
        self.right = nn.Conv2d(3, 4, 3, padding=1)
        self.classifier = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        halves = [torch.relu(tower(images)).mean((2, 3)) for tower in (self.left, self.right)]
        logits: Tensor = self.classifier(torch.cat(halves, 1))
        return logits


def tiny(build: type[nn.Module]) -> tuple[ZooModel, ModelWeights]:
    """A model that is not in the zoo, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = build(10)
    row = ZooModel("tiny", "Tiny", 2026, build, COLOUR, (0.5,) * 3, (0.25,) * 3, labels.digits)
    return row, ModelWeights(network.state_dict(), "random", 1)


def colours() -> Tensor:
    return torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def seven(pictures: Path) -> ImageAnalysis:
    model = find("lenet")
    return analyze_image(model, model.bundled_weights(), pictures / "digits" / "7.png")


@pytest.fixture(scope="module")
def coffee(pictures: Path) -> ImageAnalysis:
    model = find("efficientnet_lite0")
    return analyze_image(model, model.bundled_weights(), pictures / "coffee.jpg")


@pytest.fixture(scope="module")
def tiny_analysis(tmp_path_factory: pytest.TempPathFactory) -> ImageAnalysis:
    path = tmp_path_factory.mktemp("tiny") / 'a "<&.png'
    Image.fromarray(colours()[0].permute(1, 2, 0).numpy()).save(path)
    return analyze_image(*tiny(TinyGoogLeNet), path)


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


def test_the_five_best_are_the_models_own(coffee: ImageAnalysis, pictures: Path) -> None:
    model = find("efficientnet_lite0")
    with torch.inference_mode():
        pixels = to_pixels(load_image(pictures / "coffee.jpg", model.input))
        probabilities = eager_classifier(model, model.bundled_weights())(pixels)[0]
    best = probabilities.topk(5)
    assert [prediction.index for prediction in coffee.predictions] == best.indices.tolist()
    assert [prediction.probability for prediction in coffee.predictions] == pytest.approx(
        best.values.tolist(), abs=1e-6
    )
    assert coffee.predictions[0].label == "espresso" and coffee.explained == coffee.predictions[0]


def test_equal_probabilities_go_by_lower_index(tmp_path: Path) -> None:
    row, weights = tiny(TinyGoogLeNet)
    Image.new("RGB", (16, 16)).save(tmp_path / "black.png")
    level = ModelWeights({name: torch.zeros_like(tensor) for name, tensor in weights.state.items()}, "random", 1)
    assert [prediction.index for prediction in analyze_image(row, level, tmp_path / "black.png").predictions] == [
        0,
        1,
        2,
        3,
        4,
    ]


def test_the_heat_map_lies_over_the_picture_and_depends_on_the_class(pictures: Path) -> None:
    model = find("lenet")
    classifier = eager_classifier(model, model.bundled_weights())
    pixels = to_pixels(load_image(pictures / "digits" / "7.png", model.input))
    stages = [f"features.{number}" for number in range(6)]
    heats = [grad_cam(classifier, pixels, stages, index) for index in range(10)]
    for heat_map in heats:
        # features.5 only pools
        assert heat_map.stages == ("features.4",)
        assert heat_map.values.shape == (28, 28) and not heat_map.values.requires_grad
        assert heat_map.values.min() >= 0 and heat_map.values.max() == 1
    assert all((heats[7].values - heats[other].values).abs().max() > 0.1 for other in range(10) if other != 7)


def test_the_heat_map_is_grad_cam() -> None:
    row, weights = tiny(TinyGoogLeNet)
    classifier = eager_classifier(row, weights)
    backbone = classifier.backbone
    stages = find_stages(backbone, torch.zeros(1, 3, 16, 16))
    heat_map = grad_cam(classifier, colours(), stages, 3)
    assert heat_map.stages == ("body",)
    # By hand: behind the last block come a 2x2 maximum and the mean of four points, so the slopes are known. Each
    # channel's mean slope over the 16 points is its weight x 4 maxima x 1/4 of the mean, over 16.
    maps: list[Tensor] = []
    handle = backbone.get_submodule("body").register_forward_hook(lambda _m, _i, output: maps.append(output))
    classifier(colours())
    handle.remove()
    weight = weights.state["classifier.weight"][3].view(1, -1, 1, 1) / 16
    evidence = nn.functional.interpolate((weight * maps[0]).sum(1, keepdim=True).relu(), (16, 16), mode="bilinear")
    torch.testing.assert_close(heat_map.values, (evidence / evidence.max())[0, 0])


def test_a_stage_that_ends_in_pooling_is_explained_by_what_it_pools() -> None:
    block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Dropout(), nn.MaxPool2d(2), nn.AvgPool2d(2))
    network = nn.Sequential(block, nn.Flatten(), nn.Linear(4 * 3 * 3, 2))
    classifier = PixelClassifier(network, (0.5,) * 3, (0.5,) * 3).eval()
    assert grad_cam(classifier, colours(), ["0"], 0).stages == ("0.1",)


def test_the_heat_map_of_two_towers_comes_from_both() -> None:
    row, weights = tiny(Towers)
    classifier = eager_classifier(row, weights)
    both = grad_cam(classifier, colours(), ["left", "right"], 0)
    assert both.stages == ("left", "right")
    assert not torch.equal(both.values, grad_cam(classifier, colours(), ["left"], 0).values)


def test_where_nothing_speaks_for_a_class_the_heat_map_is_empty_and_says_so(tiny_analysis: ImageAnalysis) -> None:
    row, weights = tiny(TinyGoogLeNet)
    dead = {**weights.state, "classifier.weight": torch.zeros_like(weights.state["classifier.weight"])}
    classifier = eager_classifier(row, ModelWeights(dead, "random", 1))
    assert grad_cam(classifier, colours(), ["body.4"], 0).values.abs().max() == 0


def test_a_network_without_feature_maps_has_no_heat_map() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    classifier = PixelClassifier(flat, (0.5,) * 3, (0.5,) * 3).eval()
    with pytest.raises(ValueError, match="no stage of the network gives a map with height and width"):
        grad_cam(classifier, torch.zeros(1, 3, 2, 2, dtype=torch.uint8), ["1"], 0)


def test_the_heat_of_the_espresso_lies_in_the_cup(coffee: ImageAnalysis) -> None:
    # Seen in the picture: the cup fills rows 10 to 130 and columns 40 to 180 of 224, a third of the picture.
    heat = coffee.heat_map.values
    cup = torch.zeros(224, 224, dtype=torch.bool)
    cup[10:130, 40:180] = True
    assert heat[cup].mean() > 3 * heat[~cup].mean()
    assert ((heat > 0.5) & cup).sum() > 0.9 * (heat > 0.5).sum()


def test_the_class_to_explain_is_a_label_or_an_index(tiny_analysis: ImageAnalysis, tmp_path: Path) -> None:
    row, weights = tiny(TinyGoogLeNet)
    tiny_analysis.image.save(tmp_path / "a.png")
    # a label goes before an index: here "3" is the label of class 4
    own = ("zero", "one", "two", "tiger", "3", "five", "six", "seven", "eight", "nine")
    for wanted, index in (("tiger", 3), ("3", 4), ("7", 7)):
        analysis = analyze_image(row, weights, tmp_path / "a.png", own, wanted)
        assert (analysis.explained.index, analysis.explained.label) == (index, own[index])
    for wanted in ("spoons", "10"):
        with pytest.raises(ValueError, match=f"no class '{wanted}'; give one of the 10 labels, or an index from 0 on"):
            analyze_image(row, weights, tmp_path / "a.png", own, wanted)


def test_heat_and_sheet_are_drawn_in_full(coffee: ImageAnalysis, seven: ImageAnalysis) -> None:
    assert draw_heat_map(coffee).size == draw_heat_map(seven).size == (336, 336)
    for analysis in (coffee, seven):
        sheet = numpy.asarray(draw_contact_sheet(analysis))
        # nothing touches the border, so nothing is cut off
        for border in (sheet[:8], sheet[-8:], sheet[:, :8], sheet[:, -8:]):
            assert (border == 255).all()


def test_the_page_needs_nothing_from_elsewhere(tiny_analysis: ImageAnalysis) -> None:
    text = render_page(tiny_analysis)
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert len(sources) == len(tiny_analysis.feature_maps) + 2
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    for reference in ("http:", "https:", "//", "url(", "@import", "<script", "<link"):
        assert reference not in re.sub(r'"data:[^"]*"', "", text)


def test_the_page_says_everything_and_escapes_it(tiny_analysis: ImageAnalysis, seven: ImageAnalysis) -> None:
    text = render_page(tiny_analysis)
    assert "a &quot;&lt;&amp;.png" in text and "<&" not in text
    assert "Untrained (random, seed 1)" in text
    assert all(f"{stage.name} " in text for stage in tiny_analysis.feature_maps)
    assert "Untrained" not in render_page(seven) and "MNIST" in render_page(seven)


def test_files_are_written_whole_and_replace_those_of_an_earlier_run(
    seven: ImageAnalysis, tiny_analysis: ImageAnalysis, tmp_path: Path
) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "mine.png").write_text("kept")
    save_analysis(tiny_analysis, tmp_path)
    written = save_analysis(seven, tmp_path, as_html=True)
    there = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert there == {*written, tmp_path / "stages" / "mine.png"}
    assert [path.name for path in written[:3]] == ["contact_sheet.png", "heat_map.png", "index.html"]
    assert [path.name for path in written[3:]] == [f"{n:03}_features.{n - 1}.png" for n in range(1, 7)]
    for path in written:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                picture.load()
