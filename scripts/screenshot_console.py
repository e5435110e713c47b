"""Makes docs/pictures/console.png: the console with a classified picture and the map of where the model looked.

Needs Chromium, Playwright (`make test-setup`) and the models of `make demo`.
"""

import io
import sys
import threading
import time
from pathlib import Path
from typing import Any

from PIL import Image

from linnaeus.client import Client
from linnaeus.server.rpc.child_server import ServerProcess

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "pictures" / "console.png"
MAX_BYTES = 300_000
WIDTH, HEIGHT = 1440, 980
COLOURS = 256
WORK_SECONDS = 50


def main() -> None:
    """Writes the picture, and says how large it is."""
    with ServerProcess("--repository", str(ROOT / "model-repository"), "--http-port", "0") as server:
        shot = _screenshot(f"http://127.0.0.1:{server.http_port}/", server.target)
    _write_small(shot)
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size:,} bytes")


def _give_work(target: str) -> None:
    """Gives the server something to do, so that its plots have lines: waves of calls."""
    pictures = sorted((ROOT / "pictures" / "digits").glob("*.png"))
    with Client(target) as client:
        end = time.monotonic() + WORK_SECONDS
        wave = 0
        while time.monotonic() < end:
            wave += 1
            for _ in client.classify_many(pictures * (2 + wave * 7 % 19), model="lenet"):
                pass
            time.sleep(0.2)


def _screenshot(url: str, target: str) -> bytes:
    sys.path.append(str(ROOT / ".venv" / "playwright"))
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(url)
        page.locator("#target option").first.wait_for(state="attached")
        page.set_input_files(
            "#pick", [str(ROOT / "pictures" / f"{name}.jpg") for name in ("coffee", "chelsea", "camera")]
        )
        page.locator(".card:has-text('tripod')").wait_for()
        _make_map(page)
        worker = threading.Thread(target=_give_work, args=(target,))
        worker.start()
        page.wait_for_timeout(WORK_SECONDS * 1000)
        page.mouse.move(WIDTH - 1, HEIGHT - 1)
        shot: bytes = page.screenshot()
        worker.join()
        browser.close()
    return shot


def _make_map(page: Any) -> None:
    page.select_option("#grid", label="196 covers")
    page.click("#make-map")
    page.locator("#map:visible").wait_for(timeout=120_000)


def _write_small(shot: bytes) -> None:
    """Writes the picture with a palette, since a photograph in all its colours has several hundred kilobytes."""
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    palette = image.quantize(COLOURS)
    image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(PICTURE, optimize=True)
    if PICTURE.stat().st_size > MAX_BYTES:
        raise SystemExit(f"{PICTURE} has {PICTURE.stat().st_size} bytes, more than {MAX_BYTES}")


if __name__ == "__main__":
    main()
