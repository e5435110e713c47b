"""A server that is given an int8 version answers with it, and says so."""

import shutil
from pathlib import Path

import pytest
from tests.e2e.callers import wait_for_metric
from tests.e2e.forked_server import ForkedServer
from tests.quantized_versions import add_int8_version

from linnaeus.client import Client


@pytest.mark.slow
def test_an_int8_version_is_served_beside_the_one_that_it_was_made_of(
    repository: Path, pictures: Path, tmp_path: Path
) -> None:
    shutil.copytree(repository / "lenet" / "1", tmp_path / "lenet" / "1")
    add_int8_version(tmp_path, "lenet", pictures / "digits")
    with ForkedServer("--repository", str(tmp_path)) as server, Client(server.target) as client:
        for digit in (pictures / "digits").glob("*.png"):
            answers = [client.classify(digit, model="lenet", version=version) for version in (1, 2)]
            assert [answer.top.label for answer in answers] == [digit.stem, digit.stem]
        (float32, int8) = sorted(client.models(), key=lambda model: model.version)
        assert [each.specialisations[0].precision for each in (float32, int8)] == ["float32", "int8"]
        labels = 'device="cpu",model="lenet",precision="int8",version="2"'
        wait_for_metric(server, f"linnaeus_model_precision{{{labels}}}", lambda value: value == 1)
