"""The console in a browser: what a person does there, and what the page says."""

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnaeus.server.rpc.child_server import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

# A browser may have to wait for the other tests' processes.
PATIENCE_MILLISECONDS = 60_000
# Makes the event that a browser makes when files are dropped, which no driver can.
DROP = """(files) => {
  const transfer = new DataTransfer();
  for (const { name, content } of files) {
    const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
    transfer.items.add(new File([bytes], name));
  }
  for (const kind of ["dragenter", "dragover", "drop"]) {
    document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }
}"""
PASTE = """({ name, content }) => {
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
  transfer.items.add(new File([bytes], name));
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));
}"""


def console_of(server: ServerProcess) -> str:
    """Returns the address of a server's console, with a slash at its end."""
    return f"http://127.0.0.1:{server.http_port}/"


class ConsolePage:
    """One open console.

    Attributes:
        url: the server's address, with a slash at its end.
        page: the browser's page.
        errors: what the browser's console had of errors and warnings, and exceptions that nothing caught.
        requests: the addresses that the page asked.
    """

    def __init__(self, context: "BrowserContext", url: str, until: str) -> None:
        self.url = url
        self.errors = list[str]()
        self.requests = list[str]()
        self._context = context
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        self.page: Page = context.new_page()
        self.page.on("console", lambda message: self._told(message.type, message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)
        self.expect(until).not_to_have_count(0)

    def close(self) -> None:
        self._context.close()

    def close_after(self, failures: str) -> None:
        """Closes the page, whose requests were to fail: the browser itself reports each; `failures` is what it says."""
        self.close()
        self.errors = [error for error in self.errors if not re.search(failures, error)]

    def expect(self, selector: str) -> Any:
        """Returns assertions about what a selector finds, which wait until they hold."""
        from playwright.sync_api import expect

        expect.set_options(timeout=PATIENCE_MILLISECONDS)
        return expect(self.find(selector))

    def find(self, selector: str) -> "Locator":
        return self.page.locator(selector)

    def text(self, selector: str) -> str:
        return self.find(selector).inner_text().replace("\u00a0", " ")

    def pick(self, *paths: Path) -> None:
        """Chooses files, and waits until each has its answers."""
        self.page.set_input_files("#pick", [str(path) for path in paths])
        self.wait_for_answers()

    def pick_content(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Chooses files of these names and contents, and waits until each has its answers."""
        chosen: Any = [{"name": name, "mimeType": "image/jpeg", "buffer": content} for name, content in files]
        self.page.set_input_files("#pick", chosen)
        self.wait_for_answers()

    def drop(self, *paths: Path) -> None:
        """Drops files on the page, and waits until each has its answers."""
        self.page.evaluate(DROP, [_file(path) for path in paths])
        self.wait_for_answers()

    def paste(self, path: Path) -> None:
        """Pastes a file, and waits until it has its answers."""
        self.page.evaluate(PASTE, _file(path))
        self.wait_for_answers()

    def wait_for_answers(self) -> None:
        self.expect("#summary").to_have_text(re.compile(r"^\d+ pictures?, "))

    def labels(self) -> list[str]:
        """Returns the best label of each answer on the stage."""
        return self.find(".headline-label").all_inner_texts()

    def _told(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.errors.append(text)


def _file(path: Path) -> dict[str, str]:
    return {"name": path.name, "content": base64.b64encode(path.read_bytes()).decode()}
