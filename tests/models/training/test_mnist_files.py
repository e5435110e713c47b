"""A folder with a broken download of MNIST is mended, and what is whole in it is left alone."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from torchvision.datasets import MNIST

from linnaeus.models.training import load_mnist

ARCHIVES = Path(__file__).resolve().parents[2] / "data" / "mnist"


@pytest.fixture
def folder(mnist: Path, tmp_path: Path) -> Path:
    """The raw files of an MNIST folder that a test may break."""
    shutil.copytree(mnist, tmp_path / "datasets")
    return tmp_path / "datasets" / "MNIST" / "raw"


class Quiet(SimpleHTTPRequestHandler):
    """Sends files and logs nothing."""

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two mirrors of MNIST: one that has nothing, and one that has the archives of the tests."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    digests = [(path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in ARCHIVES.glob("*.gz")]
    monkeypatch.setattr(MNIST, "resources", digests)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(ARCHIVES))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(MNIST, "mirrors", ["file:///gone/", f"{address}/"])
        yield
        server.shutdown()
        thread.join()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


BREAKS = {
    "missing": Path.unlink,
    "cut": cut,
    "empty": lambda file: file.write_bytes(b""),
    "a page of HTML": lambda file: file.write_bytes(b"<html>no such file</html>"),
}


@pytest.mark.parametrize("break_", BREAKS.values(), ids=BREAKS)
@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_missing_or_broken_file_is_downloaded_again(
    folder: Path, mirror: None, name: str, break_: Callable[[Path], object]
) -> None:
    whole = (folder / name).read_bytes()
    break_(folder / name)
    assert len(load_mnist(folder.parents[1], train=False)) == 10_000
    assert (folder / name).read_bytes() == whole


def test_an_archive_that_was_cut_is_downloaded_again(folder: Path, mirror: None) -> None:
    archive = folder / "train-labels-idx1-ubyte.gz"
    archive.write_bytes((ARCHIVES / archive.name).read_bytes()[:100])
    archive.with_suffix("").unlink()
    assert len(load_mnist(folder.parents[1], train=True)) == 2_000


def test_an_empty_folder_becomes_mnist(tmp_path: Path, mirror: None) -> None:
    assert len(load_mnist(tmp_path / "new", train=True)) == 2_000


def test_files_of_ones_own_that_are_whole_are_left_alone(folder: Path, mirror: None) -> None:
    own = folder / "train-labels-idx1-ubyte"
    changed = own.read_bytes()[:-1] + b"\x09"
    own.write_bytes(changed)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    assert int(load_mnist(folder.parents[1], train=True).classes[-1]) == 9
    assert own.read_bytes() == changed


@pytest.mark.parametrize(("break_", "state"), [(Path.unlink, "is missing"), (cut, "is broken")])
def test_what_cannot_be_downloaded_is_named_in_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, break_: Callable[[Path], object], state: str
) -> None:
    monkeypatch.setattr(MNIST, "mirrors", [])
    break_(folder / "t10k-images-idx3-ubyte")
    with pytest.raises(RuntimeError, match=rf"t10k-images-idx3-ubyte {state} and cannot be downloaded.*--data") as it:
        load_mnist(folder.parents[1], train=False)
    assert "\n" not in str(it.value)
