"""The asyncio client. `scripts/generate_sync_client.py` generates modules of `sync` from modules of this package."""
