"""With --model-name a repository, one model's folder and one version's are served alike: KServe brings any of them."""

import shutil
from pathlib import Path

import pytest
from tests.repositories import add_version

from linnaeus.server.config.settings import read_settings
from linnaeus.server.errors import ModelRefused, StartupError
from linnaeus.server.model_store.model_folders import ModelFolder, list_model_folders
from linnaeus.server.model_store.repository import FolderRepository, list_at_start
from linnaeus.server.runtime.artifact_checks import read_artifact
from linnaeus.server.start_checks import check_start


def served(folders: dict[str, ModelFolder]) -> dict[str, list[int]]:
    """Returns the versions by model, and checks that models and versions know their names."""
    for name, folder in folders.items():
        assert {folder.name, *(version.model for version in folder.versions.values())} == {name}
    return {name: list(folder.versions) for name, folder in folders.items()}


def test_the_folder_of_a_model_is_served_under_the_given_name(source: Path, root: Path) -> None:
    add_version(source, root, "m", 3, "three ")
    assert served(list_model_folders(root / "m", "birds")) == {"birds": [1, 3]}
    assert served(list_model_folders(root / "m")) == {"1": [], "3": []}


def test_the_folder_of_a_version_is_served_under_the_given_name_with_its_manifests_number(
    source: Path, root: Path
) -> None:
    folder = add_version(source, root, "m", 3, "three ").rename(root / "any")
    assert served(list_model_folders(folder, "birds")) == {"birds": [3]}
    artifact = read_artifact(folder, "birds")
    assert (artifact.manifest.name, artifact.manifest.version) == ("birds", 3)


def test_a_repository_of_one_model_gives_it_the_name_and_one_of_several_keeps_theirs(source: Path, root: Path) -> None:
    (root / "notes").mkdir()
    assert served(list_model_folders(root, "birds")) == {"birds": [1], "notes": []}
    assert served(list_model_folders(root, "notes")) == {"notes": [1]}
    assert served(list_model_folders(root, "m")) == {"m": [1], "notes": []}
    add_version(source, root, "n", 2, "two ")
    assert served(list_model_folders(root, "birds")) == {"m": [1], "n": [2], "notes": []}


def test_a_model_whose_name_is_a_number_is_no_version(source: Path, tmp_path: Path) -> None:
    add_version(source, tmp_path, "7", 1, "one ")
    add_version(source, tmp_path, "8", 1, "one ")
    assert served(list_model_folders(tmp_path, "birds")) == {"7": [1], "8": [1]}


def test_settings_of_a_model_lie_beside_its_versions_or_beside_its_only_versions_files(root: Path) -> None:
    for folder in (root / "m", root / "m" / "1"):
        without = list_model_folders(folder, "birds")["birds"]
        (folder / "config.toml").write_text("max_batch_size = 2\n")
        having = list_model_folders(folder, "birds")["birds"]
        assert (without.config_fingerprint == (), having.config_fingerprint == ()) == (True, False)
        assert having.path == folder


def test_a_version_that_lies_under_another_number_is_refused_under_any_name(root: Path) -> None:
    moved = (root / "m" / "1").rename(root / "m" / "2")
    with pytest.raises(ModelRefused, match=r"manifest.json: version is 1, but the folder is '2'"):
        read_artifact(moved, "birds")


def test_a_version_without_a_readable_manifest_is_listed_so_that_its_load_says_what_is_wrong(root: Path) -> None:
    (root / "m" / "1" / "manifest.json").write_text("{")
    assert served(list_model_folders(root / "m" / "1", "birds")) == {"birds": [1]}
    with pytest.raises(ModelRefused, match=r"manifest.json is not valid JSON"):
        read_artifact(root / "m" / "1", "birds")


def test_a_folder_without_versions_gives_no_model_the_name(root: Path) -> None:
    shutil.rmtree(root / "m" / "1")
    assert served(list_at_start(FolderRepository(root, "birds"))) == {"m": []}


def test_a_name_that_no_model_may_have_ends_the_start(root: Path) -> None:
    with pytest.raises(StartupError, match=r"^--model-name: name is 'Birds!', but must be 1 to 64 of a-z"):
        check_start(read_settings(repository=root, model_name="Birds!", port=0, metrics_port=0, http_port=0))
