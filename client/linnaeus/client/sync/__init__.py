"""The blocking client. `scripts/generate_sync_client.py` generates modules of this package from modules of `aio`."""
