"""`--sort-into DIR`: copies into the folder of each label; nothing is moved, overwritten or written elsewhere."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.client.cli.classify.sort_into import Sorter, folder_name


def label_by_content(stub, make_answer, labels: dict[bytes, str]) -> None:
    def behaviour(request, context):
        response = make_answer(request)
        response.classes[0].label = labels.get(request.image.encoded, "other")
        return response

    stub.on_classify = behaviour


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_image_is_copied_into_its_labels_folder(run_command, pictures, tmp_path, stub, make_answer):
    label_by_content(stub, make_answer, {b"a.jpg": "cat", b"b.jpg": "dog"})
    files = pictures("a.jpg", "b.jpg")
    ending = run_command("classify", *files, "--sort-into", tmp_path / "sorted")
    assert tree(tmp_path / "sorted") == {"cat/a.jpg": b"a.jpg", "dog/b.jpg": b"b.jpg"}
    assert [Path(file).read_bytes() for file in files] == [b"a.jpg", b"b.jpg"]
    assert ending.output.splitlines()[-1] == f"Copied 2 pictures into 2 folders of {tmp_path / 'sorted'}"
    assert ending.exit_code == 0


def test_a_name_that_exists_gets_a_number_and_nothing_is_overwritten(run_command, tmp_path):
    for folder in "abc":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cat.tar.jpg").write_text(folder)
    files = [tmp_path / folder / "cat.tar.jpg" for folder in "abc"]
    for _ in range(2):
        assert run_command("classify", *files, "--sort-into", tmp_path / "sorted").exit_code == 0
    numbers = ["", "-2", "-3", "-4", "-5", "-6"]
    expected = {f"cat.tar{number}.jpg": text for number, text in zip(numbers, "abcabc", strict=True)}
    found = tree(tmp_path / "sorted" / "tabby, tabby cat")
    assert found == {name: text.encode() for name, text in expected.items()}


def test_failures_are_not_copied(run_command, pictures, tmp_path):
    (cat,) = pictures("cat.jpg")
    ending = run_command("classify", f"{cat}.missing", cat, "--sort-into", tmp_path / "sorted")
    assert list(tree(tmp_path / "sorted")) == ["tabby, tabby cat/cat.jpg"]
    assert (ending.exit_code, ending.errors.count("\n")) == (1, 1)


def test_without_any_answer_no_folder_is_made(run_command, pictures, tmp_path):
    ending = run_command("classify", tmp_path / "missing.jpg", "--sort-into", tmp_path / "sorted")
    assert ending.exit_code == 1
    assert not (tmp_path / "sorted").exists()


def test_a_copy_that_cannot_be_made_is_one_line_and_keeps_the_answer(run_command, pictures, tmp_path):
    (tmp_path / "sorted").write_text("in the way")
    (cat,) = pictures("cat.jpg")
    ending = run_command("classify", cat, "--sort-into", tmp_path / "sorted", "--output", "csv")
    (row,) = csv.DictReader(io.StringIO(ending.output))
    assert (row["label"], row["copied_to"]) == ("tabby, tabby cat", "")
    assert ending.errors.startswith(f"linnaeus-client: {cat}: it could not be copied: ")
    assert (ending.exit_code, ending.errors.count("\n")) == (1, 1)
    assert (tmp_path / "sorted").read_text() == "in the way"


def test_csv_and_json_say_where_the_copy_is(run_command, pictures, tmp_path):
    (cat,) = pictures("cat.jpg")
    output = run_command("classify", cat, "--sort-into", tmp_path / "sorted", "--output", "csv").output
    (row,) = csv.DictReader(io.StringIO(output))
    assert row["copied_to"] == str(tmp_path / "sorted" / "tabby, tabby cat" / "cat.jpg")
    output = run_command("classify", cat, "--sort-into", tmp_path / "sorted", "--json").output
    assert "cat-2.jpg" in output


def test_an_image_from_standard_input_is_copied_too(run_command, tmp_path, monkeypatch):
    (tmp_path / "input").write_bytes(b"a picture")
    with open(tmp_path / "input") as file:
        monkeypatch.setattr("sys.stdin", file)
        run_command("classify", "-", "--sort-into", tmp_path / "sorted")
    assert tree(tmp_path / "sorted") == {"tabby, tabby cat/stdin": b"a picture"}


def test_an_incomplete_copy_is_removed(tmp_path, monkeypatch):
    def full(source, copy):
        copy.write(b"half")
        raise OSError(28, "No space left on device")

    (tmp_path / "cat.jpg").write_bytes(b"a picture")
    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        Sorter(tmp_path / "sorted").copy(str(tmp_path / "cat.jpg"), "cat.jpg", "cat")
    assert tree(tmp_path / "sorted") == {}


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("tabby, tabby cat", "tabby, tabby cat"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a/b\\c", "a_b_c"),
        ("", "unnamed"),
        (" ", "unnamed"),
        (".", "unnamed"),
        ("..", "unnamed"),
        (".hidden", "hidden"),
        ("bell\a\0", "bell__"),
        ("Katze ä 猫", "Katze ä 猫"),
        ("ä" * 200, "ä" * 127),
    ],
)
def test_a_label_becomes_the_name_of_one_folder(label, name):
    assert folder_name(label) == name


@given(st.text(st.characters(), max_size=300))
def test_the_folder_of_any_label_is_directly_inside_the_directory(label):
    name = folder_name(label)
    assert name not in ("", ".", "..")
    assert not name.startswith((".", " "))
    assert not set(name) & set("/\\\0\n")
    assert len(name.encode()) <= 255
