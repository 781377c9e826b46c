import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hourglass.core.skeleton import COCO17, LSP14, MPII16, Skeleton
from hourglass.data.formats.annotations import Annotations
from hourglass.evaluation.metrics.oks import Detections
from hourglass.evaluation.metrics.protocols import (
    BEARPAW,
    COCO,
    HOURGLASS,
    HRNET,
    JHU_SLIDES,
    LSP_TOOLKIT,
    MMPOSE,
    MPII_OFFICIAL,
    PRINCETON_DEMO,
    PRINCETON_PYTORCH,
    PRINCETON_TORCH7,
    PROTOCOLS,
    Protocol,
    protocol,
)
from hourglass.evaluation.metrics.scores import NotApplicable, evaluate_protocol

# Rows of MPII's 16 joints, as the other codes number them.
RANK, RKNE, RHIP, LHIP, LKNE, LANK, PELV, THRX, NECK, TOP, RWRI, RELB, RSHO, LSHO, LELB, LWRI = range(16)
PAIRS = {
    "Sho": (LSHO, RSHO),
    "Elb": (LELB, RELB),
    "Wri": (LWRI, RWRI),
    "Hip": (LHIP, RHIP),
    "Knee": (LKNE, RKNE),
    "Ank": (LANK, RANK),
}
NOT_BODY = (PELV, THRX)


def crowd_of(seed: int = 0, count: int = 300) -> tuple[Annotations, Any]:
    """MPII people with heads of 20, so that distances in whole pixels hit thresholds exactly."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 300, (count, 16, 2)).astype(float)
    # Along an axis, so that the distance is whole too: 2 is 0.1, 10 is 0.5.
    step = rng.integers(0, 16, (count, 16))
    along = rng.integers(0, 2, (count, 16))
    predicted = truth + step[..., None] * np.stack([along, 1 - along], -1)
    visibility = rng.choice([0, 1, 2], (count, 16), p=[0.1, 0.2, 0.7]).astype(np.uint8)
    truth[visibility == 0] = 0
    return Annotations.of(MPII16, truth, visibility, True, {"head": np.full(count, 20.0)}), predicted


def per_joint(
    people: Annotations, predicted: Any, threshold: float, strict: bool
) -> tuple[list[float], list[int]]:
    """Percent right and how many counted, joint by joint, in loops."""
    shares, counts = [], []
    for j in range(16):
        right = counted = 0
        for i in range(len(people)):
            if people.visibility[i, j] == 0:
                continue
            relative = math.dist(predicted[i, j], people.keypoints[i, j]) / people.lengths["head"][i]
            counted += 1
            right += relative < threshold if strict else relative <= threshold
        shares.append(100 * right / counted)
        counts.append(counted)
    return shares, counts


def pooled(shares: list[float], counts: list[int], joints: Any) -> float:
    return float(sum(shares[j] * counts[j] for j in joints) / sum(counts[j] for j in joints))


def check(score: Any, table: str, wanted: Mapping[str, float]) -> None:
    for line, value in wanted.items():
        assert score[table, line] == pytest.approx(value, abs=1e-9), line


def test_bearpaw_as_its_script_computes_it() -> None:
    people, predicted = crowd_of()
    score = evaluate_protocol(BEARPAW, people, predicted)
    for table, threshold in (("PCKh@0.5", 0.5), ("PCKh@0.1", 0.1)):
        shares, _ = per_joint(people, predicted, threshold, strict=True)
        body = [shares[j] for j in range(16) if j not in NOT_BODY]
        columns = {name: (shares[a] + shares[b]) / 2 for name, (a, b) in PAIRS.items()}
        check(score, table, {"Head": shares[TOP], **columns, "Mean": sum(body) / 14})


def test_hrnet_as_its_dataset_computes_it() -> None:
    people, predicted = crowd_of(1)
    score = evaluate_protocol(HRNET, people, predicted)
    body = [j for j in range(16) if j not in NOT_BODY]
    # Entry 11 of its thresholds.
    for table, threshold in (("PCKh@0.5", 0.5), ('PCKh"@0.1" (0.11)', np.arange(0, 0.51, 0.01)[11])):
        shares, counts = per_joint(people, predicted, threshold, strict=False)
        check(score, table, {"Head": shares[TOP], "Mean": pooled(shares, counts, body)})


def test_mmpose_as_its_metric_computes_it() -> None:
    people, predicted = crowd_of(2)
    score = evaluate_protocol(MMPOSE, people, predicted)
    body = [j for j in range(16) if j not in NOT_BODY]
    for table, threshold in (("PCKh@0.5", 0.5), ("PCKh@0.1", 0.1)):
        shares, counts = per_joint(people, predicted, threshold, strict=True)
        check(score, table, {"Head": shares[TOP], "Mean": pooled(shares, counts, body)})


def test_the_official_toolkit() -> None:
    people, predicted = crowd_of(3)
    score = evaluate_protocol(MPII_OFFICIAL, people, predicted)
    body = [j for j in range(16) if j not in NOT_BODY]
    upper = [RWRI, RELB, RSHO, LSHO, LELB, LWRI]
    curves = []
    for threshold in np.arange(51) / 100:
        shares, counts = per_joint(people, predicted, threshold, strict=False)
        curves.append(pooled(shares, counts, body))
    shares, counts = per_joint(people, predicted, 0.5, strict=False)
    columns = {name: (shares[a] + shares[b]) / 2 for name, (a, b) in PAIRS.items()}
    wanted = {
        "Head": (shares[TOP] + shares[NECK]) / 2,
        **columns,
        "UBody": pooled(shares, counts, upper),
        "Mean": pooled(shares, counts, body),
    }
    check(score, "PCKh@0.5", wanted)
    area = sum((a + b) / 2 for a, b in itertools.pairwise(curves)) / 50
    check(score, "AUC", {"Mean": area})
    assert score.curve is not None
    np.testing.assert_allclose(100 * score.curve[1], curves)


def on_coco(seed: int, count: int) -> tuple[Annotations, Any]:
    """COCO people in crops of 40 to 200 px, with whole distances: a twentieth of a crop is 2 to 10."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 300, (count, 17, 2)).astype(float)
    step, along = rng.integers(0, 12, (count, 17)), rng.integers(0, 2, (count, 17))
    predicted = truth + step[..., None] * np.stack([along, 1 - along], -1)
    visibility = rng.choice([0, 1, 2], (count, 17), p=[0.4, 0.2, 0.4]).astype(np.uint8)
    crops = np.asarray(20 * rng.integers(2, 11, count), np.float64)
    return Annotations.of(COCO17, truth, visibility, True, {"crop": crops}), predicted


def slides_pck(people: Annotations, predicted: Any, batch: int = 16) -> float:
    """As the code goes: distances in heatmap cells over a tenth of the heatmap, below 0.5, batch by batch."""
    cells, total, weight = 64, 0.0, 0
    for start in range(0, len(people), batch):
        shares = []
        for joint in range(16):
            right = counted = 0
            for i in range(start, min(start + batch, len(people))):
                if people.visibility[i, joint]:
                    scale = cells / people.lengths["crop"][i]
                    off = math.dist(predicted[i, joint] * scale, people.keypoints[i, joint] * scale)
                    counted += 1
                    right += round(off / (cells / 10), 9) < 0.5
            if counted:
                shares.append(right / counted)
        total += sum(shares) / len(shares) * len(shares)
        weight += len(shares)
    return 100 * total / weight


@pytest.mark.parametrize("count", [16, 37, 5])
def test_the_slides_code(count: int) -> None:
    people, predicted = on_coco(count, count)
    score = evaluate_protocol(JHU_SLIDES, people, predicted)
    (table,) = JHU_SLIDES.tables
    assert score[table.name, "Mean"] == pytest.approx(slides_pck(people, predicted), abs=1e-9)


def test_the_slides_pck_by_hand() -> None:
    """17 people of one joint each but for the last: two batches, of which the second has two kinds."""
    truth, predicted = np.full((17, 17, 2), 50.0), np.full((17, 17, 2), 50.0)
    visibility = np.zeros((17, 17), np.uint8)
    visibility[:, 0] = visibility[16, 5] = visibility[16, 16] = 2
    # Of a crop of 100 px a twentieth is 5: that is not below it, 4.9 is. Four of the first 16 are wrong.
    predicted[:4, 0, 0] += 5.0
    predicted[4:16, 0, 1] += 4.9
    predicted[16, 16] += 40  # the right ankle, row 16, doesn't count
    predicted[16, 5] += 40
    people = Annotations.of(COCO17, truth, visibility, True, {"crop": np.full(17, 100.0)})
    score = evaluate_protocol(JHU_SLIDES, people, predicted)
    # Batches: (0.75) of one kind; (1 + 0) / 2 of two kinds. Weighed by kinds: (0.75 + 1.0) / 3.
    assert score["PCK@0.05 of the crop", "Mean"] == pytest.approx(100 * 1.75 / 3)
    assert score.person[16] == 0.5


def test_the_princeton_codes() -> None:
    people, predicted = crowd_of(4)
    shares, counts = per_joint(people, predicted, 0.5, strict=False)
    # accIdxs of the training code, 1-based.
    chosen = [row - 1 for row in (1, 2, 3, 4, 5, 6, 11, 12, 15, 16)]
    torch7 = evaluate_protocol(PRINCETON_TORCH7, people, predicted)
    check(torch7, "PCKh@0.5", {"Mean": sum(shares[j] for j in chosen) / 10})

    shares, counts = per_joint(people, predicted, 0.5, strict=True)
    port = evaluate_protocol(PRINCETON_PYTORCH, people, predicted)
    wanted = {name: pooled(shares, counts, pair) for name, pair in PAIRS.items()}
    wanted |= {"Pelv": shares[PELV], "Thor": shares[THRX], "Neck": shares[NECK], "Head": shares[TOP]}
    check(port, "PCKh@0.5", {**wanted, "Mean": pooled(shares, counts, range(16))})


def test_the_princeton_demo_leaves_out_joints_at_the_border() -> None:
    people, predicted = crowd_of(5)
    edge = people.keypoints.copy()
    edge[:50, TOP] = (1, 77)
    edge[50:90, TOP] = (77, 0.5)
    inside = people.visibility.copy()
    inside[(edge <= 1).any(-1)] = 0
    near, far = replace(people, keypoints=edge), replace(people, keypoints=edge, visibility=inside)
    score = evaluate_protocol(PRINCETON_DEMO, near, predicted)
    shares, _ = per_joint(far, predicted, 0.5, strict=False)
    check(
        score,
        "PCKh@0.5",
        {"Head": (shares[TOP] + shares[NECK]) / 2, "Sho": (shares[RSHO] + shares[LSHO]) / 2},
    )


@pytest.mark.parametrize(
    ("rules", "right"),
    [
        (MPII_OFFICIAL, True),
        (HRNET, True),
        (PRINCETON_TORCH7, True),
        (PRINCETON_DEMO, True),
        (BEARPAW, False),
        (MMPOSE, False),
        (PRINCETON_PYTORCH, False),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_exactly_at_the_threshold(rules: Any, right: bool) -> None:
    truth = np.full((1, 16, 2), 50.0)
    people = Annotations.of(MPII16, truth, np.full((1, 16), 2, np.uint8), True, {"head": np.array([20.0])})
    score = evaluate_protocol(rules, people, truth + np.array([0, 10]))
    assert score["PCKh@0.5", "Mean"] == (100 if right else 0)


def test_hrnets_tenth_is_eleven_hundredths() -> None:
    truth = np.full((1, 16, 2), 50.0)
    people = Annotations.of(MPII16, truth, np.full((1, 16), 2, np.uint8), True, {"head": np.array([100.0])})
    predicted = truth + np.array([10.5, 0])
    assert evaluate_protocol(HRNET, people, predicted)['PCKh"@0.1" (0.11)', "Mean"] == 100
    assert evaluate_protocol(MMPOSE, people, predicted)["PCKh@0.1", "Mean"] == 0


def test_lsp_pck_as_the_toolkit_computes_it() -> None:
    rng = np.random.default_rng(6)
    truth = rng.uniform(0, 150, (80, 14, 2))
    predicted = truth + rng.normal(0, 15, truth.shape)
    people = Annotations.of(LSP14, truth, np.full((80, 14), 2, np.uint8), True)
    score = evaluate_protocol(LSP_TOOLKIT, people, predicted)
    # 1-based rows 10 and 3 of the toolkit: left shoulder and right hip.
    torso = [math.dist(person[9], person[2]) for person in truth]
    for table, threshold in (("PCK@0.2", 0.2), ("PCK@0.1", 0.1), ("PDJ@0.5", 0.5)):
        right = np.array(
            [
                [math.dist(predicted[i, j], truth[i, j]) / torso[i] <= threshold for j in range(14)]
                for i in range(80)
            ]
        )
        each = 100 * right.mean(0)
        wanted = {
            "Head": (each[12] + each[13]) / 2,
            "Wri": (each[6] + each[11]) / 2,
            "Mean": 100 * right.mean(),
        }
        check(score, table, wanted)
    curve = [
        100
        * np.mean(
            [math.dist(predicted[i, j], truth[i, j]) <= t * torso[i] for i in range(80) for j in range(14)]
        )
        for t in np.arange(21) / 100
    ]
    check(score, "AUC 0.2", {"Mean": sum((a + b) / 2 for a, b in itertools.pairwise(curve)) / 20})


def test_the_pcp_table_merges_sides_and_its_total_does_not() -> None:
    # One person whose right forearm alone is wrong: 1 of 10 sticks, half of one of 6 columns.
    truth = np.random.default_rng(7).uniform(0, 150, (1, 14, 2))
    predicted = truth.copy()
    predicted[0, LSP14.index("right_wrist")] += 1000
    score = evaluate_protocol(
        LSP_TOOLKIT, Annotations.of(LSP14, truth, np.full((1, 14), 2, np.uint8), True), predicted
    )
    wanted = {"Torso": 100, "U.leg": 100, "L.leg": 100, "U.arm": 100, "Forearm": 50, "Head": 100, "Mean": 90}
    check(score, "PCP strict", wanted)
    check(score, "PCP strict", {"right_forearm": 0, "left_forearm": 100})


def test_our_own_equals_hourglass_evaluate() -> None:
    from hourglass.evaluation.metrics.pck import pck, torso_length

    people, predicted = crowd_of(8)
    labelled = people.visibility > 0
    torso = torso_length(MPII16, people.keypoints, labelled)
    wanted = pck(predicted, people.keypoints, labelled, torso, 0.2)
    score = evaluate_protocol(HOURGLASS, people, predicted)
    assert score["PCK@0.2", "Mean"] == pytest.approx(100 * wanted.mean)
    assert score["PCK@0.2", "left_wrist"] == pytest.approx(100 * wanted.per_joint[LWRI])
    assert score.people == wanted.people


def test_another_length_changes_the_score() -> None:
    people, predicted = crowd_of(9)
    found = {
        name: evaluate_protocol(replace(LSP_TOOLKIT, length=name), people, predicted)["PCK@0.1", "Mean"]
        for name in ("torso", "other-torso", "any-torso", "box", "head", "head-stick")
    }
    assert len(set(found.values())) == len(found), found


def test_visible_and_hidden_apart() -> None:
    people, predicted = crowd_of(10)
    both = evaluate_protocol(MPII_OFFICIAL, people, predicted)
    parts = {
        only: evaluate_protocol(MPII_OFFICIAL, people, predicted, only=only) for only in ("visible", "hidden")
    }
    mean = list(both.entries).index(both.entries[8])
    assert both.entries[mean].line == "Mean"
    counts = {only: score.entries[mean].counted for only, score in parts.items()}
    assert sum(counts.values()) == both.entries[mean].counted
    sums = sum(counts[only] * score.values[mean] for only, score in parts.items())
    assert sums / both.entries[mean].counted == pytest.approx(both.values[mean])
    shares, kept = per_joint(
        replace(people, visibility=np.where(people.visibility == 1, 1, 0).astype(np.uint8)),
        predicted,
        0.5,
        False,
    )
    body = [j for j in range(16) if j not in NOT_BODY]
    assert parts["hidden"].values[mean] == pytest.approx(pooled(shares, kept, body))
    silent = replace(people, tells_hidden=False)
    with pytest.raises(NotApplicable, match="doesn't tell hidden joints"):
        evaluate_protocol(MPII_OFFICIAL, silent, predicted, only="hidden")


def test_hidden_joints_still_measure_the_torso() -> None:
    people, predicted = crowd_of(11)
    visible = np.full((300, 16), 2, np.uint8)
    visible[:, [LSHO, RHIP]] = 1
    score = evaluate_protocol(LSP_TOOLKIT, replace(people, visibility=visible), predicted, only="visible")
    torso = np.linalg.norm(people.keypoints[:, LSHO] - people.keypoints[:, RHIP], axis=1)
    assert score.people == (torso > 0).sum() > 290
    assert math.isnan(score["PCK@0.2", "left_shoulder"])


def test_resampling_is_scoring_the_people_drawn() -> None:
    people, predicted = crowd_of(12, 40)
    drawn = np.random.default_rng(0).integers(0, 40, 40)
    weights = np.bincount(drawn, minlength=40)[None].astype(float)
    twice = replace(
        people,
        keypoints=people.keypoints[drawn],
        visibility=people.visibility[drawn],
        lengths={"head": people.lengths["head"][drawn]},
    )
    for rules in (MPII_OFFICIAL, BEARPAW, LSP_TOOLKIT, HOURGLASS):
        score = evaluate_protocol(rules, people, predicted)
        again = evaluate_protocol(rules, twice, predicted[drawn])
        np.testing.assert_allclose(score.resample(weights)[0], again.values, atol=1e-9)


def test_coco_by_way_of_the_protocol() -> None:
    truth = np.random.default_rng(0).uniform(0, 80, (2, 17, 2))
    people = replace(
        Annotations.of(COCO17, truth, np.full((2, 17), 2, np.uint8)),
        area=np.full(2, 5000.0),
        box=np.zeros((2, 4)),
        crowd=np.zeros(2, bool),
        image=np.array([0, 1]),
        images=2,
    )
    found = Detections(truth[:1], np.array([0.9]), np.array([0]))
    score = evaluate_protocol(COCO, people, detections=found)
    # Half the people found, nothing wrong: precision 1 up to a recall of 0.5, 51 of the 101 levels.
    assert score["OKS", "AP"] == pytest.approx(100 * 51 / 101)
    assert score["OKS", "AR"] == pytest.approx(50)
    assert (score.people, score.units) == (2, 2)
    np.testing.assert_allclose(score.person, [1, 0])
    with pytest.raises(NotApplicable, match="predictions with scores"):
        evaluate_protocol(COCO, people)
    with pytest.raises(NotApplicable, match="no areas"):
        evaluate_protocol(COCO, crowd_of()[0], detections=found)
    hand = Skeleton("hand17", tuple(f"j{n}" for n in range(17)))
    with pytest.raises(NotApplicable, match="'hand17' has no OKS sigmas"):
        evaluate_protocol(COCO, replace(people, skeleton=hand), detections=found)


def test_what_a_protocol_needs() -> None:
    people, predicted = crowd_of(13)
    lsp = Annotations.of(LSP14, np.zeros((1, 14, 2)), np.zeros((1, 14), np.uint8), True)
    with pytest.raises(NotApplicable, match="'lsp14' has no pelvis, thorax"):
        evaluate_protocol(PRINCETON_PYTORCH, lsp, np.zeros((1, 14, 2)))
    with pytest.raises(NotApplicable, match=r"holds no 0\.6 x head box diagonal"):
        evaluate_protocol(BEARPAW, replace(people, lengths={}), predicted)
    with pytest.raises(NotApplicable, match="one prediction for each annotated person"):
        evaluate_protocol(BEARPAW, people)
    with pytest.raises(ValueError, match="no protocol 'mpi'; choose one of mpii-official"):
        protocol("mpi")
    assert [protocol(rules.name) for rules in PROTOCOLS] == list(PROTOCOLS)


@pytest.mark.parametrize("rules", PROTOCOLS, ids=lambda rules: rules.name)
def test_people_are_compared_over_the_joints_of_the_mean(rules: Protocol) -> None:
    if rules.main is not None:
        last = rules.main.lines[-1]
        assert (last.name, last.parts, last.mean) == ("Mean", rules.joints, rules.mean)
