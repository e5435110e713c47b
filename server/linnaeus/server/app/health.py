"""Publishes the health of a server and of its devices."""

from linnaeus.server.engine.engine import Engine
from linnaeus.server.model_store.catalog import ModelState
from linnaeus.server.rpc.published_health import PublishedHealth


async def publish_health(engine: Engine, health: PublishedHealth) -> None:
    """Publishes the health of each device, and of the server: SERVING if every ready model has a working device."""
    states = engine.device_states
    for name, is_working in states.items():
        await health.set_device_status(name, is_working)
    if engine.core.unready_reason:
        await health.set_not_serving(engine.core.unready_reason)
        return
    ready = (entry for entry in engine.catalog.entries() if entry.state is ModelState.READY)
    stranded = [entry.lane for entry in ready if not any(states.get(name, False) for name in entry.devices)]
    if stranded:
        names = ", ".join(f"{lane.model}/{lane.version}" for lane in stranded)
        await health.set_not_serving(f"no device is left that runs {names}")
    else:
        await health.set_serving()
