"""The generated modules of the blocking client are what the asyncio client generates."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "generate_sync_client.py"
SYNC = ROOT / "client" / "linnaeus" / "client" / "sync"


def test_the_committed_blocking_client_is_the_one_that_the_asyncio_client_generates() -> None:
    stamped = {path for path in SYNC.glob("*.py") if path.read_text(encoding="utf-8").startswith("# Generated")}
    generated = list(runpy.run_path(str(SCRIPT))["generate"]())
    assert {path for path, _ in generated} == stamped
    for path, text in generated:
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run `make sync-client`"
