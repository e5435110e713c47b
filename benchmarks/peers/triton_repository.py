"""Writes tritonserver's repository: a model of Linnaeus's repository as a model of the Python backend."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from linnaeus.models.manifest import MANIFEST_FILE, MODEL_FILE

BACKEND = Path(__file__).with_name("triton_python_backend.py")


@dataclass(frozen=True, slots=True)
class Tuning:
    """How tritonserver runs a model.

    Attributes:
        instances: processes that each run one batch at a time.
        threads: of torch, in each instance.
        decoders: threads that decode the images of a batch, in each instance.
        form: of the module; see `triton_python_backend.load`.
        max_batch_size: the largest batch that its dynamic batching forms.
        queue_delay_microseconds: how long it waits for a full batch.
        spin_count: how often one of OpenMP's threads polls for work before it sleeps; None for its default.
    """

    instances: int = 1
    threads: int = 2
    decoders: int = 2
    form: str = "frozen"
    max_batch_size: int = 8
    queue_delay_microseconds: int = 0
    spin_count: int | None = None

    def variables(self) -> dict[str, str]:
        """Returns environment variables for tritonserver."""
        return {} if self.spin_count is None else {"GOMP_SPINCOUNT": str(self.spin_count)}


def write_backends(folder: Path, backends: Path, stub: Path) -> None:
    """Writes a folder of backends: the Python backend of `backends` with this stub, which runs its interpreter."""
    python = folder / "python"
    python.mkdir(parents=True)
    for file in [*(backends / "python").iterdir(), stub]:
        (python / file.name).symlink_to(file)


def write_repository(folder: Path, version: Path, tuning: Tuning, takes_pixels: bool) -> None:
    """Adds a model to tritonserver's repository, under the name that Linnaeus's KServe gives it.

    Args:
        folder: tritonserver's repository.
        version: the version folder of the model in Linnaeus's repository.
        tuning: how it is run.
        takes_pixels: whether its input is pixels instead of encoded images.
    """
    name = version.parent.name + (".pixels" if takes_pixels else "")
    model = folder / name
    (model / version.name).mkdir(parents=True)
    shutil.copy(BACKEND, model / version.name / "model.py")
    text = _configuration(name, version, tuning, takes_pixels)
    (model / "config.pbtxt").write_text(text, encoding="utf-8")


def _configuration(name: str, version: Path, tuning: Tuning, takes_pixels: bool) -> str:
    manifest = json.loads((version / MANIFEST_FILE).read_text(encoding="utf-8"))
    sizes = [manifest["input"][each] for each in ("channels", "height", "width")]
    tensor = ("pixels", "TYPE_UINT8", sizes) if takes_pixels else ("image", "TYPE_STRING", [1])
    parameters = {
        "artifact": (version / MODEL_FILE).resolve(),
        "manifest": (version / MANIFEST_FILE).resolve(),
        "threads": tuning.threads,
        "decoders": tuning.decoders,
        "form": tuning.form,
    }
    lines = [
        f"name: {_text(name)}",
        'backend: "python"',
        f"max_batch_size: {tuning.max_batch_size}",
        f"input [ {_tensor(*tensor)} ]",
        f"output [ {_tensor('probabilities', 'TYPE_FP32', [manifest['classes']])} ]",
        f"instance_group {{ kind: KIND_CPU count: {tuning.instances} }}",
        f"dynamic_batching {{ max_queue_delay_microseconds: {tuning.queue_delay_microseconds} }}",
        *(
            f"parameters {{ key: {_text(key)} value {{ string_value: {_text(value)} }} }}"
            for key, value in parameters.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _tensor(name: str, datatype: str, shape: list[int]) -> str:
    return f"{{ name: {_text(name)} data_type: {datatype} dims: {shape} }}"


def _text(value: object) -> str:
    """Returns a string of protobuf's text format, which has the escapes of ASCII-only JSON."""
    return json.dumps(str(value))
