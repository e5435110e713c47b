"""ONNX Runtime and OpenVINO give what the TorchScript of the same model gives; what cannot be run is refused."""

import gc
import json
import weakref
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from linnaeus.models.activation import Activation
from linnaeus.models.export.onnx import export_onnx
from linnaeus.models.export.onnx_import import import_onnx_file
from linnaeus.models.export.own_model_import import ModelMetadata
from linnaeus.models.manifest import read_manifest
from linnaeus.models.registry import find
from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime import model_formats, onnxruntime_runner
from linnaeus.server.runtime.artifact_checks import read_artifact
from linnaeus.server.runtime.model import Model
from linnaeus.server.runtime.model_loading import LoadOptions, load_model
from linnaeus.server.runtime.onnxruntime_runner import OnnxRuntimeRunner
from linnaeus.server.runtime.out_of_memory import OutOfMemory
from linnaeus.server.runtime.runner import Pixels

CPU = torch.device("cpu")
# Both are float32, summed in another order.
TOLERANCE = 1e-4
NAMES = ("lenet", pytest.param("efficientnet_lite0", marks=pytest.mark.slow))


class ImportedVersions(dict[str, Path]):
    """Version folders by name of the zoo's model; each is made when it is asked for first."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root

    def __missing__(self, name: str) -> Path:
        self[name] = exported_and_imported(name, self._root)
        return self[name]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models of the zoo, exported to ONNX and imported again, as version folders by name."""
    return ImportedVersions(tmp_path_factory.mktemp("onnx"))


def exported_and_imported(name: str, root: Path, features: bool = False) -> Path:
    model = find(name)
    path = export_onnx(model, model.bundled_weights(), root / f"{name}.onnx", features=features)
    named = "features" if features else None
    metadata = ModelMetadata(name, model.input, None, None, model.labels(), activation=Activation.NONE, features=named)
    return import_onnx_file(path, metadata, root / "repository", 1)


def pictures(folder: Path, count: int) -> list[Pixels]:
    spec = read_manifest(folder).input
    shape = (count, spec.height, spec.width, spec.channels)
    coarse = numpy.random.default_rng(count).integers(0, 256, (count, 7, 7, spec.channels), numpy.uint8)
    rows = numpy.arange(shape[1]) * 7 // shape[1]
    columns = numpy.arange(shape[2]) * 7 // shape[2]
    return list(coarse[:, rows][:, :, columns])


def load(folder: Path, runtime: str, size: int = 7) -> Model:
    return load_model(folder, CPU, size, options=LoadOptions(runtime=runtime))


@pytest.fixture
def runner(imported: dict[str, Path]) -> OnnxRuntimeRunner:
    folder = imported["lenet"]
    return OnnxRuntimeRunner(folder / "model.onnx", read_manifest(folder), CPU, 7)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_model_exported_and_imported_again_gives_the_same_probabilities(
    imported: dict[str, Path], repository: Path, name: str, runtime: str
) -> None:
    ours, original = load(imported[name], runtime), load(repository / name / "1", "torchscript")
    assert ours.specialisation.runtime == runtime
    for count in (1, 2, 7):
        images = pictures(imported[name], count)
        given, expected = (numpy.array(model.probabilities(images)) for model in (ours, original))
        assert numpy.abs(given - expected).max() <= TOLERANCE
        others = numpy.array(ours.probabilities([255 - image for image in images]))
        assert numpy.abs(others - expected).max() > 10 * TOLERANCE, "the test could not detect a wrong input"


def test_auto_chooses_among_the_runtimes_that_open_onnx_and_says_why(imported: dict[str, Path]) -> None:
    made = load(imported["lenet"], "auto").specialisation
    assert made.runtime in ("onnxruntime", "openvino")
    assert "times as fast as" in made.runtime_reason and "torchscript" not in made.runtime_reason


def test_onnxruntime_opens_no_torchscript(repository: Path) -> None:
    with pytest.raises(ModelRefused, match=r"^runtime is onnxruntime, which cannot run model.pt on cpu, but torch"):
        load(repository / "lenet" / "1", "onnxruntime")


def test_the_file_is_run_in_its_own_precision(imported: dict[str, Path]) -> None:
    options = LoadOptions(runtime="onnxruntime", precision="bfloat16")
    with pytest.raises(ModelRefused, match=r"^onnxruntime cannot compute in bfloat16.*must be float32"):
        load_model(imported["lenet"], CPU, 1, options=options)


def test_a_runtime_that_is_not_installed_is_refused_with_what_to_install(
    imported: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_formats, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(ModelRefused, match=r"^runtime is onnxruntime, .* pip install onnxruntime$"):
        load(imported["lenet"], "onnxruntime")
    assert load(imported["lenet"], "auto").specialisation.runtime == "openvino"


def test_on_a_device_that_it_was_not_built_for_nothing_opens_the_file(
    imported: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime_runner, "runs_on", lambda device: False)
    monkeypatch.setattr(model_formats, "runs_on", lambda device: False)
    manifest = read_manifest(imported["lenet"])
    with pytest.raises(ModelRefused, match=r"^model.onnx cannot be run on cuda:0: what is installed of onnxruntime"):
        model_formats.usable_runtimes(manifest, torch.device("cuda", 0), "auto")
    with pytest.raises(ModelRefused, match=r"pip install onnxruntime-gpu$"):
        OnnxRuntimeRunner(imported["lenet"] / "model.onnx", manifest, torch.device("cuda", 0), 1)


def test_one_core_and_all_give_the_same(imported: dict[str, Path], runner: OnnxRuntimeRunner) -> None:
    images = pictures(imported["lenet"], 3)
    on_all = runner.run(images, 10)
    runner.keep_cores(1, 1)
    on_one = runner.run(images, 10)
    assert on_one.indices == on_all.indices
    assert numpy.allclose(on_one.probabilities, on_all.probabilities, atol=1e-6)
    runner.settle()
    assert runner.run(images, 10).indices == on_all.indices


def test_closing_and_settling_free_the_sessions(imported: dict[str, Path], runner: OnnxRuntimeRunner) -> None:
    sessions = [weakref.ref(runner._session)]
    runner.keep_cores(torch.get_num_threads() + 1, 1)
    sessions.append(weakref.ref(runner._session))
    runner.settle()
    gc.collect()
    assert [session() is None for session in sessions] == [True, False]
    runner.close()
    gc.collect()
    assert sessions[1]() is None
    runner.close()


def changed(folder: Path, target: Path, **parts: Any) -> Path:
    """Writes a version whose graph is made by hand; `parts` are its input and its nodes."""
    manifest = read_manifest(folder)
    nodes = parts["nodes"]
    given = helper.make_tensor_value_info("images", parts.get("given", TensorProto.UINT8), ["n", 1, 28, 28])
    answer = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "changed", [given], [answer])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", parts.get("opset", 17))], ir_version=8)
    target.mkdir(parents=True)
    onnx.save(model, str(target / "model.onnx"))
    (target / "labels.txt").write_text((folder / "labels.txt").read_text())
    fields = json.loads((folder / "manifest.json").read_text())
    fields["sha256"] = sha256((target / "model.onnx").read_bytes()).hexdigest()
    (target / "manifest.json").write_text(json.dumps(fields))
    assert manifest.classes == 10
    return target


CAST = helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT)
FLATTEN = helper.make_node("Flatten", ["numbers"], ["probabilities"])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"nodes": [CAST, FLATTEN]}, r"^model.onnx gives float32 \[1, 784\] for one image, but must give float32 \[1"),
        ({"nodes": [CAST, FLATTEN], "opset": 99}, r"^model.onnx cannot be opened by onnxruntime: .*99"),
        (
            {"nodes": [helper.make_node("Flatten", ["images"], ["probabilities"])], "given": TensorProto.FLOAT},
            r"^model.onnx cannot be run by onnxruntime: .*tensor\(float\)",
        ),
    ],
)
def test_a_graph_that_breaks_the_contract_is_refused_in_one_sentence(
    imported: dict[str, Path], tmp_path: Path, parts: dict[str, Any], message: str
) -> None:
    folder = changed(imported["lenet"], tmp_path / "lenet" / "1", **parts)
    with pytest.raises(ModelRefused, match=message) as refused:
        load(folder, "onnxruntime")
    assert "\n" not in str(refused.value)


def test_a_damaged_file_with_a_matching_digest_is_refused_by_both(imported: dict[str, Path], tmp_path: Path) -> None:
    folder = changed(imported["lenet"], tmp_path / "lenet" / "1", nodes=[CAST, FLATTEN])
    (folder / "model.onnx").write_bytes(b"not a model")
    fields = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(fields | {"sha256": sha256(b"not a model").hexdigest()}))
    for runtime in ("onnxruntime", "openvino"):
        with pytest.raises(ModelRefused, match=r"^model.onnx cannot be") as refused:
            load(folder, runtime)
        assert "\n" not in str(refused.value)


def test_a_model_that_does_not_reproduce_the_recorded_run_is_refused(imported: dict[str, Path], tmp_path: Path) -> None:
    artifact = read_artifact(imported["lenet"])
    check = artifact.manifest.check
    target = tmp_path / "lenet" / "1"
    target.mkdir(parents=True)
    for name in ("model.onnx", "labels.txt"):
        (target / name).write_bytes((artifact.folder / name).read_bytes())
    fields = json.loads((artifact.folder / "manifest.json").read_text())
    fields["check"]["probabilities"] = list(check.probabilities[::-1])
    (target / "manifest.json").write_text(json.dumps(fields))
    with pytest.raises(ModelRefused, match=r"^model.onnx differs by .* check.probabilities"):
        load(target, "onnxruntime")


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("exported", "claimed"), [(True, 499), (True, 0), (False, 500)])
def test_a_file_without_the_features_of_its_manifest_is_refused(
    tmp_path: Path, runtime: str, exported: bool, claimed: int
) -> None:
    folder = exported_and_imported("lenet", tmp_path, features=exported)
    fields = json.loads((folder / "manifest.json").read_text())
    assert fields.pop("features", None) == (500 if exported else None)
    (folder / "manifest.json").write_text(json.dumps(fields | ({"features": claimed} if claimed else {})))
    expected = r"float32 \[\w+, 10\]" + rf"\W+(and )?float32 \[\w+, {claimed}\]" * bool(claimed)
    with pytest.raises(ModelRefused, match=rf"^model.onnx gives .* must give {expected}$"):
        load(folder, runtime)


def test_too_little_memory_is_told_from_other_failures(
    runner: OnnxRuntimeRunner, imported: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = runner._session

    class Failing:
        def __init__(self, error: Exception) -> None:
            self._error = error

        def get_inputs(self) -> Any:
            return session.get_inputs()

        def get_outputs(self) -> Any:
            return session.get_outputs()

        def run(self, *_: object) -> Any:
            raise self._error

    for error, raised in (
        (MemoryError(), OutOfMemory),
        (onnxruntime_runner._errors()[0]("Failed to allocate memory for requested buffer of size 9"), OutOfMemory),
        (onnxruntime_runner._errors()[0]("Non-zero status code"), RuntimeError),
    ):
        runner._session = Failing(error)
        with pytest.raises(raised) as caught:
            runner.run(pictures(imported["lenet"], 1), 1)
        assert isinstance(caught.value, OutOfMemory) == (raised is OutOfMemory)


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_gives_the_same_probabilities(imported: dict[str, Path], repository: Path, name: str) -> None:
    if not onnxruntime_runner.runs_on(torch.device("cuda", 0)):
        pytest.skip(
            "hardware: a CUDA device that the installed onnxruntime was built for (pip install onnxruntime-gpu)"
        )
    ours = load_model(imported[name], torch.device("cuda", 0), 7, options=LoadOptions(runtime="onnxruntime"))
    original = load(repository / name / "1", "torchscript")
    for count in (1, 2, 7):
        images = pictures(imported[name], count)
        given, expected = (numpy.array(model.probabilities(images)) for model in (ours, original))
        assert numpy.abs(given - expected).max() <= 10 * TOLERANCE  # TF32
