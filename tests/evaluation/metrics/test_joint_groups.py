"""Left and right together, and their curves, against loops over joints."""

import numpy as np
import pytest

from hourglass.core.skeleton import COCO17, FLIC11, LSP14, MPII16, Skeleton
from hourglass.evaluation.metrics.pck import SEVEN, group_curves, joint_groups, mean_of_groups


@pytest.mark.parametrize(
    ("skeleton", "wanted"),
    [
        (LSP14, SEVEN),
        (MPII16, (*SEVEN, "pelvis", "thorax")),
        (COCO17, (*SEVEN[1:], "nose", "eye", "ear")),
        (FLIC11, ("shoulder", "elbow", "wrist", "hip", "eye", "nose")),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_groups_have_every_joint_once(skeleton: Skeleton, wanted: tuple[str, ...]) -> None:
    groups = joint_groups(skeleton.joints)
    assert tuple(groups) == wanted
    assert sorted(row for rows in groups.values() for row in rows) == list(range(len(skeleton)))
    for name, rows in groups.items():
        for row in rows:
            joint = skeleton.joints[row]
            assert joint.endswith(name) or (name == "head" and joint in ("neck", "head_top"))


def test_a_group_is_the_mean_of_its_joints() -> None:
    each: dict[str, float | None] = dict.fromkeys(LSP14.joints)
    each |= {"left_hip": 40.0, "right_hip": 60.0, "neck": 90.0}
    found = mean_of_groups(each, joint_groups(LSP14.joints), LSP14.joints)
    assert found == {**dict.fromkeys(SEVEN), "hip": 50.0, "head": 90.0}


@pytest.mark.parametrize("strict", [False, True])
def test_curves_by_loops(strict: bool) -> None:
    rng = np.random.default_rng(0)
    distance = rng.integers(0, 8, (40, 14)) / 20
    counted = rng.random((40, 14)) > 0.3
    counted[:, LSP14.index("left_wrist")] = False
    thresholds = np.array([0.0, 0.1, 0.2])
    found = group_curves(distance, counted, LSP14, thresholds, strict)
    assert list(found) == [*SEVEN, "mean"]

    def share(joint: int, threshold: float) -> float:
        right = [d < threshold if strict else d <= threshold for d in distance[counted[:, joint], joint]]
        return 100 * float(sum(right)) / len(right)

    for t, threshold in enumerate(thresholds):
        shares = {j: share(j, threshold) for j in range(14) if counted[:, j].any()}
        hips = [shares[LSP14.index(side)] for side in ("left_hip", "right_hip")]
        assert found["hip"][t] == pytest.approx(sum(hips) / 2)
        assert found["wrist"][t] == pytest.approx(shares[LSP14.index("right_wrist")])
        assert found["mean"][t] == pytest.approx(sum(shares.values()) / 13)


def test_nothing_counted_is_nan() -> None:
    found = group_curves(np.zeros((2, 14)), np.zeros((2, 14), bool), LSP14, np.array([0.1, 0.2]))
    assert all(np.isnan(shares).all() for shares in found.values())
