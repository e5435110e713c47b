"""The README and the other pages, as tests read them: their blocks, the commands in these, and what is not run."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
# Pages whose commands a reader types; the decision records have none.
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = {"python", "js"}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$(?:\n\n^```\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)

# Commands that need what comes before them on their page; tests/e2e/test_bring_your_own_model.py runs them in order.
FOLLOWED = r"\S*linnaeus-zoo (check|import) |\S*linnaeus-server --repository|.* --model mine "
# Commands that no test runs by themselves, by how they begin, with the reason.
NOT_RUN = {
    r"make ": "a target that installs, or tests, or runs until it is stopped; .ci/run calls those of a fresh checkout",
    r"(\w+=\S+ )?docker ": "needs Docker; tests/docker checks what these read, docker/container-test.sh the image",
    r"(envoy|nginx) ": "needs servers of these names; tests/e2e/test_load_balancers.py runs the files",
    r"\S*python -m benchmarks\.simulation": "takes minutes; tests/e2e/test_simulation.py runs it with small sizes",
    r"pip ": "reaches a package index; make test-install installs what these do",
    r"kubectl ": "needs a cluster; tests/docker/test_kubernetes.py and test_kserve.py check the manifests",
    r"helm ": "needs a cluster; tests/docker/test_helm_chart.py renders what these install",
    r"serve ": "needs Ray, and ports of its own; tests/e2e/test_ray.py runs these with free ones",
    r".* --server localhost:9000": "needs Ray's proxy; tests/e2e/test_ray.py runs it",
    r"\S*linnaeus-zoo export \S+ --weights DEFAULT": "downloads weights; tests/models/weights has a stand-in",
    r"linnaeus-server --repository s3://": "needs a bucket; tests/e2e/test_bucket_repository.py runs it with one",
    FOLLOWED: "needs what comes before it on its page; tests/e2e/test_bring_your_own_model.py runs all of that page",
    r"\S*linnaeus-zoo export --all": "takes minutes and gigabytes; tests/models exports every name",
    r"\S*linnaeus-zoo quantize ": "takes hundreds of pictures, and MNIST; tests/models/quantization has its own",
    r"\S*linnaeus-zoo (train|design-space) ": "downloads MNIST, trains for minutes; tests/models takes few digits",
}
# Programs and tools that tests/e2e/test_readme_calls.py and test_bring_your_own_model.py run, by how the block begins.
CALLS = {
    "Client": "from linnaeus.client import Client\n",
    "AsyncClient": "import asyncio\n",
    "batch and stream": "from pathlib import Path\n",
    "similarity search": "from glob import glob\n",
    "tritonclient": "import numpy\nimport tritonclient.grpc",
    "grpcurl": "grpcurl ",
    "buf curl": ".venv/bin/buf curl ",
    "trace torchvision": "import torch\nfrom torchvision.models import ",
    "trace timm": "import timm\n",
    "trace your own": "import torch\nfrom torch import nn\n",
    "export to ONNX": "import torch\n\nnetwork = torch.jit.load(",
    "fetch": 'const { readFile } = require("fs/promises");\n',
    "urllib": "import json\nfrom urllib.request import ",
    "Node": 'const fs = require("fs");\n',
}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: where it is.
        language: as the fence names it; empty for none.
        text: what is in it.
        output: the block without a language right below it, if there is one.
    """

    page: Path
    language: str
    text: str
    output: str


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, in order."""
    return [Block(page, *found) for found in _FENCE.findall(page.read_text(encoding="utf-8"))]


def block_of_call(name: str) -> Block:
    """The block of that name in CALLS; the same program may stand on several pages."""
    found = [block for page in PAGES for block in blocks(page) if block.text.startswith(CALLS[name])]
    texts = {block.text for block in found}
    if len(texts) != 1:
        raise LookupError(f"{name} stands on the pages in {len(texts)} versions")
    return found[0]


def commands(block: Block) -> list[str]:
    """The commands of a shell block: lines without their comments, with what a backslash or `<<END` adds to them."""
    found, lines = [], iter(block.text.splitlines())
    for line in lines:
        command = line
        while command.endswith("\\"):
            command = command[:-1].rstrip() + " " + next(lines).strip()
        if command.endswith("<<END"):
            for more in lines:
                command += f"\n{more}"
                if more == "END":
                    break
        found.append(re.sub(r"\s+# [^\n]*$", "", command) if "<<END" not in command else command)
    return [command for command in found if command.strip() and not command.startswith("#")]


def shell_commands() -> list[tuple[Path, str]]:
    """Every command of every shell block, with its page."""
    shell = [block for page in PAGES for block in blocks(page) if block.language == "sh"]
    return [(block.page, command) for block in shell for command in commands(block)]


def reason_not_to_run(command: str) -> str | None:
    """Why no test runs a command as it stands; None for one that is run."""
    return next((why for begins, why in NOT_RUN.items() if re.match(begins, command)), None)


def is_call(text: str) -> bool:
    """Whether a test of tests/e2e runs a block or command."""
    return any(text.startswith(begins.rstrip("\n")) for begins in CALLS.values())


def not_ignored(paths: Sequence[str]) -> list[str]:
    """Those of the paths in this checkout, existing or not, that git does not ignore."""
    command = ["git", "check-ignore", "--no-index", "--verbose", "--non-matching", "--stdin"]
    lines = subprocess.run(command, cwd=ROOT, input="\n".join(paths), capture_output=True, text=True, timeout=60).stdout
    return [line.partition("\t")[2] for line in lines.splitlines() if line.startswith("::\t")]
