"""The table of docs/models.md says which forms of which networks are imported and served, and with whose answers.

`make test-release` tries most of them, and those of timm, which is not installed with Linnaeus.
"""

import re
from collections.abc import Iterator

import pytest
import torch
from tests.models.own_model.torchscript_forms import FORMS, TIMM, TORCHVISION, Network, why_not
from tests.pages import ROOT
from tests.programs import TIMM_PACKAGES

PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
ROWS = {
    name: (library, dict(zip(FORMS, cells.split(" | "), strict=True)))
    for name, library, cells in re.findall(r"^\| `(\w+)` \| (torchvision|timm) \| (.+) \|$", PAGE, re.MULTILINE)
}
# One that is convolutions alone, and one with attention.
_QUICK = {"squeezenet1_1", "vit"}
# One that is refused in some forms.
_SLOW = {"googlenet"}
_REFUSED = "gives a {} of {}, but must give one tensor of logits"
REASONS = {"googlenet": _REFUSED.format("GoogLeNetOutputs", 3), "inception_v3": _REFUSED.format("InceptionOutputs", 2)}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """On a busy machine threads that wait for each other take ten times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _param(network: Network) -> object:
    marks = [pytest.mark.slow] if network.name in _SLOW else [] if network.name in _QUICK else [pytest.mark.release]
    if network.library == "timm":
        marks.append(pytest.mark.needs(program="timm"))
    return pytest.param(network, id=network.name, marks=marks)


def test_the_page_lists_every_network_that_is_tried() -> None:
    assert {name: library for name, (library, _) in ROWS.items()} == {
        each.name: each.library for each in TORCHVISION + TIMM
    }


@pytest.mark.parametrize("subject", [_param(each) for each in TORCHVISION + TIMM])
def test_the_page_says_which_forms_of_a_network_are_imported_and_served(
    subject: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    if subject.library == "timm":
        monkeypatch.syspath_prepend(TIMM_PACKAGES)
    network = subject.build()
    reasons = {form: why_not(subject, network, form) for form in FORMS}
    assert {form: "yes" if reason is None else "no" for form, reason in reasons.items()} == ROWS[subject.name][1], (
        reasons
    )
    for reason in filter(None, reasons.values()):
        assert reason.startswith(REASONS[subject.name])
