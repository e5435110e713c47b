"""Models as OpenVINO's frontend converted them, kept on disk between starts: reading one takes a hundredth of the time.

Reading and writing never fail a load: without the folder every load converts anew.
"""

import os
import shutil
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

# openvino's own types need the package, which may be missing
OpenVinoModel: TypeAlias = Any


class ConvertedModel:
    """The place of one artifact's converted model.

    Args:
        folder: the cache folder; empty for none.
        sha256: digest of the artifact.
    """

    def __init__(self, folder: str, sha256: str) -> None:
        self._path = Path(folder, f"openvino-{version('openvino')}-{sha256}.xml") if folder else None

    def find(self, core: Any) -> OpenVinoModel | None:
        """Returns the model; None if there is none that can be read. Its weights stay in the file, which is mapped."""
        if self._path is None or not self._path.exists():
            return None
        try:
            return core.read_model(self._path)
        except RuntimeError:
            return None

    def keep(self, model: OpenVinoModel) -> None:
        """Writes the model, whole or not at all; `find` needs its description, which comes last."""
        if self._path is None:
            return
        import openvino

        draft = ""
        try:
            draft = tempfile.mkdtemp(dir=self._path.parent)
            openvino.save_model(model, Path(draft, self._path.name), compress_to_fp16=False)
            for suffix in (".bin", ".xml"):
                os.replace(Path(draft, self._path.name).with_suffix(suffix), self._path.with_suffix(suffix))
        except (OSError, RuntimeError):
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
