"""What a synthetic person wears: clothes, hair and skin, drawn from a seed."""

import colorsys
from dataclasses import dataclass, replace

import numpy as np

from hourglass.synthetic.poses import Shape
from hourglass.synthetic.raster import Color, Material

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
