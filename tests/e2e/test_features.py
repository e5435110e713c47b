"""Features: what the last layer makes the classes of, through a real server, for every kind of call."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import numpy
import pytest
import torch
from tests.e2e.forked_server import ForkedServer
from tests.repositories import add_version

from linnaeus.client import Client, InvalidRequest
from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.kserve import grpc_service_pb2_grpc as kserve_grpc
from linnaeus.models.export.torchscript import export_torchscript
from linnaeus.models.pixel_classifier import normalize
from linnaeus.models.registry import find
from linnaeus.server.rpc.child_server import ServerProcess

LENET = find("lenet")
FEATURES = 500
IMAGES = numpy.random.default_rng(5).integers(0, 256, (3, 28, 28), numpy.uint8)


def expected(images: numpy.ndarray) -> numpy.ndarray:
    """Returns the inputs of LeNet's last layer, float32 [N, 500], computed by torch."""
    network = LENET.network()
    network.load_state_dict(LENET.bundled_weights().state)
    network.eval()
    last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    seen: list[torch.Tensor] = []
    last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        network(normalize(torch.from_numpy(images)[:, None], LENET.mean, LENET.std))
    return seen[0].numpy()


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    root = tmp_path_factory.mktemp("features")
    export_torchscript(replace(LENET, name="seen"), LENET.bundled_weights(), root, 1, features=True)
    add_version(repository / "lenet" / "1", root, "lenet", 1)
    with ForkedServer("--repository", str(root)) as process:
        yield process


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.target) as connected:
        yield connected


def close(one: object, other: object) -> bool:
    return numpy.allclose(one, other, rtol=1e-4, atol=1e-4)


def test_features_are_the_inputs_of_the_last_layer_as_torch_computes_them(client: Client) -> None:
    wanted = expected(IMAGES)
    assert wanted.shape == (3, FEATURES) and not close(wanted[0], wanted[1])
    for image, row in zip(IMAGES, wanted, strict=True):
        features = client.classify(image, model="seen", features=True).features
        assert features is not None and features.dtype == numpy.float32 and features.shape == (FEATURES,)
        assert close(features, row)


def test_batches_streams_and_many_calls_return_the_features_of_each_image(client: Client) -> None:
    for send in (client.classify_batch, client.classify_stream, client.classify_many):
        outcomes = list(send(list(IMAGES), model="seen", features=True))
        assert close([outcome.unwrap().features for outcome in outcomes], expected(IMAGES))


def test_the_same_crop_has_the_same_features_alone_and_among_others(client: Client) -> None:
    larger = numpy.random.default_rng(6).integers(0, 256, (56, 56), numpy.uint8)
    crops = [larger[8:36, 8:36], larger[20:48, 20:48]]
    alone = [client.classify(crop, model="seen", features=True).features for crop in crops]
    together = client.classify_batch([*crops, *IMAGES], model="seen", features=True)
    assert close([each.unwrap().features for each in together[:2]], alone)
    assert close(alone, expected(numpy.stack(crops))) and not close(*alone)


def test_the_classes_are_those_of_the_same_version_without_features(client: Client) -> None:
    for image in IMAGES:
        with_features = client.classify(image, model="seen", top_k=10, features=True)
        without = client.classify(image, model="lenet", top_k=10)
        assert [each.label for each in with_features.classes] == [each.label for each in without.classes]
        assert close(
            [each.probability for each in with_features.classes], [each.probability for each in without.classes]
        )


def test_only_a_request_that_asks_gets_features(client: Client) -> None:
    result = client.classify(IMAGES[0], model="seen")
    assert result.features is None and "features" not in result.to_dict()
    assert len(client.classify(IMAGES[0], model="seen", features=True).to_dict()["features"]) == FEATURES


def test_a_version_without_features_refuses_the_request_and_says_what_to_do(client: Client) -> None:
    with pytest.raises(
        InvalidRequest, match="version of model lenet gives no features; export or import it anew with --"
    ):
        client.classify(IMAGES[0], model="lenet", features=True)
    assert [client.model(name).feature_count for name in ("seen", "lenet")] == [FEATURES, 0]


def test_kserve_has_them_as_a_second_output(server: ServerProcess) -> None:
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [3, 1, 28, 28]}
    request = {"inputs": [tensor], "raw_input_contents": [IMAGES.tobytes()], "outputs": [{"name": "features"}]}
    with grpc.insecure_channel(server.target) as channel:
        stub = kserve_grpc.GRPCInferenceServiceStub(channel)
        outputs = stub.ModelMetadata(kserve.ModelMetadataRequest(name="seen")).outputs
        config = stub.ModelConfig(kserve.ModelConfigRequest(name="seen")).config
        answer = stub.ModelInfer(kserve.ModelInferRequest(model_name="seen.pixels", **request))
        with pytest.raises(grpc.RpcError, match="model lenet gives no features"):
            stub.ModelInfer(kserve.ModelInferRequest(model_name="lenet.pixels", **request))
        request["outputs"] = [{"name": "probabilities"}, {"name": "features"}]
        both = stub.ModelInfer(kserve.ModelInferRequest(model_name="seen.pixels", **request))
    described = [("probabilities", "FP32", [-1, 10]), ("features", "FP32", [-1, FEATURES])]
    assert [(each.name, each.datatype, list(each.shape)) for each in outputs] == described
    assert [(each.name, list(each.dims)) for each in config.output] == [
        ("probabilities", [10]),
        ("features", [FEATURES]),
    ]
    (output,) = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("features", "FP32", [3, FEATURES])
    assert close(numpy.frombuffer(answer.raw_output_contents[0], "<f4").reshape(3, FEATURES), expected(IMAGES))
    assert [each.name for each in both.outputs] == ["probabilities", "features"]
    assert [len(each) for each in both.raw_output_contents] == [3 * 10 * 4, 3 * FEATURES * 4]


def test_the_command_writes_them_as_json(server: ServerProcess, pictures: Path) -> None:
    command = [sys.executable, "-c", "from linnaeus.client.cli import main; main()", "classify"]
    options = [
        str(pictures / "digits" / "2.png"),
        "--server",
        server.target,
        "--model",
        "seen",
        "--features",
        "--output",
        "jsonl",
    ]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)["features"]) == FEATURES


def test_without_numpy_they_are_a_sequence_of_floats(server: ServerProcess) -> None:
    program = """
import sys
sys.modules["numpy"] = None
from linnaeus.client import Client

with Client(sys.argv[1]) as client:
    features = client.classify(bytes.fromhex(sys.argv[2]), model="seen", features=True).features
    print(type(features).__name__, len(features), sum(features))
"""
    picture = b"BM" + (54 + 3 * 784).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    picture += (40).to_bytes(4, "little") + (28).to_bytes(4, "little") * 2 + b"\x01\x00\x18\x00" + bytes(24)
    picture += IMAGES[0][::-1].repeat(3).tobytes()
    done = subprocess.run(
        [sys.executable, "-c", program, server.target, picture.hex()], capture_output=True, text=True, check=True
    )
    kind, count, total = done.stdout.split()
    assert (kind, int(count)) == ("memoryview", FEATURES)
    assert float(total) == pytest.approx(float(expected(IMAGES[:1]).sum()), rel=0.01)
