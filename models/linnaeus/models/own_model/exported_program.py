"""Describes what `torch.export.save` wrote, by its JSON; the program is not loaded."""

import json
import zipfile
from typing import Any

# Where releases of torch put the program in the archive.
PROGRAM_NAMES = ("models/model.json", "serialized_exported_program.json")
# Far above the graph of any network; what is cut there is not valid JSON.
_MOST_BYTES = 256 * 1024 * 1024
_ADVICE = (
    "the server runs TorchScript: in Python, network = torch.export.load(FILE).module(), then trace that "
    "(docs/bring-your-own-model.md shows how)"
)


def describe(archive: zipfile.ZipFile) -> tuple[str, str]:
    """Returns a description that completes "it is …", and what to do."""
    name = next((each for each in archive.namelist() if each.endswith(PROGRAM_NAMES)), None)
    if name is None:
        return "a package of torch.export without a program, such as AOTInductor's", (
            "the server runs TorchScript: trace the network that it was compiled from"
        )
    try:
        with archive.open(name) as file:
            graph = json.loads(file.read(_MOST_BYTES))["graph_module"]
        inputs = [
            _input(graph, spec["user_input"]["arg"])
            for spec in graph["signature"]["input_specs"]
            if "user_input" in spec
        ]
    except (ValueError, KeyError, TypeError):
        return "an exported program (torch.export)", _ADVICE
    return f"an exported program (torch.export): takes {', '.join(inputs)}", _ADVICE


def _input(graph: Any, argument: Any) -> str:
    name = argument["as_tensor"]["name"]
    sizes = graph["graph"]["tensor_values"][name]["sizes"]
    return f"{name} [{', '.join(str(size.get('as_int', 'any')) for size in sizes)}]"
