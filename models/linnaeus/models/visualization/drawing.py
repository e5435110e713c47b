"""What all drawings share: blank sheets, and text in Pillow's built-in font.

That font has Latin letters only. Other letters appear as boxes; the HTML page shows them in the browser's fonts.
"""

from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

MARGIN = 20
# Font sizes in pixels.
HEADING_SIZE, BODY_SIZE, SMALL_SIZE = 22, 15, 12
TEXT_COLOR = "#1b1f24"
MUTED_COLOR = "#5c6670"
WARNING_COLOR = "#a33b12"
_BACKGROUND = "white"


@lru_cache(maxsize=8)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Returns the font in a size in pixels."""
    return ImageFont.load_default(size)


def draw_text(
    draw: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, size: int, color: str = TEXT_COLOR
) -> None:
    """Draws one line of text; `corner` is its upper left corner."""
    draw.text(corner, text, fill=color, font=font(size))


def text_width(text: str, size: int) -> float:
    """Returns the width of one line of text in pixels."""
    return font(size).getlength(text)


def truncate(text: str, size: int, width: float) -> str:
    """Truncates the text to `width` pixels; ends it with an ellipsis if something is cut off."""
    if _fits(text, size, width):
        return text
    kept = len(text)
    while kept and not _fits(f"{text[:kept].rstrip()}…", size, width):
        kept -= 1
    return f"{text[:kept].rstrip()}…"


def wrap_path(number: int, path: str, size: int, width: float) -> tuple[str, ...]:
    """Returns a number and a module's path in one or two lines of at most `width` pixels.

    The break is at a dot, with as much as possible on the second line, because the end of a path is the most specific
    part. A line that is too long loses its beginning.
    """
    whole = f"{number} {path}"
    if _fits(whole, size, width):
        return (whole,)
    parts = path.split(".")
    split = next((index for index in range(1, len(parts)) if _fits(".".join(parts[index:]), size, width)), None)
    if split is None:
        return (_truncate_start(f"{number} ", path, size, width),)
    return _truncate_start(f"{number} ", ".".join(parts[:split]), size, width), ".".join(parts[split:])


def _fits(text: str, size: int, width: float) -> bool:
    return text_width(text, size) <= width


def _truncate_start(prefix: str, text: str, size: int, width: float) -> str:
    kept = text
    while kept and not _fits(f"{prefix}{kept if kept == text else '…' + kept}", size, width):
        kept = kept[1:]
    return f"{prefix}{kept if kept == text else '…' + kept}"


def blank_sheet(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Returns an empty sheet and the object that draws on it."""
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    return sheet, ImageDraw.Draw(sheet)
