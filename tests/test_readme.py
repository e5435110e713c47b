"""The README and the operations page tell the truth about what can be checked."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from linnaeus.server.config.model_settings import KEYS, ModelSettings, model_settings
from linnaeus.server.config.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])

Row = tuple[str, str, str]


def listed(page: str) -> list[Row]:
    """The rows of a page's tables of settings: name, default, meaning."""
    return re.findall(r"^\| `--([a-z-]+)` \| (.+?) \| (.+) \|$", page, re.MULTILINE)


def test_every_setting_is_listed_with_its_default_and_meaning() -> None:
    expected = []
    for setting in fields(Settings):
        empty = "all" if setting.name == "models" else "none"
        default = f"`{setting.default}`" if str(setting.default) else empty
        expected.append((setting.name.replace("_", "-"), default, setting.metadata["help"]))
    assert listed(OPERATIONS) == expected


def test_the_readme_s_settings_are_rows_of_the_whole_list_in_its_order() -> None:
    most_used, every = listed(README), listed(OPERATIONS)
    assert most_used and most_used == [row for row in every if row in most_used]


def test_a_model_s_own_settings_are_listed_with_what_holds_where_they_are_missing(tmp_path: Path) -> None:
    section = OPERATIONS.partition("### A model's own settings\n")[2]
    toml = section.partition("```toml\n")[2].partition("```")[0]
    keys = re.findall(r"^(?:# )?([a-z_]+) = ", toml, re.MULTILINE)
    assert sorted(keys) == sorted(KEYS)
    assert settings_of(tmp_path, toml) == settings_of(tmp_path, "")


def test_the_readme_s_versions_and_labels_are_such_as_a_model_may_have(tmp_path: Path) -> None:
    (toml,) = re.findall(r"^```toml\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert set(tomllib.loads(toml)) == {"versions", "default_version", "labels"}
    assert settings_of(tmp_path, toml).default_version == "stable"


def settings_of(folder: Path, toml: str) -> ModelSettings:
    (folder / "config.toml").write_text(toml, encoding="utf-8")
    return model_settings(folder, Settings())


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        "".join(pair) for pair in re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", README + OPERATIONS, re.MULTILINE)
    }
    assert named and named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_heading_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path, heading in re.findall(r"\]\(([^)#:]*)(?:#([^):]+))?\)", text):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not heading or heading in headings(target.read_text(encoding="utf-8")), heading
    for source in re.findall(r"src=\"([^\"]+)\"", text):
        assert (page.parent / source).exists(), source


def headings(page: str) -> set[str]:
    """What a page's headings are called in links to them."""
    titles = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_metric_that_is_named_is_on_the_operations_page() -> None:
    section = README.partition("## Health and metrics")[2].partition("\n## ")[0]
    named = re.findall(r"`((?:linnaeus|grpc_server)_[a-z_]+)`", section)
    rows = set(re.findall(r"^\| `([a-z_]+)` \|", OPERATIONS.partition("\n## Metrics\n")[2], re.MULTILINE))
    assert named and set(named) <= rows
