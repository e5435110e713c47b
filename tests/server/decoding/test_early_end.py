"""Tests of `decode`: a JPEG with padding, or cut by a few bytes, is decoded with a warning, and not if more is."""

import logging

import numpy
import pytest
from tests.server.decoding.image_files import InputSpec, difference, photograph, refusal, run, save

from linnaeus.server.decoding import pillow_reader
from linnaeus.server.process.limited_log import LimitedLog

SPEC = InputSpec(3, 96, 96, 96, "bilinear")
PICTURE = photograph(160, 120)
FILES = [save(PICTURE, "JPEG", quality=90), save(PICTURE, "JPEG", quality=90, progressive=True)]
GREY = save(PICTURE.convert("L"), "JPEG")
CMYK = save(PICTURE.convert("CMYK"), "JPEG")


@pytest.fixture(autouse=True)
def unlimited_log(monkeypatch: pytest.MonkeyPatch) -> None:
    log = LimitedLog(logging.getLogger("early end"), logging.WARNING, interval_seconds=0.0)
    monkeypatch.setattr(pillow_reader, "_early_ends", log)


@pytest.mark.parametrize("padding", [bytes(500), b"\xff" * 300, b"text \xff\xda\xff\xd8" * 9])
@pytest.mark.parametrize("data", FILES)
def test_bytes_after_the_end_of_a_jpeg_mean_nothing(
    data: bytes, padding: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert numpy.array_equal(run(data + padding, SPEC), run(data, SPEC))
    assert not caplog.records


@pytest.mark.parametrize("cut", [1, 2, 3, 10, 30])
@pytest.mark.parametrize("padding", [b"", bytes(500)])
@pytest.mark.parametrize("data", [*FILES, GREY, CMYK], ids=["baseline", "progressive", "grey", "CMYK"])
def test_a_jpeg_cut_by_a_few_bytes_is_decoded(data: bytes, cut: int, padding: bytes) -> None:
    rows = run(data[:-cut] + padding, SPEC)
    assert difference(rows[:80], run(data, SPEC)[:80]).max() <= 8


@pytest.mark.parametrize("data", FILES)
def test_the_log_tells_of_a_jpeg_that_ends_early(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    run(data[:-2], SPEC)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and "ends early" in record.getMessage()


@pytest.mark.parametrize("data", [FILES[0], GREY, CMYK], ids=["colour", "grey", "CMYK"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
def test_a_jpeg_without_a_part_of_its_picture_is_refused(
    data: bytes, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    start = data.index(b"\xff\xda")
    assert "cut short" in str(refusal(data[: start + int((len(data) - start) * share * 0.97)]))
    assert not caplog.records


def test_a_progressive_jpeg_without_its_first_scan_is_refused() -> None:
    first = FILES[1].index(b"\xff\xda")
    second = FILES[1].index(b"\xff\xda", first + 2)
    assert "cut short" in str(refusal(FILES[1][: (first + second) // 2]))
