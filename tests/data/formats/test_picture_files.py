from pathlib import Path

import pytest

from hourglass.data.formats.read_files import find_pictures


@pytest.mark.parametrize(
    ("there", "name", "found"),
    [
        ("a.jpg", "a.jpg", "a.jpg"),
        ("a.webp", "a.jpg", "a.webp"),
        ("a.WEBP", "a.jpg", "a.WEBP"),
        ("a.JPG", "a.jpg", "a.JPG"),
        ("sub/a.png", "sub/a.jpeg", "sub/a.png"),
        ("a.b.webp", "a.b.jpg", "a.b.webp"),
        ("a.png a.webp", "a.jpg", "a.png"),
        ("a.json", "a.jpg", None),
        ("a.webp", "b.jpg", None),
        ("a.jpg", "a", None),
        ("a.jpg", "a.txt", None),
        ("", "none/a.jpg", None),
    ],
)
def test_a_picture_is_found_under_another_ending(
    tmp_path: Path, there: str, name: str, found: str | None
) -> None:
    for file in there.split():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    places, missing = find_pictures(tmp_path, [name])
    assert places == ({name: tmp_path / found} if found else {})
    assert missing == ([] if found else [name])
