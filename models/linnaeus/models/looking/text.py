"""Text on pictures, in the one font that Pillow brings.

It knows Latin letters; others appear as boxes, and are to be read on the page, which has the reader's own fonts.
"""

from functools import lru_cache

from PIL import ImageDraw, ImageFont

INK = "#1b1f24"
FAINT = "#5c6670"
WARNING = "#a33b12"


@lru_cache(maxsize=8)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font at a height in pixels."""
    return ImageFont.load_default(size)


def write(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, colour: str = INK) -> None:
    """Writes one line; `place` is its left upper corner."""
    draw.text(place, text, fill=colour, font=font(size))


def shorten(text: str, size: int, width: float) -> str:
    """The text, or as much of it as fits `width` pixels, with an ellipsis for the rest."""
    if font(size).getlength(text) <= width:
        return text
    kept = len(text)
    while kept and font(size).getlength(f"{text[:kept].rstrip()}…") > width:
        kept -= 1
    return f"{text[:kept].rstrip()}…"


def shorten_path(number: int, path: str, size: int, width: float) -> str:
    """A number and a module's path, which loses its beginning where it is too long: its end tells more."""
    kept = path
    while font(size).getlength(f"{number} {kept if kept == path else '…' + kept}") > width:
        kept = kept[1:]
    return f"{number} {kept if kept == path else '…' + kept}"
