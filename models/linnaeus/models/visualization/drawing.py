"""Text on pictures, in the one font that Pillow brings.

It knows Latin letters; others appear as boxes, and are to be read on the page, which has the reader's own fonts.
"""

from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

MARGIN = 20
# Heights of letters in pixels.
HEADING_SIZE, BODY_SIZE, SMALL_SIZE = 22, 15, 12
TEXT_COLOR = "#1b1f24"
MUTED_COLOR = "#5c6670"
WARNING_COLOR = "#a33b12"
_BACKGROUND = "white"


@lru_cache(maxsize=8)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font at a height in pixels."""
    return ImageFont.load_default(size)


def draw_text(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, color: str = TEXT_COLOR
) -> None:
    """Writes one line; `place` is its left upper corner."""
    draw.text(place, text, fill=color, font=font(size))


def text_width(text: str, size: int) -> float:
    """How many pixels a line is wide."""
    return font(size).getlength(text)


def truncate(text: str, size: int, width: float) -> str:
    """The text, or as much of it as fits `width` pixels, with an ellipsis for the rest."""
    if _fits(text, size, width):
        return text
    kept = len(text)
    while kept and not _fits(f"{text[:kept].rstrip()}…", size, width):
        kept -= 1
    return f"{text[:kept].rstrip()}…"


def wrap_path(number: int, path: str, size: int, width: float) -> tuple[str, ...]:
    """A number and a module's path, on two lines if need be; a part that is too long loses its beginning.

    The lines divide at a dot, the second as full as may be, because the end of a path tells most.
    """
    whole = f"{number} {path}"
    if _fits(whole, size, width):
        return (whole,)
    parts = path.split(".")
    begins = next((place for place in range(1, len(parts)) if _fits(".".join(parts[place:]), size, width)), None)
    if begins is None:
        return (_truncate_start(f"{number} ", path, size, width),)
    return _truncate_start(f"{number} ", ".".join(parts[:begins]), size, width), ".".join(parts[begins:])


def _fits(text: str, size: int, width: float) -> bool:
    return text_width(text, size) <= width


def _truncate_start(before: str, text: str, size: int, width: float) -> str:
    kept = text
    while kept and not _fits(f"{before}{kept if kept == text else '…' + kept}", size, width):
        kept = kept[1:]
    return f"{before}{kept if kept == text else '…' + kept}"


def blank_sheet(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty sheet, and what draws on it."""
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    return sheet, ImageDraw.Draw(sheet)
