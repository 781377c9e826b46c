"""Skeletons against the published joint lists, and what happens to contradictory ones."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hourglass.core.skeleton import COCO17, FLIC11, LSP14, MPII16, SKELETONS, Skeleton

# Joint orders as their data sets publish them, in the short words of the papers' code.
ORDERS = {
    "mpii16": "rank rkne rhip lhip lkne lank pelvis thorax neck head_top rwri relb rsho lsho lelb lwri",
    "lsp14": "rank rkne rhip lhip lkne lank rwri relb rsho lsho lelb lwri neck head_top",
    "flic11": "lsho lelb lwri rsho relb rwri lhip rhip leye reye nose",
    "coco17": "nose leye reye lear rear lsho rsho lelb relb lwri rwri lhip rhip lkne rkne lank rank",
}
ORDERS["body19"] = ORDERS["coco17"] + " neck head_top"
# Flip permutations, likewise.
FLIPS = {
    "mpii16": [5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10],
    "lsp14": [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13],
    "flic11": [3, 4, 5, 0, 1, 2, 7, 6, 9, 8, 10],
    "coco17": [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15],
    "body19": [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15, 17, 18],
}
WORDS = {"ank": "ankle", "kne": "knee", "wri": "wrist", "elb": "elbow", "sho": "shoulder"}
SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)


def long_name(short: str) -> str:
    if short in ("nose", "neck", "pelvis", "thorax", "head_top"):
        return short
    side = {"l": "left", "r": "right"}[short[0]]
    return f"{side}_{WORDS.get(short[1:], short[1:])}"


@pytest.mark.parametrize("name", ORDERS)
def test_joint_order_is_the_published_one(name: str) -> None:
    assert SKELETONS[name].joints == tuple(long_name(s) for s in ORDERS[name].split())
    assert SKELETONS[name].name == name


@pytest.mark.parametrize("name", FLIPS)
def test_flip_permutation_is_the_published_one(name: str) -> None:
    assert SKELETONS[name].flip_permutation.tolist() == FLIPS[name]


def test_every_built_in_skeleton_is_checked_above() -> None:
    assert set(SKELETONS) == set(ORDERS) == set(FLIPS)


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda s: s.name)
def test_flip_only_exchanges_left_and_right_of_one_part(skeleton: Skeleton) -> None:
    flipped = [skeleton.joints[i] for i in skeleton.flip_permutation]
    sides = {"left": "right", "right": "left"}
    for joint, other in zip(skeleton.joints, flipped, strict=True):
        side, _, part = joint.partition("_")
        assert other == (f"{sides[side]}_{part}" if side in sides else joint)


@pytest.mark.parametrize(
    ("skeleton", "torso", "head"),
    [
        # Left shoulder to right hip first: tPCK's usual diagonal.
        pytest.param(MPII16, ((13, 2), (12, 3)), (8, 9), id="mpii16"),
        pytest.param(LSP14, ((9, 2), (8, 3)), (12, 13), id="lsp14"),
        # FLIC's own normaliser is the other one.
        pytest.param(FLIC11, ((3, 6), (0, 7)), None, id="flic11"),
        pytest.param(COCO17, ((5, 12), (6, 11)), None, id="coco17"),
    ],
)
def test_torso_and_head_references(
    skeleton: Skeleton, torso: tuple[tuple[int, int], ...], head: tuple[int, int] | None
) -> None:
    assert skeleton.torso_indices == torso
    rows = None if skeleton.head is None else tuple(skeleton.index(j) for j in skeleton.head)
    assert rows == head


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda s: s.name)
def test_limbs_join_all_joints_into_one_drawing(skeleton: Skeleton) -> None:
    edges = {frozenset(limb) for limb in skeleton.limb_indices}
    assert len(edges) == len(skeleton.limbs), "a limb is listed twice"
    reached = {0}
    for _ in skeleton.joints:
        reached |= {joint for edge in edges if edge & reached for joint in edge}
    # FLIC has nothing between the shoulders and the face, which is drawn apart.
    face = {skeleton.index(j) for j in ("left_eye", "right_eye", "nose")} if skeleton is FLIC11 else set()
    assert reached == set(range(len(skeleton))) - face
    assert {joint for edge in edges for joint in edge} == set(range(len(skeleton)))


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda s: s.name)
def test_limbs_look_the_same_in_a_mirror(skeleton: Skeleton) -> None:
    flip = skeleton.flip_permutation
    edges = {frozenset(limb) for limb in skeleton.limb_indices}
    assert {frozenset((int(flip[a]), int(flip[b]))) for a, b in skeleton.limb_indices} == edges


def test_coco_limbs_and_sigmas_are_those_of_the_coco_files() -> None:
    # `skeleton` (1-based) of person_keypoints_val2017.json, and cocoeval's kpt_oks_sigmas.
    official = [[16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9]]
    official += [[8, 10], [9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7]]
    ours = {frozenset((a + 1, b + 1)) for a, b in COCO17.limb_indices}
    # The line between the eyes may be left out of a drawing; nothing else may, and nothing is added.
    assert {frozenset(e) for e in official} - ours <= {frozenset((2, 3))}
    assert ours <= {frozenset(e) for e in official}
    tenths = [0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89]
    assert COCO17.oks_sigmas is not None
    np.testing.assert_allclose(COCO17.oks_sigmas, [*(t / 10 for t in tenths), 0.089], rtol=1e-12)


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda s: s.name)
def test_shared_joints_have_cocos_sigma_everywhere(skeleton: Skeleton) -> None:
    assert skeleton.oks_sigmas is not None
    assert COCO17.oks_sigmas is not None
    coco = dict(zip(COCO17.joints, COCO17.oks_sigmas, strict=True))
    own = dict(zip(skeleton.joints, skeleton.oks_sigmas, strict=True))
    shared = coco.keys() & own.keys()
    assert len(shared) >= 11
    assert {j: own[j] for j in shared} == {j: coco[j] for j in shared}


def test_index_names_the_row_and_refuses_strangers_with_the_known_names() -> None:
    assert LSP14.index("head_top") == 13
    with pytest.raises(ValueError, match=r"'lsp14' has no joint 'pelvis'.*right_ankle.*head_top"):
        LSP14.index("pelvis")


PARTS: dict[str, Any] = {"name": "toy", "joints": ("a", "b", "c", "d")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"joints": ()}, "'toy' has no joints", id="empty"),
        pytest.param({"joints": ("a", "b", "a")}, "names the joint 'a' twice", id="same name twice"),
        pytest.param(
            {"flip_pairs": (("a", "x"),)}, "no joint 'x', which flip_pairs names", id="flip stranger"
        ),
        pytest.param({"limbs": (("y", "a"),)}, "no joint 'y', which limbs names", id="limb stranger"),
        pytest.param({"torso": (("a", "z"),)}, "no joint 'z', which torso names", id="torso stranger"),
        pytest.param({"head": ("a", "w")}, "no joint 'w', which head names", id="head stranger"),
        pytest.param({"limbs": (("b", "b"),)}, "'b' with itself in limbs", id="limb of no length"),
        pytest.param({"head": ("c", "c")}, "'c' with itself in head", id="head of no length"),
        pytest.param({"flip_pairs": (("a", "b"), ("c", "b"))}, "'b' in two flip pairs", id="three-cycle"),
        pytest.param({"flip_pairs": (("a", "b"), ("b", "a"))}, "'b' in two flip pairs", id="pair twice"),
        pytest.param({"oks_sigmas": (0.1, 0.1)}, "4 joints but 2 OKS sigmas", id="sigma count"),
        pytest.param({"oks_sigmas": (0.1, 0.0, 0.1, 0.1)}, r"0\.0 at joint 'b'", id="sigma zero"),
        pytest.param({"oks_sigmas": (0.1, 0.1, float("nan"), 1)}, "nan at joint 'c'", id="sigma nan"),
    ],
)
def test_contradictions_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Skeleton(**(PARTS | change))


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda s: s.name)
def test_json_round_trip_of_the_built_ins(skeleton: Skeleton) -> None:
    assert Skeleton.from_dict(json.loads(json.dumps(skeleton.to_dict()))) == skeleton


@st.composite
def skeletons(draw: st.DrawFn) -> Skeleton:
    joints = draw(st.lists(st.text("abcde_", min_size=1, max_size=6), min_size=2, max_size=12, unique=True))
    shuffled = draw(st.permutations(joints))
    count = draw(st.integers(0, len(joints) // 2))
    pair = st.lists(st.sampled_from(joints), min_size=2, max_size=2, unique=True).map(lambda p: (p[0], p[1]))
    sigmas = st.lists(st.floats(1e-3, 1), min_size=len(joints), max_size=len(joints)).map(tuple)
    return Skeleton(
        name=draw(st.text("xyz", min_size=1)),
        joints=tuple(joints),
        flip_pairs=tuple((shuffled[2 * i], shuffled[2 * i + 1]) for i in range(count)),
        limbs=tuple(draw(st.lists(pair, max_size=5))),
        torso=tuple(draw(st.lists(pair, max_size=2))),
        head=draw(st.none() | pair),
        oks_sigmas=draw(st.none() | sigmas),
    )


@SETTINGS
@given(skeletons())
def test_flipping_twice_is_no_flip_and_json_keeps_everything(skeleton: Skeleton) -> None:
    flip = skeleton.flip_permutation
    moved = {int(i) for i in np.flatnonzero(flip != np.arange(len(skeleton)))}
    assert flip[flip].tolist() == list(range(len(skeleton)))
    assert moved == {skeleton.index(j) for pair in skeleton.flip_pairs for j in pair}
    assert Skeleton.from_dict(json.loads(json.dumps(skeleton.to_dict()))) == skeleton


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        pytest.param({"joints": ["a"]}, "name", id="no name"),
        pytest.param({"name": "x"}, "joints", id="no joints"),
        pytest.param({"name": "x", "joints": 3}, "not a skeleton", id="joints are a number"),
        pytest.param(
            {"name": "x", "joints": ["a", "b"], "limbs": [["a"]]}, r"\['a'\] is not a pair", id="half limb"
        ),
        pytest.param({"name": "x", "joints": ["a", "b"], "head": 1}, "not a skeleton", id="head is a number"),
    ],
)
def test_from_dict_refuses_what_is_no_skeleton(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Skeleton.from_dict(raw)


def test_cocos_own_person_category_is_coco17() -> None:
    assert Skeleton.from_coco_category({"name": "person", "keypoints": list(COCO17.joints)}) is COCO17


def test_custom_category_with_one_based_limbs_and_names_by_side() -> None:
    names = ["nose", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_hip", "right_hip"]
    read = Skeleton.from_coco_category(
        {
            "name": "dog",
            "keypoints": names,
            "skeleton": [[1, 2], [1, 3], [6, 7]],
            "sigmas": [0.02, 0.03, 0.03, 0.1, 0.1, 0.2, 0.2],
        }
    )
    assert read.name == "dog"
    assert read.joints == tuple(names)
    assert read.limb_indices == ((0, 1), (0, 2), (5, 6))
    assert read.flip_permutation.tolist() == [0, 2, 1, 4, 3, 6, 5]
    assert read.torso_indices == ((3, 6), (4, 5))
    assert read.oks_sigmas == (0.02, 0.03, 0.03, 0.1, 0.1, 0.2, 0.2)
    assert read.head is None


@pytest.mark.parametrize(
    ("names", "flip"),
    [
        (["left_eye", "tail", "right_eye"], [2, 1, 0]),
        (["RightPaw", "LeftPaw"], [1, 0]),
        (["EAR_LEFT", "EAR_RIGHT"], [1, 0]),
        (["l_knee", "r_knee", "l_eye"], [1, 0, 2]),
        (["knee_R", "knee_L"], [1, 0]),
        # A word that merely holds the letters has no partner and stays.
        (["leftover", "rump"], [0, 1]),
        (["left_paw", "right_hoof"], [0, 1]),
        (["shoulder.L", "neck", "shoulder.R"], [2, 1, 0]),
        (["LFoot", "RFoot", "LHand"], [1, 0, 2]),
        (["R Foot", "L Foot"], [1, 0]),
        (["lf_paw", "rf_paw", "rh_paw", "lh_paw"], [1, 0, 3, 2]),
        (["leftShoulder", "rightShoulder"], [1, 0]),
        (["L_Eye", "R_Eye", "L_F_Paw", "R_F_Paw", "Root of tail"], [1, 0, 3, 2, 4]),
        (["snout", "leftear", "rightear", "tailbase"], [0, 2, 1, 3]),
        (["earL", "earR", "pawFL", "pawFR", "FL", "FR"], [1, 0, 3, 2, 5, 4]),
        (["lsho", "rsho", "eye (L)", "eye (R)", "ear-l", "ear-r"], [1, 0, 3, 2, 5, 4]),
        # Front and rear, left and right: rl is rear left, lr is left rear.
        (["fl", "fr", "rl", "rr"], [1, 0, 3, 2]),
        (["lf", "rf", "lr", "rr"], [1, 0, 3, 2]),
        # The same letters in other places, other languages, and numbers that differ mean nothing.
        (["tail", "leg", "lip", "collar", "oil"], [0, 1, 2, 3, 4]),
        (["pied gauche", "pied droite"], [0, 1]),
        (["paw1LH", "paw4RH"], [0, 1]),
    ],
)
def test_pairs_are_found_by_name(names: list[str], flip: list[int]) -> None:
    category = {"name": "animal", "keypoints": names}
    assert Skeleton.from_coco_category(category).flip_permutation.tolist() == flip


def test_explicit_flip_pairs_win_over_names_and_may_be_rows_or_names() -> None:
    category: dict[str, Any] = {"name": "x", "keypoints": ["left_a", "right_a", "b", "c"]}
    category["flip_pairs"] = [[2, 3]]
    assert Skeleton.from_coco_category(category).flip_permutation.tolist() == [0, 1, 3, 2]
    category["flip_pairs"] = [["b", "left_a"]]
    assert Skeleton.from_coco_category(category).flip_permutation.tolist() == [2, 1, 0, 3]
    # Null says nothing, so that the names count; an empty list says that there are none.
    category["flip_pairs"] = None
    assert Skeleton.from_coco_category(category).flip_permutation.tolist() == [1, 0, 2, 3]
    category["flip_pairs"] = []
    assert Skeleton.from_coco_category(category).flip_permutation.tolist() == [0, 1, 2, 3]


def test_torso_and_head_of_a_category_may_be_rows_or_names() -> None:
    category = {"name": "x", "keypoints": ["a", "b", "c"], "torso": [[0, "c"]], "head": [2, "b"]}
    read = Skeleton.from_coco_category(category)
    assert read.torso == (("a", "c"),)
    assert read.head == ("c", "b")


@pytest.mark.parametrize(
    ("limbs", "drawn", "lost"),
    [
        ([[1, 2], [3, 2]], [("a", "b"), ("c", "b")], 0),
        # A row 0 shows that these count from 0.
        ([[2, 0], [1, 2]], [("c", "a"), ("b", "c")], 0),
        ([[1, 1], [1, 2]], [("a", "b")], 1),
        ([[1, 2], [2, 31]], [("a", "b")], 1),
        ([["a", "c"], ["a", "q"]], [("a", "c")], 1),
        ([[1, 2, 3], 7, "ab", [1, None], [1.0, 3.0]], [("a", "c")], 4),
        ({"a": 1}, [], 1),
        (None, [], 0),
    ],
)
def test_a_limb_that_is_none_is_only_not_drawn(
    limbs: Any, drawn: list[tuple[str, str]], lost: int, caplog: pytest.LogCaptureFixture
) -> None:
    read = Skeleton.from_coco_category({"name": "x", "keypoints": ["a", "b", "c"], "skeleton": limbs})
    assert list(read.limbs) == drawn
    said = f"category 'x': {lost} of the {lost + len(drawn)} limbs in 'skeleton' do not join two of its 3"
    assert (said in caplog.text) == bool(lost)


def test_names_of_keypoints_may_stand_in_objects() -> None:
    names = [{"id": 7, "name": "left_ear"}, {"id": 3, "name": "right_ear"}, "nose"]
    read = Skeleton.from_coco_category({"name": "x", "keypoints": names})
    assert read.joints == ("left_ear", "right_ear", "nose")
    assert read.flip_pairs == (("left_ear", "right_ear"),)
    with pytest.raises(ValueError, match="in row 1, which names no keypoint"):
        Skeleton.from_coco_category({"name": "x", "keypoints": ["a", {"id": 2}]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"keypoints": []}, "'x' lists no 'keypoints'", id="empty list"),
        pytest.param({"keypoints": "abc"}, "'x' lists no 'keypoints'", id="a word"),
        pytest.param({"flip_pairs": [[-1, 0]]}, "'flip_pairs' names keypoint -1", id="flip before start"),
        pytest.param({"flip_pairs": [[0, 3]]}, "'flip_pairs' names keypoint 3", id="flip past end"),
        pytest.param({"flip_pairs": [["a", "q"]]}, "no joint 'q'", id="flip of a stranger"),
        pytest.param({"sigmas": [0.1]}, "3 joints but 1 OKS sigmas", id="sigma count"),
    ],
)
def test_contradictory_categories_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Skeleton.from_coco_category({"name": "x", "keypoints": ["a", "b", "c"]} | change)
