"""What KServe's storage initializer may put into /mnt/models is served under the InferenceService's name.

The server runs with the environment of the ClusterServingRuntime and is called with KServe's own SDK.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.e2e.forked_server import ForkedServer
from tests.programs import KSERVE_PYTHON

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (pip install 'linnaeus[ship]')")
PROGRAM = Path(__file__).with_name("kserve_layout_calls.py")
RUNTIME = Path(__file__).resolve().parents[2] / "docker" / "kubernetes" / "kserve" / "runtime.yaml"
NAME = "flowers"
# Below the storage URI: where in it the version is that the tests' repository has.
LAYOUTS = {"repository": "lenet/1", "model": "1", "version": "."}

pytestmark = pytest.mark.needs(program="kserve")


@pytest.fixture(params=LAYOUTS)
def storage(request: pytest.FixtureRequest, repository: Path, tmp_path: Path) -> Path:
    """A folder as KServe mounts it: with what is below the storage URI, and for reading only."""
    folder = tmp_path / "models"
    shutil.copytree(repository / "lenet" / "1", folder / LAYOUTS[request.param])
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of the runtime, which KServe completes with the name of the InferenceService."""
    (container,) = yaml.safe_load(RUNTIME.read_text(encoding="utf-8"))["spec"]["containers"]
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable["value"].replace("{{.Name}}", NAME))


def changes(folder: Path) -> dict[Path, int]:
    """Returns when a folder and each file and folder below it was changed."""
    return {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


@pytest.mark.usefixtures("environment")
def test_kserves_sdk_calls_the_model_by_the_name_of_the_inference_service(storage: Path, pictures: Path) -> None:
    before = changes(storage)
    ports = ["--http-port", "0", "--health-port", "0"]
    options = ["--lame-duck-seconds", "0", "--max-batch-size", "1", "--streams", "1"]
    with ForkedServer("--repository", str(storage), *ports, *options) as server:
        command = [str(KSERVE_PYTHON), str(PROGRAM), f"http://127.0.0.1:{server.http_port}", server.target, NAME]
        picture = str(pictures / "digits" / "7.png")
        done = subprocess.run([*command, picture], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"http": [True, 7], "grpc": [True, 7], "answered by": [NAME, "1"]}
    assert changes(storage) == before
