"""The numbers of the other codes, from the files they ship, by way of the command; and made-up people's.

Each check takes a folder with MPII's files and what it should find there, so that both run the same lines.
"""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from hourglass.cli.score import score

DATA = Path(os.environ.get("HOURGLASS_DATA", ""))
ROW = ("Head", "Sho", "Elb", "Wri", "Hip", "Knee", "Ank")

app = typer.Typer()
app.command()(score)


def report(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json", "-"])
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


# FACTS, B1: rows of MPII's 16 joints.
PAIRS = {"Sho": (12, 13), "Elb": (11, 14), "Wri": (10, 15), "Hip": (2, 3), "Knee": (1, 4), "Ank": (0, 5)}
BODY = [j for j in range(16) if j not in (6, 7)]


def counted(people: SimpleNamespace, predicted: Any, threshold: float, strict: bool) -> tuple[Any, Any]:
    """(16,) right and (16,) labelled, in loops."""
    right, labelled = np.zeros(16), np.zeros(16)
    for i, j in np.argwhere(people.labelled):
        distance = math.dist(predicted[i, j], people.points[i, j]) / people.head[i]
        right[j] += distance < threshold if strict else distance <= threshold
        labelled[j] += 1
    return right, labelled


def plain(people: SimpleNamespace, predicted: Any, code: str, threshold: float = 0.5) -> dict[str, float]:
    """The row of one code, from FACTS E2 and not from our protocols."""
    strict = code in ("bearpaw", "mmpose", "princeton-pytorch")
    right, labelled = counted(people, predicted, threshold, strict)
    shares = 100 * right / labelled
    row = {name: float(shares[list(pair)].mean()) for name, pair in PAIRS.items()}
    if code == "princeton-pytorch":
        # It counts both sides together.
        row = {n: float(100 * right[[*p]].sum() / labelled[[*p]].sum()) for n, p in PAIRS.items()}
    row["Head"] = float(shares[[8, 9]].mean() if code == "mpii-official" else shares[9])
    joints = list(range(16)) if code == "princeton-pytorch" else BODY
    pooled = 100 * right[joints].sum() / labelled[joints].sum()
    row["Mean"] = float(shares[BODY].mean() if code == "bearpaw" else pooled)
    return row


def close(found: dict[str, Any], wanted: dict[str, float], digits: int) -> None:
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, abs=0.5001 * 10**-digits), name


Check = Callable[[Path, SimpleNamespace | None], None]


def check_the_authors_predictions(root: Path, people: SimpleNamespace | None) -> None:
    found = report(root / "valid-ours.h5", "--truth", root / "detections_our_format.mat")["protocols"]
    row = dict(zip(ROW, (95.94, 94.68, 88.53, 83.38, 87.48, 83.09, 79.05), strict=True))
    means = {"mpii-official": 88.035, "bearpaw": 87.562, "hrnet": 88.035, "mmpose": 88.035}
    means |= {"princeton-pytorch": 88.956}
    for code, mean in means.items():
        scores = found[code]["scores"]["PCKh@0.5"]
        if people is not None:
            close(scores, plain(people, people.good, code), 3)
            continue
        close(scores, {"Mean": mean}, 3)
        if code in ("bearpaw", "hrnet", "mmpose"):
            # The published tables round the unrounded value; ours is rounded to three digits first.
            assert {name: f"{scores[name]:.2f}" for name in ROW} == {n: f"{v:.2f}" for n, v in row.items()}
    if people is None:
        close(found["mpii-official"]["scores"]["PCKh@0.5"], {"Head": 96.71}, 2)
        close(found["princeton-torch7"]["scores"]["PCKh@0.5"], {"Mean": 84.308}, 3)


def check_a_tenth(root: Path, people: SimpleNamespace | None) -> None:
    found = report(root / "valid-ours.h5", "--truth", root / "detections_our_format.mat")["protocols"]
    for code, table, threshold, mean in (
        ("mmpose", "PCKh@0.1", 0.1, 28.647),
        ("mpii-official", "PCKh@0.1", 0.1, 28.647),
        ("bearpaw", "PCKh@0.1", 0.1, 28.319),
        ("princeton-pytorch", "PCKh@0.1", 0.1, 28.797),
        ("hrnet", 'PCKh"@0.1" (0.11)', 0.11, 32.805),
    ):
        wanted = mean if people is None else plain(people, people.good, code, threshold)["Mean"]
        close(found[code]["scores"][table], {"Mean": wanted}, 3)
    if people is None:
        # FACTS E4: every joint.
        each = (24.49, 22.25, 16.23, 14.23, 22.07, 25.01, 19.32, 40.08, 43.11, 37.69)
        arms = (29.20, 34.11, 32.71, 33.39, 32.95, 29.01)
        assert list(found["mmpose"]["each"]["PCKh@0.1"].values()) == pytest.approx((*each, *arms), abs=0.0051)


def check_the_other_predictions(root: Path, people: SimpleNamespace | None) -> None:
    file = root / "detections_our_format.mat"
    found = report(file, "--truth", file)["protocols"]
    row = dict(zip(ROW, (95.60, 92.71, 83.36, 76.74, 81.93, 73.36, 65.45), strict=True))
    for code, mean in (("hrnet", 82.337), ("bearpaw", 81.458), ("princeton-pytorch", 71.524)):
        scores = found[code]["scores"]["PCKh@0.5"]
        close(scores, {"Mean": mean} if people is None else plain(people, people.worse, code), 3)
    if people is None:
        close(found["bearpaw"]["scores"]["PCKh@0.5"], row, 2)


def check_the_areas(root: Path, people: SimpleNamespace | None) -> None:
    truth = root / "detections_our_format.mat"
    for file, mean, row in (
        (truth, 55.78, (64.39, 58.25, 54.11, 46.35, 46.66, 42.36)),
        (root / "valid-ours.h5", 58.81, (65.57, 61.20, 56.54, 49.71, 52.58, 51.86)),
    ):
        found = report(file, "--truth", truth, "--protocol", "mpii-official")["protocols"]["mpii-official"]
        if people is None:
            close(found["scores"]["AUC"], {"Mean": mean, **dict(zip(ROW[1:], row, strict=True))}, 2)
            continue
        predicted = people.worse if file == truth else people.good
        curve = []
        for threshold in np.arange(51) / 100:
            right, labelled = counted(people, predicted, threshold, strict=False)
            curve.append(100 * right[BODY].sum() / labelled[BODY].sum())
        close(found["scores"]["AUC"], {"Mean": (sum(curve) - (curve[0] + curve[-1]) / 2) / 50}, 3)


def check_the_hidden_joints(root: Path, people: SimpleNamespace | None) -> None:
    truth = root / "detections_our_format.mat"
    for file, seen, hidden in ((truth, 88.31, 58.68), (root / "valid-ours.h5", 92.86, 68.93)):
        found = report(file, "--truth", truth, "--protocol", "hrnet", "--visibility", root / "valid.h5")
        part = found["protocols"]["hrnet"]
        wanted = [seen, hidden]
        if people is not None:
            predicted = people.worse if file == truth else people.good
            for n, which in enumerate((people.labelled & ~people.hidden, people.hidden)):
                apart = SimpleNamespace(**{**vars(people), "labelled": which})
                wanted[n] = plain(apart, predicted, "hrnet")["Mean"]
        close(part["visible"]["PCKh@0.5"], {"Mean": wanted[0]}, 2 if people is None else 3)
        close(part["hidden"]["PCKh@0.5"], {"Mean": wanted[1]}, 2 if people is None else 3)


def check_the_other_truths(root: Path, people: SimpleNamespace | None) -> None:
    """The same predictions against the authors' whole numbers and against the JSON."""
    ours = root / "valid-ours.h5"
    demo = report(ours, "--truth", root / "valid.h5")["protocols"]
    raw = report(ours, "--truth", root / "mpii_annotations.json.gz")["protocols"]
    if people is not None:
        for found in (demo, raw):
            close(found["bearpaw"]["scores"]["PCKh@0.5"], plain(people, people.good, "bearpaw"), 3)
        return
    # FACTS E4, with x > 1 and y > 1; the head top alone is 95.84 there.
    scores = demo["princeton-demo"]["scores"]["PCKh@0.5"]
    close(scores, {"Head": 96.67, "Elb": 88.54, "Ank": 79.07}, 2)
    close(scores, {"Mean": 87.561}, 3)
    close(demo["princeton-demo"]["each"]["PCKh@0.5"], {"head_top": 95.84}, 2)
    close(demo["hrnet"]["scores"]["PCKh@0.5"], {"Mean": 88.035}, 3)
    # 13 joints lie elsewhere in the JSON than in the .mat, which keeps them inside their picture (measured).
    close(raw["hrnet"]["scores"]["PCKh@0.5"], {"Mean": 88.041}, 3)


CHECKS = (
    check_the_authors_predictions,
    check_a_tenth,
    check_the_other_predictions,
    check_the_areas,
    check_the_hidden_joints,
    check_the_other_truths,
)


@pytest.mark.realdata
@pytest.mark.parametrize("check", CHECKS)
def test_published(check: Check) -> None:
    check(DATA / "mpii", None)


@pytest.mark.parametrize("check", CHECKS)
def test_made_up(check: Check, mpii: SimpleNamespace) -> None:
    check(mpii.root, mpii)


@pytest.mark.realdata
def test_every_joint_of_the_authors_predictions() -> None:
    root = DATA / "mpii"
    found = report(
        root / "valid-ours.h5", "--truth", root / "detections_our_format.mat", "--protocol", "hrnet"
    )
    each = found["protocols"]["hrnet"]["each"]["PCKh@0.5"]
    wanted = (78.87, 83.46, 87.99, 86.98, 82.73, 79.24, 92.08, 97.95, 97.48, 95.94, 83.27, 88.42, 94.23)
    assert list(each.values()) == pytest.approx((*wanted, 95.14, 88.64, 83.50), abs=0.0051)
    assert found["protocols"]["hrnet"]["counted"]["PCKh@0.5"]["Mean"] == 38_430


@pytest.mark.realdata
def test_a_pixel_more_costs_little_at_a_half_and_much_at_a_tenth() -> None:
    # FACTS E4. Saying that the predictions count from 0 adds the pixel.
    root = DATA / "mpii"
    arguments = (
        root / "valid-ours.h5",
        "--truth",
        root / "detections_our_format.mat",
        "--protocol",
        "mmpose",
    )
    before = report(*arguments)["protocols"]["mmpose"]["scores"]
    after = report(*arguments, "--count-from", 0)["protocols"]["mmpose"]["scores"]
    for table, cost, digits in (("PCKh@0.5", 0.015, 3), ("PCKh@0.1", 0.55, 2)):
        close({"cost": before[table]["Mean"] - after[table]["Mean"]}, {"cost": cost}, digits)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("file", "arguments", "code"),
    [
        ("lsp/joints.mat", [], "lsp-toolkit"),
        ("lsp/joints.mat", ["--split", "all"], "lsp-toolkit"),
        ("lspet/joints.mat", [], "hourglass"),
        ("flic/annot/valid.h5", [], "flic"),
        ("mpii/valid.h5", [], "mpii-official"),
    ],
)
def test_perfect_predictions_get_100(tmp_path: Path, file: str, arguments: list[str], code: str) -> None:
    from hourglass.evaluation.scoring.truth import read_truth

    truth = read_truth(DATA / file, arguments[1] if arguments else "")
    exact = np.where(truth.people.visibility[..., None] > 0, truth.people.keypoints, 0)
    np.save(tmp_path / "exact.npy", exact)
    found = report(tmp_path / "exact.npy", "--truth", DATA / file, *arguments)["protocols"][code]
    means = {name: score["Mean"] for name, score in found["scores"].items()}
    if code == "lsp-toolkit":
        # One of LSP's true sticks has no length, and the toolkit divides by it.
        sticks = 10 * len(truth)
        for name in ("PCP strict", "PCP loose"):
            assert means.pop(name) == pytest.approx(100 * (1 - 1 / sticks), abs=6e-4)
    assert set(means.values()) == {100.0}
    # In LSPET many have no torso to measure by.
    assert found["people_counted"] == (7461 if "lspet" in file else len(truth))


@pytest.mark.realdata
def test_flics_torso_is_the_persons_own() -> None:
    from hourglass.evaluation.scoring.truth import read_truth

    annotations = DATA / "flic" / "annot"
    observer, person = (read_truth(annotations / f"valid{kind}.h5") for kind in ("", "_personcentric"))
    np.testing.assert_array_equal(observer.people.lengths["file-torso"], person.people.lengths["file-torso"])
    from hourglass.evaluation.metrics.scores import reference

    own = reference(person.people, "other-torso")
    np.testing.assert_allclose(own, person.people.lengths["file-torso"], rtol=1e-4)
    # FACTS B4: on the observer-centric file the diagonal is another one for 4.7 % of the people.
    theirs = reference(observer.people, "other-torso")
    assert float((np.abs(theirs / own - 1) > 1e-4).mean()) == pytest.approx(0.047, abs=0.003)
