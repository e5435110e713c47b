"""`min_probability`: the labels that reach it, best first, for models with independent labels and for others."""

from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
import torch
from tests.e2e.forked_server import ForkedServer
from tests.e2e.tagging_models import probabilities, write_tags
from tests.repositories import add_version

from linnaeus.client import Classification, Client, InvalidRequest

PIXELS = numpy.random.default_rng(3).integers(0, 256, (28, 28), numpy.uint8)


@pytest.fixture(scope="module")
def client(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    root = tmp_path_factory.mktemp("tagging")
    write_tags(root)
    add_version(repository / "lenet" / "1", root, "lenet", 1)
    with ForkedServer("--repository", str(root)) as server, Client(server.target) as connected:
        yield connected


def answers(result: Classification) -> list[tuple[int, float]]:
    return [(each.index, round(each.probability, 5)) for each in result.classes]


def expected(bound: float) -> list[tuple[int, float]]:
    known = probabilities(torch.from_numpy(PIXELS))
    best = sorted(range(10), key=lambda index: -known[index])
    return [(index, round(known[index], 5)) for index in best if known[index] >= bound]


def test_a_model_with_independent_labels_answers_every_label_that_reaches_it(client: Client) -> None:
    assert len(expected(0.1)) > 5 and 0 < len(expected(0.5)) < 10 and sum(dict(expected(0.0)).values()) > 1.5
    for bound in (0.1, 0.5, 0.52):
        assert answers(client.classify(PIXELS, model="tags", min_probability=bound)) == expected(bound)


def test_top_k_bounds_the_labels_that_reach_it(client: Client) -> None:
    wanted = expected(0.1)
    assert answers(client.classify(PIXELS, model="tags", min_probability=0.1, top_k=2)) == wanted[:2]
    assert answers(client.classify(PIXELS, model="tags", top_k=3)) == expected(0.0)[:3]
    assert len(client.classify(PIXELS, model="tags").classes) == 5


def test_a_label_with_exactly_this_probability_reaches_it(client: Client) -> None:
    classes = client.classify(PIXELS, model="tags", top_k=10).classes
    for place, each in enumerate(classes, 1):
        assert len(client.classify(PIXELS, model="tags", min_probability=each.probability).classes) == place


def test_a_model_with_one_label_a_picture_honours_it_too(client: Client, pictures: Path) -> None:
    digit = pictures / "digits" / "2.png"
    (only,) = client.classify(digit, model="lenet", min_probability=0.5).classes
    assert only.label == "2"
    assert len(client.classify(digit, model="lenet").classes) == 5


def test_no_label_may_reach_it(client: Client) -> None:
    result = client.classify(PIXELS, model="tags", min_probability=1.0)
    assert result.classes == () and result.model == "tags"
    with pytest.raises(LookupError, match="min_probability"):
        print(result.top)


def test_batches_streams_and_many_calls_honour_it(client: Client) -> None:
    images = [PIXELS, PIXELS]
    options = {"model": "tags", "min_probability": 0.5}
    for outcomes in (
        client.classify_batch(images, **options),
        client.classify_stream(images, **options),
        client.classify_many(images, **options),
    ):
        assert [answers(outcome.unwrap()) for outcome in outcomes] == [expected(0.5)] * 2


@pytest.mark.parametrize("bound", [-0.1, 1.5, float("nan"), float("inf"), "0.5", True])
def test_the_client_refuses_what_is_no_probability(client: Client, bound: float) -> None:
    with pytest.raises(InvalidRequest, match="min_probability must be a number between 0 and 1"):
        client.classify(PIXELS, model="tags", min_probability=bound)
