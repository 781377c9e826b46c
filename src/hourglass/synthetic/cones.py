"""The body of a synthetic person, with clothes and hair, as round cones."""

import colorsys
from dataclasses import dataclass, replace

import numpy as np

from hourglass.synthetic.poses import SIDES, Figure, Shape, Vector
from hourglass.synthetic.raster import Color, Cone, Material

_SKIN = ("f3d3bd", "eac0a0", "dcab86", "c98f66", "ad744c", "8a5a3a", "75503a", "5e4030")
_HAIR = ("16120f", "2a1c13", "47301e", "6b4626", "9a6b37", "c9a467", "8c3f1f", "9a9a98", "d8d4cc")


@dataclass(frozen=True)
class Appearance:
    """Clothes, hair and colours of one person.

    Args:
        top, bottom, shoe, skin, hair, seat: their materials.
        sleeve: share of the arm that is covered, 0 none, 0.5 to the elbow, 1 to the wrist.
        leg: the same for the trousers' leg, 0.5 at the knee.
        skirt: share of the thigh that a skirt covers, 0 without one.
        style: short, bald, long, tail, bun, afro or cap.
        beard: True for one.
    """

    top: Material
    bottom: Material
    shoe: Material
    skin: Material
    hair: Material
    seat: Material
    sleeve: float
    leg: float
    skirt: float
    style: str
    beard: bool
    hat: Material


def _hex(code: str) -> Color:
    red, green, blue = (int(code[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue


def shaded(color: Color, factor: float) -> Color:
    """A lighter or darker colour."""
    red, green, blue = (min(1.0, channel * factor) for channel in color)
    return red, green, blue


def _dye(rng: np.random.Generator) -> Color:
    """A colour of cloth: greys and blues are common, loud ones aren't rare."""
    kind = rng.random()
    if kind < 0.28:
        value = float(rng.uniform(0.1, 0.92))
        return value, value, min(1.0, value * float(rng.uniform(0.97, 1.06)))
    hue = float(rng.normal(0.61, 0.04) % 1 if kind < 0.45 else rng.random())
    return colorsys.hsv_to_rgb(hue, float(rng.uniform(0.3, 0.85)), float(rng.uniform(0.25, 0.92)))


def _unlike(rng: np.random.Generator, skin: Color) -> Color:
    """A dye that differs clearly from a skin; white if none of a few does."""
    for _ in range(8):
        dye = _dye(rng)
        if sum(abs(a - b) for a, b in zip(dye, skin, strict=True)) > 0.55:
            return dye
    return (0.93, 0.93, 0.93) if sum(skin) < 1.9 else (0.15, 0.2, 0.4)


def _cloth(
    rng: np.random.Generator, patterns: dict[str, float], skin: Color = (-1.0, -1.0, -1.0)
) -> Material:
    """A cloth that isn't mistaken for this skin."""
    names, weights = list(patterns), np.array(list(patterns.values()))
    pattern = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    base, other = _unlike(rng, skin), _unlike(rng, skin)
    brightness = sum(base) / 3
    if rng.random() < 0.5 and not max(skin) > 0:
        other = shaded(base, 0.45 if brightness > 0.45 else 1.9)
    sizes = {"stripes": (0.03, 0.1), "bars": (0.025, 0.07), "checks": (0.035, 0.09), "dots": (0.035, 0.06)}
    size = float(rng.uniform(*sizes.get(pattern, (0.02, 0.06))))
    return Material(base, pattern, other, size, float(rng.uniform(0.02, 0.1)), float(rng.uniform(0.1, 0.3)))


def sample_look(rng: np.random.Generator, shape: Shape) -> Appearance:
    """Dress a body of this shape."""
    woman = shape.bust > 0
    tone = shaded(_hex(_SKIN[int(rng.integers(len(_SKIN)))]), float(rng.uniform(0.94, 1.05)))
    skin = Material(tone, gloss=0.12)
    strand = shaded(_hex(_HAIR[int(rng.integers(len(_HAIR)))]), float(rng.uniform(0.85, 1.1)))
    hair = Material(strand, "strands", shaded(strand, 0.55), gloss=0.16)
    styles = (
        ("long", "tail", "bun", "short", "afro", "cap")
        if woman
        else ("short", "short", "bald", "cap", "afro")
    )
    top = _cloth(
        rng,
        {"plain": 4, "stripes": 2, "bars": 0.8, "checks": 1.2, "dots": 0.6, "patches": 0.8, "panel": 1.2},
        tone,
    )
    bottom = _cloth(rng, {"plain": 6, "bars": 0.5, "checks": 0.6, "patches": 0.5}, tone)
    if rng.random() < 0.35:  # jeans
        bottom = replace(
            bottom, color=colorsys.hsv_to_rgb(0.6, 0.45, float(rng.uniform(0.3, 0.62))), pattern="plain"
        )
    leg, skirt = float(rng.choice([1.0, 1.0, 1.0, 0.42, 0.3, 0.6])), 0.0
    if woman and rng.random() < 0.35:
        leg, skirt = 0.0, float(rng.uniform(0.55, 0.95))
        if rng.random() < 0.5:  # a dress
            bottom = replace(top, pattern="plain" if top.pattern == "panel" else top.pattern)
    if rng.random() < 0.08:  # a swimmer or wrestler
        top = replace(skin, folds=0.0) if not woman else replace(top, pattern="plain")
        leg, skirt, sleeve = 0.12, 0.0, 0.0
    else:
        sleeve = float(
            rng.choice([0.0, 0.3, 0.34, 0.4, 1.0, 1.0, 0.85], p=[0.1, 0.2, 0.15, 0.1, 0.25, 0.1, 0.1])
        )
    if rng.random() < 0.07:
        shoe = skin
    else:
        leather = _dye(rng)
        sole = Material((0.9, 0.9, 0.88)) if rng.random() < 0.5 else Material(shaded(leather, 0.35))
        shoe = Material(leather, gloss=0.2, below=(-0.012, sole))
    return Appearance(
        top=top,
        bottom=bottom,
        shoe=shoe,
        skin=skin,
        hair=hair,
        seat=_cloth(rng, {"plain": 3, "checks": 1, "stripes": 1}),
        sleeve=sleeve,
        leg=leg,
        skirt=skirt,
        style=styles[int(rng.integers(len(styles)))],
        beard=bool(not woman and shape.head < 1.15 and rng.random() < 0.25),
        hat=_cloth(rng, {"plain": 3, "bars": 1}),
    )


PARTS = (
    "background",
    "torso",
    "pelvis",
    "neck",
    "head",
    "hair",
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_upper_arm",
    "right_upper_arm",
    "left_forearm",
    "right_forearm",
    "left_hand",
    "right_hand",
    "left_thigh",
    "right_thigh",
    "left_shin",
    "right_shin",
    "left_foot",
    "right_foot",
    "skirt",
    "prop",
)
"""What a pixel can show, besides occluders; the row is the label. A `prop` is what a person sits on."""


class _Builder:
    """Collects the cones of one person; lengths are shares of the stature."""

    def __init__(self, figure: Figure, shape: Shape) -> None:
        self.points, self.frames = figure.points_m, figure.frames
        self.size, self.big, self.cones = shape.stature_m, shape.head, list[Cone]()

    def place(self, point: str, frame: str, x: float, y: float, z: float) -> Vector:
        return np.asarray(self.points[point] + self.frames[frame] @ np.array([x, y, z]) * self.size)

    def add(
        self,
        part: str,
        frame: str,
        a: "str | Vector",
        b: "str | Vector",
        radius_a: float,
        radius_b: float,
        material: Material,
        flat: float = 1.0,
        flat_axis: int = 2,
        origin: str = "",
        capped: bool = True,
        of_stature: bool = False,
    ) -> None:
        start = self.points[a] if isinstance(a, str) else a
        end = self.points[b] if isinstance(b, str) else b
        self.cones.append(
            Cone(
                part=PARTS.index(part),
                a=start,
                b=end,
                radius_a=radius_a * self.size,
                radius_b=radius_b * self.size,
                frame=self.frames[frame],
                origin=self.points[origin] if origin else start,
                material=material,
                flat=flat,
                flat_axis=flat_axis,
                unit_m=self.size if of_stature else 1.0,
                capped=capped,
            )
        )

    def at(self, x: float, y: float, z: float) -> Vector:
        """A place on the head, from the upper neck."""
        return self.place("neck", "head", self.big * x, self.big * y, self.big * z)

    def ball(
        self, part: str, a: Vector, b: Vector, ra: float, rb: float, material: Material, flat: float = 1.0
    ) -> None:
        """A piece of the head, flattened sideways."""
        ra, rb = self.big * ra, self.big * rb
        self.add(part, "head", a, b, ra, rb, material, flat, flat_axis=0, origin="neck", of_stature=True)


def person_cones(figure: Figure, shape: Shape, look: Appearance) -> list[Cone]:
    """The body, its clothes and hair, about 45 round cones."""
    build = _Builder(figure, shape)
    _trunk(build, shape, look)
    _head(build, shape, look)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        _arm(build, shape, look, side, sign)
        _leg(build, shape, look, side)
    if look.skirt:
        _skirt(build, shape, look)
    return build.cones


def _trunk(build: _Builder, shape: Shape, look: Appearance) -> None:
    thick = shape.build
    hem = Material(look.bottom.color) if look.skirt else look.bottom
    top = replace(look.top, below=(0.03, replace(look.bottom, pattern=hem.pattern)))
    chest = 0.094 * (0.4 + 0.6 * thick) * shape.shoulder / 0.108
    waist = (0.068 if shape.bust else 0.076) * thick
    middle = build.place("thorax", "torso", 0, -0.072, 0)
    build.add("torso", "torso", middle, "waist", chest, waist, top, flat=0.66, origin="pelvis")
    low = build.place("pelvis", "pelvis", 0, 0.012, 0)
    hips = (shape.hip + 0.033) * (0.5 + 0.5 * thick)
    build.add("pelvis", "pelvis", "waist", low, waist * 1.01, hips, top, flat=0.74, origin="pelvis")
    build.add("neck", "neck", "neck_base", "neck", 0.031 * thick**0.5, 0.029 * thick**0.5, look.skin)
    collar = build.place("neck_base", "torso", 0, -0.006, -0.004)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        slope = build.place(f"{side}_shoulder", "torso", -sign * 0.02, 0.002, 0)
        strap = look.top if look.sleeve or not shape.bust else look.skin
        build.add("torso", "torso", slope, collar, 0.030 * thick, 0.028, strap, origin="pelvis")
        if shape.bust:
            bust = build.place("thorax", "torso", sign * 0.038, -0.085, 0.035)
            size = 0.034 * shape.bust
            build.add("torso", "torso", bust, bust, size, size, top, origin="pelvis")


def _head(build: _Builder, shape: Shape, look: Appearance) -> None:
    at, tone = build.at, look.skin.color
    face = replace(look.skin, pattern="face", other=shaded(look.hair.color, 0.7))
    build.ball("head", build.points["cranium"], build.points["jaw"], 0.0485, 0.033, face, 0.86)
    build.ball("head", at(0, 0.024, 0.027), at(0, 0.020, 0.024), 0.017, 0.014, look.skin)
    build.ball("nose", at(0, 0.066, 0.0405), at(0, 0.049, 0.047), 0.0045, 0.0078, look.skin)
    lips = Material((tone[0] * 0.85, tone[1] * 0.55, tone[2] * 0.55), gloss=0.15)
    build.ball("head", at(-0.010, 0.031, 0.0420), at(0.010, 0.031, 0.0420), 0.0034, 0.0034, lips)
    build.ball("head", at(0, 0.0305, 0.0420), at(0, 0.0305, 0.0420), 0.0054, 0.0054, lips)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        center = at(sign * 0.0175, 0.066, 0.0335)
        eye = Material((0.84, 0.82, 0.8), "eye", (0.10, 0.07, 0.05), 0.0046, 0.3)
        radius = 0.0085 * build.big
        build.add(f"{side}_eye", "head", center, center, radius, radius, eye, 0.7, 1, of_stature=True)
        top, lobe = at(sign * 0.0425, 0.064, -0.004), at(sign * 0.041, 0.050, -0.002)
        build.ball(f"{side}_ear", top, lobe, 0.0105, 0.008, look.skin, 0.45)
    if look.beard:
        build.ball("head", at(0, 0.034, 0.011), at(0, 0.018, 0.028), 0.0335, 0.0185, look.hair, 0.92)
    _hair(build, look)


def _hair(build: _Builder, look: Appearance) -> None:
    at, style, hair = build.at, look.style, look.hair
    if style == "bald":
        return
    if style == "cap":
        build.ball("hair", at(0, 0.090, -0.005), at(0, 0.090, -0.005), 0.0475, 0.0475, look.hat, 0.9)
        brim = 0.034 * build.big, 0.024 * build.big
        build.add("hair", "head", at(0, 0.089, 0.022), at(0, 0.082, 0.052), *brim, look.hat, 0.22, 1, "neck")
        build.ball("hair", at(0, 0.060, -0.014), at(0, 0.045, -0.020), 0.045, 0.034, hair, 0.9)
        return
    extra = 0.013 if style == "afro" else 0.0
    crown, nape = at(0, 0.089 + extra, -0.010 - extra), at(0, 0.058, -0.019 - extra)
    build.ball("hair", crown, nape, 0.0495 + extra, 0.041 + extra, hair, 0.9)
    if style == "long":
        build.ball("hair", at(0, 0.065, -0.022), at(0, -0.035, -0.030), 0.047, 0.034, hair, 0.98)
    elif style == "tail":
        build.ball("hair", at(0, 0.085, -0.052), at(0, 0.005, -0.072), 0.017, 0.010, hair)
    elif style == "bun":
        build.ball("hair", at(0, 0.115, -0.040), at(0, 0.115, -0.040), 0.021, 0.021, hair)


def _arm(build: _Builder, shape: Shape, look: Appearance, side: str, sign: float) -> None:
    shoulder, elbow, wrist = (build.points[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "wrist"))
    thick, sleeve, sleeved = shape.build, look.sleeve, look.top
    upper, fore = f"{side}_upper_arm", f"{side}_forearm"
    build.add(upper, upper, shoulder, elbow, 0.0285 * thick, 0.0215 * thick, look.skin)
    belly = shoulder + (elbow - shoulder) * 0.42
    build.add(upper, upper, belly, belly, 0.0275 * thick, 0.0275 * thick, look.skin)
    bulge = elbow + (wrist - elbow) * 0.22
    build.add(fore, fore, elbow, bulge, 0.021 * thick, 0.0232 * thick, look.skin)
    build.add(fore, fore, bulge, wrist, 0.0232 * thick, 0.0148 * thick**0.5, look.skin)
    if sleeve > 0:
        cuff = shoulder + (elbow - shoulder) * min(1.0, sleeve / 0.5)
        end = 0.0285 if sleeve < 0.5 else 0.026
        build.add(upper, upper, shoulder, cuff, 0.0325 * thick, end * thick, sleeved)
    if sleeve > 0.5:
        cuff = elbow + (wrist - elbow) * (sleeve - 0.5) / 0.5
        build.add(fore, fore, elbow, cuff, 0.026 * thick, 0.0205 * thick, sleeved)
    hand, knuckles = f"{side}_hand", build.points[f"{side}_knuckles"]
    build.add(hand, hand, wrist, knuckles, 0.014, 0.0215, look.skin, flat=0.5, flat_axis=0)
    build.add(hand, hand, knuckles, f"{side}_fingertips", 0.0205, 0.0115, look.skin, flat=0.5, flat_axis=0)
    build.add(hand, hand, wrist, f"{side}_thumb", 0.0095, 0.0068, look.skin)


def _leg(build: _Builder, shape: Shape, look: Appearance, side: str) -> None:
    hip, knee, ankle = (build.points[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle"))
    thick, leg, cloth = shape.build, look.leg, look.bottom
    thigh, shin, foot = f"{side}_thigh", f"{side}_shin", f"{side}_foot"
    covered = 1.06 if leg >= 0.5 else 1.0
    above, below = (cloth if leg >= 0.5 else look.skin), (cloth if leg >= 0.99 else look.skin)
    build.add(thigh, thigh, hip, knee, 0.0500 * thick * covered, 0.0315 * thick * covered, above)
    calf = knee + (ankle - knee) * 0.26 - build.frames[shin][:, 2] * 0.007 * build.size
    build.add(shin, shin, knee, calf, 0.0300 * thick * covered, 0.0325 * thick, below)
    build.add(shin, shin, calf, ankle, 0.0325 * thick, 0.0200 * thick**0.5, below)
    if 0 < leg < 0.5:
        end = hip + (knee - hip) * (leg / 0.5)
        build.add(thigh, thigh, hip, end, 0.055 * thick, 0.047 * thick, cloth)
    elif leg >= 0.5:
        share = (leg - 0.5) / 0.5
        if share > 0.1:
            build.add(
                shin, shin, knee, knee + (ankle - knee) * share * 0.97, 0.034 * thick, 0.0295 * thick, cloth
            )
    heel, toe = build.points[f"{side}_heel"], build.points[f"{side}_toe"]
    ball = heel + (toe - heel) * 0.72
    build.add(foot, foot, ankle, heel, 0.0205, 0.0215, look.shoe, origin=f"{side}_heel")
    build.add(foot, foot, heel, ball, 0.0215, 0.0220, look.shoe, flat=0.8, flat_axis=1, origin=f"{side}_heel")
    build.add(foot, foot, ball, toe, 0.0220, 0.0150, look.shoe, flat=0.75, flat_axis=1, origin=f"{side}_heel")
    build.add(foot, foot, ankle, ball, 0.0205, 0.0135, look.shoe, origin=f"{side}_heel")


def _skirt(build: _Builder, shape: Shape, look: Appearance) -> None:
    thick, length, ends = shape.build, look.skirt, []
    for side in SIDES:
        hip, knee = build.points[f"{side}_hip"], build.points[f"{side}_knee"]
        end = hip + (knee - hip) * length
        ends.append(end)
        # The ends of the bell are open; a ball of the same cloth closes the hip.
        build.add("skirt", "pelvis", hip, hip, 0.0555 * thick, 0.0555 * thick, look.bottom, origin="pelvis")
        build.add(
            "skirt",
            f"{side}_thigh",
            hip,
            end,
            0.054 * thick,
            0.062 * thick,
            look.bottom,
            origin="pelvis",
            capped=False,
        )
    middle = (ends[0] + ends[1]) / 2
    spread = float(np.linalg.norm(ends[0] - ends[1])) / build.size / 2
    low = build.points["pelvis"]
    if spread < 0.12:  # the cloth between the thighs hangs as one bell
        wide = 0.055 * thick + spread
        build.add(
            "skirt",
            "pelvis",
            low,
            middle,
            0.088 * thick,
            wide * 1.06,
            look.bottom,
            flat=0.8,
            origin="pelvis",
            capped=False,
        )


def seat_cones(figure: Figure, look: Appearance, up: Vector, ground_m: float, size_m: float) -> list[Cone]:
    """A round stool under a sitting person, from the ground (at `ground_m` along `up`) to the thighs."""
    points = figure.points_m
    hips, knees = (points[f"left_{joint}"] / 2 + points[f"right_{joint}"] / 2 for joint in ("hip", "knee"))
    seat = hips + (knees - hips) * 0.22
    radius, thick = 0.15 * size_m, 0.02 * size_m
    top = seat + up * (-0.05 * size_m - thick)
    bottom = seat + up * (ground_m - float(seat @ up))
    frame = np.stack([np.cross(up, [0.0, 0.0, 1.0]), up, [0.0, 0.0, 1.0]], axis=1)
    part = PARTS.index("prop")
    wall = Cone(part, top, bottom, radius, radius, frame, top, look.seat, capped=False)
    lid = Cone(part, top, top, radius * 1.02, radius * 1.02, frame, top, look.seat, thick / radius, 1)
    return [wall, lid]
