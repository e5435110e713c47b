"""A listing takes any names and has only what can be a version; the plan keeps to its rules for all of them."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.models.manifest import version_of_folder
from linnaeus.server.config.version_policy import VersionPolicy
from linnaeus.server.model_store.remote import listing as listing_module
from linnaeus.server.model_store.remote.listing import VERSION_FILES, RemoteFile, listing_of
from linnaeus.server.model_store.remote.plan import removable, versions_to_evict, wanted_versions

PARTS = st.one_of(
    st.sampled_from(
        ["m", "n", "1", "2", "01", "0", "..", ".", "", "config.toml", "\0", "m" * 65, *sorted(VERSION_FILES)]
    ),
    st.text(max_size=5),
)
NAMES = st.lists(PARTS, min_size=1, max_size=5).map("/".join)
KEYS = st.sets(st.tuples(st.sampled_from("mn"), st.integers(1, 5)))


@given(st.lists(NAMES, max_size=40))
def test_only_models_versions_and_their_files_are_taken_and_none_leads_out(names: list[str]) -> None:
    listed = listing_of((name, RemoteFile(name, 1)) for name in names)
    for model in listed.models.values():
        for version in model.versions.values():
            assert version_of_folder(version.folder) == version.number
            for file in version.files:
                assert file in VERSION_FILES
                path = PurePosixPath(model.name, version.folder, file)
                assert len(path.parts) == 3 and ".." not in path.parts and "\0" not in str(path)
                assert str(path) in names
    assert len(listed.ignored) <= 20 + len(listed.models)


@given(st.permutations([f"m/{number}/{name}" for number in (1, 2) for name in sorted(VERSION_FILES)]))
def test_the_order_of_a_listing_does_not_matter(names: list[str]) -> None:
    listed = listing_of((name, RemoteFile(name, 1)) for name in names)
    assert {number: set(each.files) for number, each in listed.models["m"].versions.items()} == {
        1: VERSION_FILES,
        2: VERSION_FILES,
    }


def test_two_folders_of_one_version_are_ignored_with_a_sentence() -> None:
    listed = listing_of((f"m/{folder}/model.pt", RemoteFile("")) for folder in ("1", "01", "001", "2"))
    assert set(listed.models["m"].versions) == {2}
    assert listed.ignored[0] == "the folders '001' and '01' of model m are both version 1 and are ignored; keep one"


def test_folders_of_consoles_and_other_objects_are_no_versions() -> None:
    listed = listing_of((name, RemoteFile(name, 0)) for name in ("m/", "m/1/", "README.md", "_SUCCESS", ".git/1/a"))
    assert listed.is_empty and not listed.ignored


def test_a_listing_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_module, "MOST_OBJECTS", 10)
    with pytest.raises(ValueError, match="more than 10 objects; give the models a folder of their own"):
        listing_of((f"m/{number}/model.pt", RemoteFile("")) for number in range(1, 12))


@given(st.sets(st.integers(1, 20)), st.sets(st.integers(1, 20)), st.integers(0, 4))
def test_as_many_versions_are_wanted_as_can_be_served(there: set[int], refused: set[int], latest: int) -> None:
    wanted = wanted_versions(VersionPolicy(latest=latest), there, refused)
    assert set(wanted) <= there
    if latest:
        assert wanted == sorted(there, reverse=True)[: len(wanted)]
        good = there - refused
        assert len(set(wanted) & good) == min(latest, len(good))
    else:
        assert wanted == sorted(there)


@given(KEYS, KEYS, KEYS)
def test_what_is_listed_is_never_removed(
    copied: set[tuple[str, int]], listed: set[tuple[str, int]], missing: set[tuple[str, int]]
) -> None:
    removed = removable(copied, listed, missing)
    assert removed <= copied and not removed & listed and removed <= missing


@given(
    st.integers(0, 100),
    st.integers(0, 100),
    st.dictionaries(st.tuples(st.just("m"), st.integers(1, 9)), st.integers(1, 40)),
)
def test_no_more_is_evicted_than_is_needed(needed: int, free: int, unwanted: dict[tuple[str, int], int]) -> None:
    chosen = versions_to_evict(needed, free, unwanted)
    if chosen is None:
        assert free + sum(unwanted.values()) < needed
    else:
        assert free + sum(unwanted[each] for each in chosen) >= needed
        assert not chosen or free + sum(unwanted[each] for each in chosen[:-1]) < needed
