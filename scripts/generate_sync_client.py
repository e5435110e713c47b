"""Generates modules of the blocking client (`sync/`) from those of the asyncio client (`aio/`).

`CODE` holds the substitutions for code, as httpcore's `unasync` script has them; `SENTENCES` holds the sentences of
docstrings that differ. Each must match somewhere, so that none is left behind when the source changes.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CLIENT = Path(__file__).resolve().parent.parent / "client" / "linnaeus" / "client"
MODULES = ("calls.py", "client.py", "connection.py", "hedged_call.py", "refused_call.py")
HEADER = "# Generated from ../aio/{name} by `make sync-client`. Do not edit.\n"

CODE = (
    (r"\n[^\n]*(?:\bHomeLoop\b|\b_home_loop\b)[^\n]*", ""),  # any thread may use the blocking client
    (r"\basync (?=def|for|with)", ""),
    (r"\bbuild\(\) if isinstance\(image, bytes\) else (?=await)", ""),
    (r"\bawait asyncio\.to_thread\(([\w.]+)\)", r"\1()"),
    (r"\btuple\(check_images\(images\)\)", "check_images(images)"),  # no other thread iterates over them
    (r"\bcall = method\(connection\)\(", "call = method(connection).future("),  # of a hedged call; others are awaited
    (r"\bawait ", ""),
    (r"\bAwaitable\[(\w+)\]", r"\1"),
    (r"\bimport Awaitable, ", "import "),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\bimport asyncio\n", ""),
    (r"\bfrom linnaeus\.client\.aio\.lock import Lock\b", "from threading import Lock"),
    (r"\bAsyncClient\b", "Client"),
    (r"\bAsyncGenerator\[(\w+), None\]", r"Generator[\1, None, None]"),
    (r"\bAsyncGenerator\b", "Generator"),
    (r"\b__aenter__\b", "__enter__"),
    (r"\b__aexit__\b", "__exit__"),
    (r"\bgrpc\.aio\b", "grpc"),
    (r"\blinnaeus\.client\.aio\b", "linnaeus.client.sync"),
)

SENTENCES = (
    ("The asyncio client:", "The blocking client:"),
    ("Classifies images without blocking the event loop.", "Classifies images; every call blocks until its answer."),
    (
        """
        - the client belongs to the event loop of its first call, and to that loop's thread; calls from another event
          loop raise a RuntimeError, only `close` does not;
""",
        """
        - any thread may use the client;
""",
    ),
    ("\n        - cancelling a task cancels its call, at the server too;", ""),
    (
        """
            async with contextlib.aclosing(client.classify_many(paths)) as outcomes:
                async for outcome in outcomes:
                    print(outcome.name, outcome.result.top.label if outcome.result else outcome.error)
""",
        """
            for outcome in client.classify_many(Path("pictures").glob("*.jpg")):
                print(outcome.name, outcome.result.top.label if outcome.result else outcome.error)
""",
    ),
    (
        """
            - `aclose()` cancels the calls in flight, at the server too. So does leaving the loop, but only `aclosing`
              determines when;
""",
        """
            - leaving the loop, or `close()`, cancels the calls in flight, at the server too;
""",
    ),
    (
        """from an iterable or an async iterable. A plain iterable
                is read on the event loop, so one that may block should be async.
""",
        """read in the caller's thread, between two outcomes.
""",
    ),
    ("from an iterable or an async iterable.", "read in the caller's thread, between two outcomes."),
    (
        """read call by call in another thread. Do not modify them
                until the call returns.
""",
        """read call by call.
""",
    ),
    (
        """if the folder is missing or holds no image; raised with the first outcome, when the folder is
                listed.
""",
        """if the folder is missing or holds no image.
""",
    ),
    (
        "Reads and converts the image, in another thread; bytes are not worth one.",
        "Reads and converts the image.",
    ),
    ("if the client is closed, or belongs to another event loop.", "if the client is closed."),
    ("\n            RuntimeError: if the client belongs to another event loop.", ""),
)


def generate() -> Iterator[tuple[Path, str]]:
    """Yields the path and the text of every generated module.

    Raises:
        ValueError: if a substitution matches nothing.
    """
    sources = {name: (CLIENT / "aio" / name).read_text(encoding="utf-8") for name in MODULES}
    for pattern, replacement in (*((re.escape(old), new.replace("\\", r"\\")) for old, new in SENTENCES), *CODE):
        changed = {name: re.sub(pattern, replacement, text) for name, text in sources.items()}
        if changed == sources:
            raise ValueError(f"nothing in {', '.join(MODULES)} matches {pattern!r}")
        sources = changed
    for name, text in sources.items():
        yield CLIENT / "sync" / name, _formatted(HEADER.format(name=name) + text)


def _formatted(text: str) -> str:
    """Sorts the imports and formats the text as the rest of the code."""
    # Without the setting, ruff takes a module for another package's as long as its file is missing.
    sort = ["check", "--select=I", "--fix-only", "--config", 'lint.isort.known-first-party = ["linnaeus"]']
    for command in (sort, ["format"]):
        arguments = [sys.executable, "-m", "ruff", *command, "--quiet", f"--stdin-filename={CLIENT / 'sync.py'}", "-"]
        text = subprocess.run(arguments, input=text, check=True, capture_output=True, text=True).stdout
    return text


if __name__ == "__main__":
    for path, text in generate():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(CLIENT.parents[2]))
