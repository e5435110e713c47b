"""The generated modules of the blocking client are what the asyncio client generates."""

import runpy
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "generate_sync_client.py"


def test_the_committed_blocking_client_is_the_one_that_the_asyncio_client_generates() -> None:
    generated = list(runpy.run_path(str(SCRIPT))["generate"]())
    assert len(generated) == 4
    for path, text in generated:
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run `make sync-client`"
