"""What the commands of the README and of docs/ make in a checkout is ignored by git.

`tests/e2e/test_documented_commands.py` looks at what each command really makes; here is what the pages name.
"""

import re
import subprocess

import pytest
from tests.pages import ROOT, not_ignored, shell_commands

# Options that name what a command writes; a URL is nothing in a checkout.
_OPTIONS = r"--(?:out|sort-into|report|json|wheel-dir|data|repository|compare)"
_WRITES = re.compile(_OPTIONS + r" (?!\w+://)([\w.-]+(?: [\w-]+\.json)?)")
BY_DEFAULT = ["model-repository/lenet/1/model.pt", "runs/lenet.pt", "datasets/MNIST", "onnx/resnet18.onnx"]


def named_outputs() -> set[str]:
    """The files and folders in a checkout that the pages' commands write."""
    return {name for _, command in shell_commands() for names in _WRITES.findall(command) for name in names.split()}


@pytest.fixture(autouse=True)
def _needs_a_repository() -> None:
    inside = subprocess.run(["git", "rev-parse", "--is-inside-work-tree"], cwd=ROOT, capture_output=True, timeout=60)
    if inside.returncode:
        pytest.skip("not packaged: a checkout of git")


def test_what_the_pages_make_is_ignored_by_git() -> None:
    named = named_outputs()
    assert named >= {"look", "sorted", "report.html", "run.json", "before.json", "datasets", "dist"}
    assert not_ignored(sorted(f"{name}/x" if "." not in name else name for name in named) + BY_DEFAULT) == []


def test_what_belongs_to_the_repository_is_not_ignored() -> None:
    belong = ["README.md", "server/linnaeus/server/app/child.py", "tests/data/new.json", "docs/pictures/look/x.svg"]
    assert not_ignored(belong) == belong
