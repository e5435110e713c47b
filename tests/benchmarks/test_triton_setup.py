"""`make bench-peers` is skipped with one line where something is missing, and passes its settings to tritonserver."""

import json
import platform
import shutil
from pathlib import Path

import pytest
from google.protobuf import text_format
from PIL import _imaging

from benchmarks.peers import __main__ as peers
from benchmarks.peers.triton_installation import PYTHON_VERSION, TritonInstallation, Unavailable
from benchmarks.peers.triton_repository import Tuning, write_backends, write_repository
from linnaeus.kserve import grpc_service_pb2 as kserve


def version_folder(repository: Path) -> Path:
    """A model called 'a "quoted" model', as far as it is read."""
    folder = repository / 'a "quoted" model' / "3"
    folder.mkdir(parents=True)
    manifest = {"input": {"channels": 3, "height": 40, "width": 50}, "classes": 7}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def installation(folder: Path, program: Path) -> Path:
    """An environment whose tritonserver and backend are copies of some ELF file."""
    triton = folder / "lib" / f"python{PYTHON_VERSION}" / "site-packages" / "pytriton" / "tritonserver"
    for place in (
        triton / "bin" / "tritonserver",
        triton / "python_backend_stubs" / PYTHON_VERSION / "triton_python_backend_stub",
    ):
        place.parent.mkdir(parents=True)
        shutil.copy(program, place)
    return folder


def test_without_tritonserver_the_bench_says_so_in_one_line_and_succeeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert peers.main([], tmp_path) == 0
    said = capsys.readouterr().out
    assert said.startswith("skipped: there is no tritonserver") and said.count("\n") == 1


def test_without_h2load_the_bench_says_so_in_one_line_and_succeeds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "TritonInstallation", lambda environment: None)
    monkeypatch.setenv("PATH", "")
    assert peers.main([]) == 0
    said = capsys.readouterr().out
    assert said.startswith("skipped: h2load is not installed") and "apt install nghttp2-client" in said
    assert said.count("\n") == 1


def test_another_architecture_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(Unavailable, match="Linux on x86-64"):
        TritonInstallation(tmp_path)


def test_a_python_without_backend_is_named(tmp_path: Path) -> None:
    environment = installation(tmp_path, Path("/bin/sh"))
    next(environment.rglob("triton_python_backend_stub")).unlink()
    with pytest.raises(Unavailable, match=f"no Python backend for Python {PYTHON_VERSION}"):
        TritonInstallation(environment)


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    # Pillow's own libraries lie beside it, where a copy elsewhere does not find them.
    environment = installation(tmp_path, Path(_imaging.__file__))
    with pytest.raises(Unavailable, match=r"^tritonserver lacks lib.*\.so"):
        TritonInstallation(environment)


def test_numpy_2_in_the_backend_is_refused_beforehand(tmp_path: Path) -> None:
    environment = installation(tmp_path, Path("/bin/sh"))
    python = environment / "bin" / "python3"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho 2.4.6 2.14.1 13.0.0\n")
    python.chmod(0o755)
    with pytest.raises(Unavailable, match=r"must have numpy 1, .* says: 2\.4\.6"):
        TritonInstallation(environment)


def test_tritonserver_reads_the_settings_that_were_given(tmp_path: Path) -> None:
    version, repository = version_folder(tmp_path / "ours"), tmp_path / "theirs"
    tuning = Tuning(2, 1, 3, "optimized", 16, 250)
    write_repository(repository, version, tuning, takes_pixels=False)

    model = repository / version.parent.name
    config = kserve.ModelConfig()
    text = (model / "config.pbtxt").read_text()
    text_format.Parse(text, config, allow_unknown_field=True)  # ours has no instance groups
    assert (config.name, config.backend, config.max_batch_size) == (version.parent.name, "python", 16)
    assert (config.input[0].name, config.input[0].data_type, list(config.input[0].dims)) == (
        "image",
        kserve.DataType.TYPE_STRING,
        [1],
    )
    assert list(config.output[0].dims) == [7]
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    told = {name: each.string_value for name, each in config.parameters.items()}
    assert (told["threads"], told["decoders"], told["form"]) == ("1", "3", "optimized")
    assert Path(told["artifact"]) == (version / "model.pt").resolve()
    assert "count: 2" in text and "max_queue_delay_microseconds: 250" in text
    assert "class TritonPythonModel" in (model / "3" / "model.py").read_text()


def test_pixels_go_to_the_name_that_linnaeus_gives_them(tmp_path: Path) -> None:
    version = version_folder(tmp_path / "ours")
    write_repository(tmp_path / "theirs", version, Tuning(), takes_pixels=True)
    name = version.parent.name + ".pixels"
    config = kserve.ModelConfig()
    text_format.Parse((tmp_path / "theirs" / name / "config.pbtxt").read_text(), config, allow_unknown_field=True)
    assert (config.name, config.input[0].name, list(config.input[0].dims)) == (name, "pixels", [3, 40, 50])
    assert config.input[0].data_type == kserve.DataType.TYPE_UINT8


def test_the_backend_finds_its_interpreter_beside_itself(tmp_path: Path) -> None:
    (tmp_path / "backends" / "python").mkdir(parents=True)
    for name in ("backends/python/libtriton_python.so", "stub"):
        (tmp_path / name).write_text(name)
    write_backends(tmp_path / "made", tmp_path / "backends", tmp_path / "stub")
    assert (tmp_path / "made" / "python" / "libtriton_python.so").read_text() == "backends/python/libtriton_python.so"
    assert (tmp_path / "made" / "python" / "stub").read_text() == "stub"
