"""What was measured is remembered between starts, for the same model, machine and settings only."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from linnaeus.server.runtime import model_loading, variant_selection
from linnaeus.server.runtime.model_loading import LoadOptions, load_model
from linnaeus.server.runtime.remembered_choices import Choice, RememberedChoices, cache_folder

CPU = torch.device("cpu")
CHOICE = Choice("openvino", "float32", "auto: faster", "precision is float32")


def test_a_choice_is_found_again_under_the_same_circumstances_only(tmp_path: Path) -> None:
    RememberedChoices(str(tmp_path), "model", 2).keep(CHOICE)
    assert RememberedChoices(str(tmp_path), "model", 2).find() == CHOICE
    assert RememberedChoices(str(tmp_path), "model", 3).find() is None
    assert RememberedChoices("", "model", 2).find() is None


def test_a_damaged_choice_is_no_choice(tmp_path: Path) -> None:
    RememberedChoices(str(tmp_path)).keep(CHOICE)
    (file,) = tmp_path.iterdir()
    for text in ("", "{}", "[1]", '{"runtime": 1, "other": 2}'):
        file.write_text(text)
        assert RememberedChoices(str(tmp_path)).find() is None


def test_the_cache_folder_is_the_users_or_none_where_it_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert cache_folder("auto") == str(tmp_path / "home" / "linnaeus") and (tmp_path / "home" / "linnaeus").is_dir()
    assert cache_folder(str(tmp_path / "own")) == str(tmp_path / "own")
    assert cache_folder("none") == ""
    (tmp_path / "file").write_text("")
    assert cache_folder(str(tmp_path / "file" / "below")) == ""


def test_the_second_load_measures_nothing_and_gives_the_same_reason(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = LoadOptions(cache_folder=str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    folder = Path(shutil.copytree(repository / "lenet" / "1", tmp_path / "lenet" / "1"))
    first = load_model(folder, CPU, 2, options=options)
    monkeypatch.setattr(variant_selection, "images_per_second", _fail)
    assert load_model(folder, CPU, 2, options=options).specialisation == first.specialisation
    with pytest.raises(AssertionError, match="measured"):
        load_model(folder, CPU, 2, options=replace(options, memory_factor=3.0))


def test_a_load_beside_busy_models_remembers_nothing(repository: Path, tmp_path: Path) -> None:
    options = LoadOptions(cache_folder=str(tmp_path), on_one_core=True)
    load_model(repository / "lenet" / "1", CPU, 1, options=options)
    assert not list(tmp_path.glob("choice-*"))


def test_a_cache_that_cannot_be_written_fails_no_load(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("read-only file system")

    monkeypatch.setattr(Path, "write_text", refuse)
    model = load_model(repository / "lenet" / "1", CPU, 1, options=LoadOptions(cache_folder=str(tmp_path)))
    assert model.specialisation.runtime_reason.startswith("auto: ")
    assert model_loading.RememberedChoices(str(tmp_path)).find() is None


def _fail(*_: object) -> None:
    raise AssertionError("measured")
