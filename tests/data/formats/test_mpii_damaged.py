"""MPII's JSON with flipped bits, cut off, or with anything in a field: read as it is or refused."""

import gzip
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from damaged import anything, check_whole, misprinted, or_refusal, refusals
from hourglass.data.formats.annotations import Annotations
from hourglass.data.formats.mpii import read_hrnet, read_list
from mpii_forms import hrnet, person

quickly = partial(settings, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def joints_of(key: str, file: Path) -> Any:
    raw = file.read_bytes()
    entries = json.loads(gzip.decompress(raw) if file.suffix == ".gz" else raw)
    return np.array([entry[key] for entry in entries])[..., :2]


def first_entries(text: str, count: int) -> list[Any]:
    """The first of a long list, without parsing all of it."""
    entries, place = [], text.index("{")
    for _ in range(count):
        entry, place = json.JSONDecoder().raw_decode(text, place)
        entries.append(entry)
        place = text.index("{", place)
    return entries


@pytest.mark.realdata
@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_flipped_bits_in_some_of_the_real_list(real_data: Path, tmp_path: Path, count: int) -> None:
    text = gzip.decompress((real_data / "mpii" / "mpii_annotations.json.gz").read_bytes()).decode()
    some = json.dumps(first_entries(text, 12)).encode()
    told, file = partial(joints_of, "joint_self"), tmp_path / f"list{count}.json.gz"
    # Packed after the damage, as the checksum of a packed file tells nearly all of it.
    pack = partial(gzip.compress, compresslevel=1, mtime=0)
    # One bracket or flag in the right place is enough for a refusal, so few plain flips pass.
    assert refusals(read_list, told, file, some, count, pack=pack) > count / 2
    assert count / 20 < refusals(read_list, told, file, some, count, misprinted, pack) < count * 19 / 20


@pytest.mark.realdata
@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_flipped_bits_in_the_whole_real_list(real_data: Path, tmp_path: Path, count: int) -> None:
    whole = (real_data / "mpii" / "mpii_annotations.json.gz").read_bytes()
    told = partial(joints_of, "joint_self")
    assert refusals(read_list, told, tmp_path / "list.json.gz", whole, count) >= 0.95 * count


@pytest.mark.realdata
@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_flipped_bits_in_the_real_file_of_hrnet(real_data: Path, tmp_path: Path, count: int) -> None:
    whole = (real_data / "mpii" / "test_mpii.json").read_bytes()
    told, file = partial(joints_of, "joints"), tmp_path / f"valid{count}.json"
    assert refusals(read_hrnet, told, file, whole, count) > count / 2
    assert count / 20 < refusals(read_hrnet, told, file, whole, count, misprinted) < count * 19 / 20


Reader = Callable[[Path], Annotations]
FORMS: dict[str, tuple[Reader, Callable[..., dict[str, Any]]]] = {
    "list": (read_list, person),
    "hrnet": (read_hrnet, lambda **changes: hrnet(person(**changes))),
}
FIELDS = [("list", key) for key in sorted(person())] + [("hrnet", key) for key in sorted(hrnet(person()))]


@quickly(max_examples=300)
@given(st.sampled_from(FIELDS), anything)
def test_anything_in_a_field(tmp_path: Path, field: tuple[str, str], value: Any) -> None:
    form, key = field
    read, make = FORMS[form]
    file = tmp_path / "any.json"
    file.write_text(json.dumps([make(), make(people_index=3) | {key: value}]))
    people = or_refusal(partial(read, file), file)
    if people is not None:
        check_whole(people)
        assert len(people) == 2


@quickly(max_examples=200)
@given(st.sampled_from(sorted(FORMS)), st.lists(anything, max_size=3) | anything)
def test_any_json_is_refused(tmp_path: Path, form: str, content: Any) -> None:
    file = tmp_path / "any.json"
    file.write_text(json.dumps(content))
    assert or_refusal(partial(FORMS[form][0], file), file) is None


@quickly(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(-1e9, 1e9) | st.just(float("nan")), min_size=48, max_size=48),
            st.floats(1e-12, 1e12),
            st.tuples(st.floats(), st.floats()),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_numbers_of_any_size(tmp_path: Path, drawn: list[Any]) -> None:
    entries = [
        person(
            joint_self=[[*joint[:2], float(joint[2] > 0)] for joint in np.reshape(numbers, (16, 3)).tolist()],
            scale_provided=scale,
            objpos=list(middle),
            people_index=n,
        )
        for n, (numbers, scale, middle) in enumerate(drawn)
    ]
    file = tmp_path / "any.json"
    file.write_text(json.dumps(entries))
    people = or_refusal(partial(read_list, file), file)
    if people is not None:
        check_whole(people)
        assert len(people) == len(entries)


def test_a_long_text_among_numbers_is_told_at_once(tmp_path: Path) -> None:
    # As an array of text, all rows would be as long: 40 GB.
    entries = [person(people_index=n) for n in range(1000)]
    for key, value in (("scale_provided", "9" * 10**7), ("objpos", [1.0, "9" * 10**7])):
        entries[500] = person(people_index=500) | {key: value}
        with pytest.raises(ValueError, match=f"list: row 500: '{key}' is not"):
            read_list(tmp_path / "list", entries)
