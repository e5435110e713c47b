"""What is not served is said in a sentence that is short, lists what is served, and fits into gRPC's trailer."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.server.errors import InvalidArgument, ModelNotFound, RequestError
from linnaeus.server.model_store import not_found
from linnaeus.server.model_store.catalog import Catalog, Entry, ModelState
from linnaeus.server.rpc.status import to_status

MODEL: Any = object()
TRAILER_BYTES = 4096


def catalog(*names: str, state: ModelState = ModelState.READY, versions: int = 1, reason: str = "") -> Catalog:
    made = Catalog()
    for name in names:
        for version in range(1, versions + 1):
            made.put(Entry(name, version, state, reason, model=MODEL if state is ModelState.READY else None))
    return made


def refusal(made: Catalog, name: str, version: str = "") -> RequestError:
    with pytest.raises((ModelNotFound, InvalidArgument)) as refused:
        made.resolve(name, version)
    return refused.value


def trailer_bytes(error: RequestError) -> int:
    """The status as it is sent: the message percent-encoded, binary metadata in base64, both with their keys."""
    status = to_status(error)
    message = "".join(c if " " <= c <= "~" and c != "%" else "%20" * len(c.encode()) for c in status.details)
    sizes = [
        len(key) + (len(value) * 4 / 3 + 4 if isinstance(value, bytes) else len(value)) for key, value in status[2]
    ]
    return len("grpc-message") + len(message) + int(sum(sizes))


def test_only_what_is_served_is_listed_and_each_once() -> None:
    made = catalog("a", "b", versions=3)
    for name, state in zip("cdef", (each for each in ModelState if each is not ModelState.READY), strict=True):
        made.put(Entry(name, 1, state, "why"))
    made.put(Entry("a", 4, ModelState.FAILED, "why"))
    made.name_versions("a", {"stable": 2, "broken": 4, "gone": 9}, "")
    assert str(refusal(made, "x")) == "there is no model 'x'; there are: a, b"
    assert str(refusal(made, "")) == "model is empty and this server has no default model; name one of: a, b"
    assert str(refusal(made, "a", "7")) == "model a has no version 7; there are: 1, 2, 3, stable"
    assert str(refusal(catalog(), "x")) == "there is no model 'x'; there are: none"


def test_of_many_models_the_nearest_are_listed_and_the_others_counted() -> None:
    made = catalog("lenet", *(f"efficientnet_b{number:03d}_client" for number in range(199)))
    assert str(refusal(made, "lenett")).startswith("there is no model 'lenett'; there are: lenet, ")
    assert str(refusal(made, "LeNet")).endswith(" and 194 more; did you mean lenet?")
    assert "there are: efficientnet_b017_client, " in str(refusal(made, "efficientnet_b017_cleint"))
    assert "did you mean" not in str(refusal(made, "typo"))
    assert str(refusal(made, "")).endswith(" and 194 more")


def test_of_many_versions_the_highest_are_listed_and_the_others_counted() -> None:
    made = catalog("m", versions=200)
    made.name_versions("m", {f"label-{number}": number for number in range(1, 101)}, "")
    said = str(refusal(made, "m", "999"))
    assert said.startswith("model m has no version 999; there are: 195, 196, 197, 198, 199, 200, label-1, ")
    assert said.endswith(" and 288 more")


@pytest.mark.parametrize("count", [1, 45, 200, 1000])
@pytest.mark.parametrize("letter", ["x", "ж", "\U0001f427", "\x00", "\U000e0001", "%", "'"])
@pytest.mark.parametrize("state", [ModelState.READY, ModelState.FAILED, ModelState.UNLOADED, ModelState.LOADING])
def test_a_status_fits_into_4_kib_however_many_models_there_are_and_whatever_they_are_called(
    count: int, letter: str, state: ModelState
) -> None:
    names = [letter * (255 - len(str(number))) + str(number) for number in range(count)]
    made = catalog(*names, state=state, reason=letter * 5_000)
    unknown = [(name, version) for name in ("typo", letter * 255, letter * 100_000) for version in ("", "99")]
    without_it = [(name, version) for name in ("", names[0]) for version in ("99", letter * 255)]
    not_ready = [(name, "") for name in ("", names[0]) if state is not ModelState.READY]
    for name, version in unknown + without_it + not_ready:
        with pytest.raises(RequestError) as refused:
            made.resolve(name, version)
        assert trailer_bytes(refused.value) < TRAILER_BYTES
        assert str(refused.value).encode()


@given(st.text(max_size=300), st.lists(st.text(min_size=1, max_size=80), max_size=30, unique=True))
def test_any_name_gets_a_short_sentence_and_a_hint_that_is_served(name: str, served: list[str]) -> None:
    error = not_found.unknown_model(name, sorted(served))
    assert trailer_bytes(error) < TRAILER_BYTES
    before, _, hint = str(error).rpartition("; did you mean ")
    assert not before or hint.removesuffix("?") in set(map(not_found.shortened, served))
