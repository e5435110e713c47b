"""What is written into the output folder."""

from pathlib import Path

from PIL import Image

from linnaeus.models.visualization.image_analysis import ImageAnalysis
from linnaeus.models.visualization.output_files import save_analysis


def test_files_are_written_whole_and_replace_those_of_an_earlier_run(
    seven: ImageAnalysis, tiny_analysis: ImageAnalysis, tmp_path: Path
) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "mine.png").write_text("kept")
    save_analysis(tiny_analysis, tmp_path)
    written = save_analysis(seven, tmp_path, as_html=True)
    there = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert there == {*written, tmp_path / "stages" / "mine.png"}
    assert [path.name for path in written[:3]] == ["contact_sheet.png", "heat_map.png", "index.html"]
    assert [path.name for path in written[3:]] == [f"{n:03}_features.{n - 1}.png" for n in range(1, 7)]
    for path in written:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                picture.load()
