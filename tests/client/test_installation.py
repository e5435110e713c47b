"""The base installation is enough for the library, and says what the command needs besides."""

import pytest

BLOCK = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""
OPTIONAL = {"typer", "rich", "numpy", "PIL", "torch"}


@pytest.fixture
def run_without(start_python, patience_seconds):
    def run(blocked: set[str], program: str) -> tuple[int, str, str]:
        process = start_python("-c", BLOCK.format(blocked=blocked) + program)
        output, errors = process.communicate(timeout=patience_seconds)
        return process.returncode, output, errors

    return run


def test_the_library_needs_no_extra(run_without, stub):
    program = f"""
from linnaeus.client import *
with Client({stub.target!r}) as client:
    print(client.classify(b"a picture").top.label)
"""
    assert run_without(OPTIONAL, program) == (0, "tabby, tabby cat\n", "")


def test_the_library_looks_for_no_extra(run_without):
    program = f"import linnaeus.client; print({OPTIONAL} & set(sys.modules))"
    assert run_without(set(), program) == (0, "set()\n", "")


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_extra_is_one_line_that_says_how_to_get_it(run_without, missing):
    program = "from linnaeus.client.cli import main; main([])"
    expected = f"linnaeus-client needs {missing}: pip install 'linnaeus[cli]'\n"
    assert run_without({missing}, program) == (1, "", expected)


def test_everything_promised_is_there():
    import linnaeus.client

    assert all(hasattr(linnaeus.client, name) for name in linnaeus.client.__all__)
    assert sorted(linnaeus.client.__all__) == linnaeus.client.__all__
