"""The base installation is enough for the library; the command names the extra that it needs."""

import pytest
from tests.blocked_packages import run_without

# The packages of the base installation; a program may import no others.
BASE = {"grpc", "grpc_status", "google", "linnaeus", "typing_extensions"}
OPTIONAL = {"typer", "rich", "numpy", "PIL", "torch", "hdrh", "matplotlib", "prometheus_client"}


def test_the_library_needs_no_extra(stub, pictures):
    (cat,) = pictures("cat.jpg")
    program = f"""
import asyncio
from linnaeus.client import *
with Client({stub.target!r}) as client:
    print(client.classify(b"a picture").top.label)
    print([outcome.unwrap().top.index for outcome in client.classify_many([{cat!r}, b"two"])])
    print([outcome.ok for outcome in client.classify_folder({cat.removesuffix("cat.jpg")!r})])

async def main():
    async with AsyncClient({stub.target!r}) as client:
        print([outcome.ok async for outcome in client.classify_many([{cat!r}, b""])])

asyncio.run(main())
"""
    expected = "tabby, tabby cat\n[281, 281]\n[True]\n[True, False]\n"
    assert run_without(OPTIONAL, program, base=BASE) == (0, expected, "")


def test_the_library_imports_no_extra():
    program = f"import linnaeus.client; print({OPTIONAL} & set(sys.modules))"
    assert run_without(set(), program) == (0, "set()\n", "")


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_extra_is_one_line_that_says_how_to_get_it(missing):
    program = "from linnaeus.client.cli import main; main([])"
    expected = f"linnaeus-client needs {missing}: pip install 'linnaeus[cli]'\n"
    assert run_without({missing}, program) == (1, "", expected)


def test_a_missing_extra_is_named_with_only_the_base_installed():
    program = "from linnaeus.client.cli import main; main(['classify', 'cat.jpg'])"
    status, output, errors = run_without(set(), program, base=BASE)
    assert (status, output) == (1, "")
    assert errors.startswith("linnaeus-client needs ") and errors.endswith(": pip install 'linnaeus[cli]'\n")


@pytest.mark.parametrize("missing", ["hdrh", "hdrh.histogram", "matplotlib", "prometheus_client.parser"])
def test_a_package_that_only_load_needs_names_its_extra(run_command, monkeypatch, missing):
    def application():
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr("linnaeus.client.cli._application", application)
    package = missing.partition(".")[0]
    ending = run_command("load")
    assert (ending.exit_code, ending.errors) == (1, f"linnaeus-client needs {package}: pip install 'linnaeus[load]'\n")


@pytest.mark.parametrize("missing", ["hdrh", "matplotlib", "prometheus_client"])
def test_load_names_a_missing_extra_before_anything_is_sent(stub, missing):
    program = f"from linnaeus.client.cli import main; main(['load', 'cat.jpg', '--server', {stub.target!r}])"
    expected = f"linnaeus-client needs {missing}: pip install 'linnaeus[load]'\n"
    assert run_without({missing}, program) == (1, "", expected)
    assert stub.requests == []


def test_every_public_name_exists():
    import linnaeus.client

    assert all(hasattr(linnaeus.client, name) for name in linnaeus.client.__all__)
    assert sorted(linnaeus.client.__all__) == linnaeus.client.__all__
