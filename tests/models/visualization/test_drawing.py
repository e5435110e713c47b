"""Looking: the picture as it is prepared, and what is drawn of numbers and names."""

from linnaeus.models.visualization.captions import format_probability
from linnaeus.models.visualization.drawing import text_width, wrap_path


def test_a_small_probability_is_not_said_to_be_nothing() -> None:
    assert [format_probability(value) for value in (0.9401, 0.0006, 0.0004, 1.0)] == [
        "94.0%",
        "0.1%",
        "<0.1%",
        "100.0%",
    ]


def test_a_long_path_takes_two_lines_which_divide_at_a_dot_and_begin_with_its_number() -> None:
    assert wrap_path(3, "features.4", 12, 112) == ("3 features.4",)
    assert wrap_path(11, "features.denseblock4", 12, 112) == ("11 features", "denseblock4")
    block, branch = wrap_path(6, "stage1.inception3a.branch1", 12, 112)
    assert block.startswith("6 …") and block.endswith(".inception3a") and branch == "branch1"
    first, second = wrap_path(42, "features.denseblock1.denselayer12.inception.branch3", 12, 112)
    assert first.startswith("42 …") and first.endswith(".denselayer12") and second == "inception.branch3"
    (only,) = wrap_path(1, "a" * 50, 12, 112)
    assert only.startswith("1 …a") and text_width(only, 12) <= 112
