from pathlib import Path

import pytest

from hourglass.inference.inputs_outputs import expand, output_folder, output_names


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "notes.txt", "deeper/c.jpg", "odd[1].jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def test_folders_globs_and_files_become_sorted_pictures(photos: Path) -> None:
    assert expand([photos]) == [photos / "a.PNG", photos / "b.jpg", photos / "odd[1].jpg"]
    assert expand([photos / "*"]) == expand([photos])
    assert expand([photos / "*.jpg"]) == [photos / "b.jpg", photos / "odd[1].jpg"]
    assert expand([photos / "**" / "c.*"]) == [photos / "deeper" / "c.jpg"]
    # A file named in full counts whatever its ending, and once.
    assert expand([photos / "notes.txt", photos / "b.jpg", photos / "b.*"]) == [
        photos / "notes.txt",
        photos / "b.jpg",
    ]
    assert expand([photos / "odd[1].jpg"]) == [photos / "odd[1].jpg"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.jpg", r"no file or folder .*none\.jpg"),
        ("*.gif", r"no picture matches .*\*\.gif"),
        ("empty", "empty holds no pictures"),
    ],
)
def test_what_is_not_there_is_named(photos: Path, name: str, message: str) -> None:
    (photos / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=message):
        expand([photos / name])


def test_result_names_never_clash() -> None:
    files = [Path(p) for p in ("x/a.jpg", "y/a.jpg", "b.jpg", "/q/x/a.png", "c/B.png", "y_a.jpg")]
    names = output_names(files)
    assert len({name.lower() for name in names}) == len(files)
    assert names[:2] == ["x_a", "y_a"]
    assert output_names([Path("p/one.jpg"), Path("p/two.jpg")]) == ["one", "two"]


def test_a_file_in_the_way_of_the_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(OSError, match=r"cannot write into .*taken"):
        output_folder(tmp_path / "taken")
    output_folder(tmp_path / "new" / "deep")
    assert list((tmp_path / "new" / "deep").iterdir()) == []
