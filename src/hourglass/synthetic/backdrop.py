"""What is behind and in front of synthetic people: rooms, meadows, streets, clutter, poles, foliage."""

import colorsys

import cv2
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

BACKDROPS = ("studio", "room", "meadow", "street", "court", "noise")
OCCLUDERS = ("box", "pole", "rail", "foliage", "hoarding", "ball")


def smooth_noise(
    rng: np.random.Generator, height: int, width: int, cell_px: float, octaves: int = 3
) -> Float32:
    """(height, width) noise of mean about 0 and range about -0.5 to 0.5, `cell_px` the coarsest grain."""
    out = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        cell = max(1.0, cell_px / 2**octave)
        grid = rng.random((int(height / cell) + 3, int(width / cell) + 3), dtype=np.float32) - 0.5
        big = cv2.resize(grid, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
        out += big[:height, :width] * 0.6**octave
    return out


def _rgb(
    rng: np.random.Generator,
    hue: tuple[float, float],
    saturation: tuple[float, float],
    value: tuple[float, float],
) -> Float32:
    drawn = (float(rng.uniform(*hue)) % 1, float(rng.uniform(*saturation)), float(rng.uniform(*value)))
    return np.array(colorsys.hsv_to_rgb(*drawn), np.float32) * 255


def _any(rng: np.random.Generator) -> Float32:
    return _rgb(rng, (0, 1), (0.05, 0.7), (0.2, 0.9))


def _pen(color: Float32, factor: float = 1.0) -> tuple[float, float, float]:
    red, green, blue = np.clip(color * factor, 0, 255)
    return float(red), float(green), float(blue)


def _drawable(image: Float32) -> Image:
    """An 8-bit copy, because OpenCV draws smooth edges on nothing else."""
    return np.clip(image, 0, 255).astype(np.uint8)


def _ramp(top: Float32, bottom: Float32, rows: int) -> Float32:
    share = np.linspace(0, 1, max(rows, 1), dtype=np.float32)[:, None]
    return np.asarray(top + share * (bottom - top), np.float32)


def backdrop(rng: np.random.Generator, height: int, width: int, horizon_px: float) -> Float32:
    """(height, width, 3) RGB 0 to 255: a place with its floor's far edge at `horizon_px`."""
    kind = BACKDROPS[int(rng.choice(len(BACKDROPS), p=[0.1, 0.26, 0.24, 0.17, 0.15, 0.08]))]
    horizon = int(np.clip(horizon_px, 0.25 * height, height - 2))
    image = np.empty((height, width, 3), np.float32)
    if kind == "room":
        _room(rng, image, horizon)
    elif kind == "meadow":
        _meadow(rng, image, horizon)
    elif kind == "street":
        _street(rng, image, horizon)
    elif kind == "court":
        _court(rng, image, horizon)
    elif kind == "studio":
        _studio(rng, image, horizon)
    else:
        _abstract(rng, image)
    if kind not in ("studio",) and rng.random() < 0.6:
        _clutter(rng, image, horizon)
    blur = float(rng.uniform(0.0, 0.006)) * height
    if blur > 0.3:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur), np.float32)
    return image


def _studio(rng: np.random.Generator, image: Float32, horizon: int) -> None:
    height, width = image.shape[:2]
    color = _any(rng) * 0.5 + 90
    image[:] = _ramp(color * 0.85, color * 1.05, height)[:, None]
    edge = np.linspace(0, 1, height - horizon, dtype=np.float32)[:, None, None]
    image[horizon:] *= 0.93 + 0.12 * edge
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    image *= (1.08 - 0.28 * (x * x + 0.7 * (y + 0.2) ** 2))[..., None]


def _room(rng: np.random.Generator, image: Float32, horizon: int) -> None:
    height, width = image.shape[:2]
    wall = _rgb(rng, (0, 1), (0.02, 0.4), (0.55, 0.93))
    image[:horizon] = _ramp(wall * 1.03, wall * 0.88, horizon)[:, None]
    style = rng.random()
    if style < 0.25:  # striped wallpaper
        period = float(rng.uniform(0.05, 0.14)) * width
        image[:horizon, (np.arange(width) % period) < period / 2] *= 0.93
    elif style < 0.4:  # bricks
        image[:horizon] = _rgb(rng, (0.01, 0.08), (0.2, 0.5), (0.5, 0.75))
        _bricks(image[:horizon], max(6, height // 26), _pen(wall))
    image[:horizon] *= (1 + 0.08 * smooth_noise(rng, horizon, width, width / 3))[..., None]
    for _ in range(int(rng.integers(0, 4))):  # pictures and windows
        w, h = (rng.uniform(0.1, 0.32, 2) * (width, height)).astype(int)
        x, y = int(rng.uniform(-0.1, 0.95) * width), int(rng.uniform(0.02, 0.45) * horizon)
        cv2.rectangle(image, (x, y), (x + w, y + h), _pen(_any(rng), 0.5), -1, cv2.LINE_AA)
        pane = _rgb(rng, (0.52, 0.6), (0.05, 0.3), (0.8, 1)) if rng.random() < 0.5 else _any(rng)
        rim = max(2, h // 14)
        cv2.rectangle(image, (x + rim, y + rim), (x + w - rim, y + h - rim), _pen(pane), -1)
        if rng.random() < 0.5:
            cv2.line(
                image, (x + w // 2, y), (x + w // 2, y + h), _pen(pane, 0.5), max(1, rim // 2), cv2.LINE_AA
            )
    floor = _rgb(rng, (0.03, 0.11), (0.15, 0.6), (0.3, 0.75))
    image[horizon:] = _ramp(floor * 0.72, floor * 1.05, height - horizon)[:, None]
    _boards(rng, image, horizon, _pen(floor, 0.62))
    board = max(2, height // 45)
    cv2.rectangle(
        image, (0, horizon - board), (width, horizon), _pen(wall, float(rng.choice([0.6, 1.15]))), -1
    )


def _bricks(wall: Float32, size: int, mortar: tuple[float, float, float]) -> None:
    height, width = wall.shape[:2]
    for row, y in enumerate(range(0, height, size)):
        cv2.line(wall, (0, y), (width, y), mortar, 1)
        for x in range((row % 2) * size, width, 2 * size):
            cv2.line(wall, (x, y), (x, y + size), mortar, 1)


def _boards(
    rng: np.random.Generator, image: Float32, horizon: int, color: tuple[float, float, float]
) -> None:
    """Lines that run to a vanishing point above the floor's far edge."""
    height, width = image.shape[:2]
    canvas = _drawable(image)
    vanish = np.array([width * rng.uniform(0.2, 0.8), horizon - 0.35 * height])
    for x in np.linspace(-2.0 * width, 3.0 * width, int(rng.integers(16, 40))):
        start = vanish + (np.array([x, height]) - vanish) * ((horizon - vanish[1]) / (height - vanish[1]))
        cv2.line(canvas, (int(start[0]), horizon), (int(x), height), color, 1, cv2.LINE_AA)
    if rng.random() < 0.5:
        for share in np.linspace(0.15, 1, 5) ** 2:
            y = int(horizon + share * (height - horizon))
            cv2.line(canvas, (0, y), (width, y), color, 1)
    image[horizon:] = canvas[horizon:]


def _meadow(rng: np.random.Generator, image: Float32, horizon: int) -> None:
    height, width = image.shape[:2]
    sky = _rgb(rng, (0.53, 0.62), (0.2, 0.6), (0.75, 0.98))
    pale = np.array([235, 238, 240], np.float32)
    image[:horizon] = _ramp(sky, sky * 0.25 + pale * 0.75, horizon)[:, None]
    clouds = np.clip(
        smooth_noise(rng, horizon, width, width / 2.5, 4) * 2.2 - float(rng.uniform(-0.2, 0.6)), 0, 1
    )
    image[:horizon] += clouds[..., None] * (252 - image[:horizon]) * 0.9
    x = np.arange(width)
    for layer in range(int(rng.integers(1, 4))):  # hills, then trees
        line = smooth_noise(rng, 1, width, width / (2 + 2.5 * layer), 4)[0]
        rise = float(rng.uniform(0.08, 0.3)) * height / (1 + 0.6 * layer)
        tops = horizon - rise * (0.6 + line)
        green = _rgb(rng, (0.2, 0.45), (0.2, 0.55), (0.25, 0.55)) * (1.25 - 0.15 * layer)
        below = np.clip(np.arange(horizon)[:, None] - tops[x] + 0.5, 0, 1)[..., None]
        grain = smooth_noise(rng, horizon, width, height / 18, 2)[..., None]
        image[:horizon] += below * (green * (1 + 0.5 * grain) - image[:horizon])
    ground = _rgb(rng, (0.11, 0.36), (0.25, 0.65), (0.35, 0.72))
    image[horizon:] = _ramp(ground * 0.78, ground * 1.05, height - horizon)[:, None]
    rows = height - horizon
    blades = cv2.resize(rng.random((max(1, rows // 3), width), dtype=np.float32), (width, rows)) - 0.5
    image[horizon:] *= (1 + 0.35 * blades + 0.35 * smooth_noise(rng, rows, width, width / 8, 3))[..., None]


def _street(rng: np.random.Generator, image: Float32, horizon: int) -> None:
    height, width = image.shape[:2]
    sky = _rgb(rng, (0.5, 0.65), (0.02, 0.35), (0.7, 0.97))
    image[:horizon] = _ramp(sky, sky * 1.05, horizon)[:, None]
    x = -int(rng.uniform(0, 0.2) * width)
    while x < width:
        wide, tall = int(rng.uniform(0.2, 0.5) * width), int(rng.uniform(0.5, 1.15) * horizon)
        front = _rgb(rng, (0, 0.65), (0.05, 0.45), (0.35, 0.85))
        cv2.rectangle(image, (x, horizon - tall), (x + wide, horizon), _pen(front), -1)
        step, pane = (
            int(rng.uniform(0.07, 0.13) * width) + 2,
            _pen(_rgb(rng, (0.5, 0.65), (0.1, 0.4), (0.2, 0.8))),
        )
        for wx in range(x + step // 3, x + wide - step // 2, step):
            for wy in range(horizon - tall + step // 3, horizon - step // 2, int(step * 1.3)):
                cv2.rectangle(image, (wx, wy), (wx + int(step * 0.55), wy + int(step * 0.8)), pane, -1)
        x += wide + int(rng.uniform(0, 0.06) * width)
    road = np.full(3, float(rng.uniform(70, 165)), np.float32)
    image[horizon:] = _ramp(road * 0.85, road * 1.08, height - horizon)[:, None]
    image[horizon:] *= 1 + 0.12 * (rng.random((height - horizon, width, 1), dtype=np.float32) - 0.5)
    kerb = max(2, (height - horizon) // 9)
    cv2.rectangle(image, (0, horizon), (width, horizon + kerb), _pen(road, 1.35), -1)
    if rng.random() < 0.5:
        _boards(rng, image, horizon + kerb, _pen(road, 1.3))


def _court(rng: np.random.Generator, image: Float32, horizon: int) -> None:
    height, width = image.shape[:2]
    back = _rgb(rng, (0, 1), (0.15, 0.6), (0.2, 0.55))
    image[:horizon] = _ramp(back * 0.7, back * 1.1, horizon)[:, None]
    if rng.random() < 0.6:  # a stand full of people far away
        _crowd(rng, image, horizon)
    board = int(horizon - rng.uniform(0.06, 0.14) * height)
    x = 0
    while x < width:
        wide = int(rng.uniform(0.15, 0.4) * width)
        cv2.rectangle(image, (x, board), (x + wide, horizon), _pen(_any(rng)), -1)
        x += wide
    floor = _rgb(rng, (0.02, 0.62), (0.35, 0.75), (0.4, 0.8))
    image[horizon:] = _ramp(floor * 0.85, floor, height - horizon)[:, None]
    image[horizon:] *= (1 + 0.1 * smooth_noise(rng, height - horizon, width, width / 4))[..., None]
    canvas, white = _drawable(image), (235, 235, 235)
    for _ in range(int(rng.integers(1, 4))):
        start = (int(rng.uniform(-0.2, 1.2) * width), horizon)
        end = (int(rng.uniform(-1, 2) * width), height)
        cv2.line(canvas, start, end, white, max(1, height // 90), cv2.LINE_AA)
    y = int(rng.uniform(horizon, height))
    cv2.line(canvas, (0, y), (width, y), white, max(1, height // 100), cv2.LINE_AA)
    image[:] = canvas


def _crowd(rng: np.random.Generator, image: Float32, horizon: int) -> None:
    width, step = image.shape[1], max(5, image.shape[0] // 22)
    for y in range(0, horizon, step):
        for x in range(-step, width + step, step):
            at = int(x + rng.uniform(0, 0.5) * step + (y // step % 2) * step // 2)
            cloth = _pen(_rgb(rng, (0, 1), (0.0, 0.55), (0.15, 0.7)))
            cv2.ellipse(image, (at, y + step), (step // 2, int(step * 0.7)), 0, 0, 360, cloth, -1)
            cv2.circle(
                image, (at, y), max(1, step // 4), _pen(_rgb(rng, (0.04, 0.09), (0.3, 0.6), (0.3, 0.85))), -1
            )
    image[:horizon] = cv2.GaussianBlur(image[:horizon], (0, 0), step / 7) * 0.8


def _abstract(rng: np.random.Generator, image: Float32) -> None:
    height, width = image.shape[:2]
    low, high = _any(rng), _any(rng)
    mix = np.clip(0.5 + smooth_noise(rng, height, width, width / float(rng.uniform(2, 9)), 4), 0, 1)
    image[:] = low + mix[..., None] * (high - low)


def _clutter(rng: np.random.Generator, image: Float32, horizon: int) -> None:
    """Boxes, limb-like sticks, plants and balls that stand about."""
    height, width = image.shape[:2]
    canvas = _drawable(image)
    for _ in range(int(rng.integers(1, 6))):
        x, foot = (
            int(rng.uniform(0, 1) * width),
            int(rng.uniform(horizon, horizon + 0.4 * (height - horizon))),
        )
        tall, color = float(rng.uniform(0.08, 0.42)) * height, _any(rng)
        kind = rng.random()
        if kind < 0.35:
            wide = int(tall * rng.uniform(0.3, 1.2))
            for corners, light in _box(x, int(foot - tall), wide, int(tall)):
                cv2.fillConvexPoly(canvas, corners, _pen(color, light), cv2.LINE_AA)
        elif kind < 0.6:
            tip = (x + int(rng.normal(0, 0.05) * tall), int(foot - 2 * tall))
            cv2.line(canvas, (x, foot), tip, _pen(color), max(2, int(tall * 0.06)), cv2.LINE_AA)
        elif kind < 0.8:
            green = _rgb(rng, (0.2, 0.42), (0.3, 0.7), (0.25, 0.6))
            for _ in range(26):
                tip = (int(x + rng.normal(0, 0.3) * tall), int(foot - tall * rng.uniform(0.3, 1.1)))
                leaf = _pen(green, float(rng.uniform(0.7, 1.3)))
                cv2.line(canvas, (x, foot), tip, leaf, max(1, int(tall * 0.04)), cv2.LINE_AA)
        else:
            radius = int(tall * 0.3) + 1
            _ball(canvas, x, foot - radius, radius, color)
    image[:] = canvas


def _box(x: int, y: int, wide: int, tall: int) -> list[tuple[npt.NDArray[np.int_], float]]:
    """Front, side and lid of a box whose front's upper left corner is (x, y), with how bright each is."""
    slant, rise = max(2, wide // 5), max(1, wide // 10)
    front = [(x, y), (x + wide, y), (x + wide, y + tall), (x, y + tall)]
    side = [front[1], (x + wide + slant, y - rise), (x + wide + slant, y + tall - rise), front[2]]
    lid = [front[0], (x + slant, y - rise), side[1], front[1]]
    return [(np.array(front), 1.0), (np.array(side), 0.65), (np.array(lid), 1.2)]


def _ball(image: Image, x: int, y: int, radius: int, color: Float32) -> None:
    rings = max(4, min(24, radius // 2))
    for ring in range(rings):
        share = 1 - ring / rings
        shift = int(radius * (1 - share) * 0.4)
        light = _pen(color, 1.3 - 0.75 * share)
        cv2.circle(image, (x - shift, y - shift), max(1, int(radius * share)), light, -1, cv2.LINE_AA)


def occluder(
    rng: np.random.Generator, color: Image, mask: Image, anchor: npt.NDArray[np.float64], size_px: float
) -> None:
    """Draw one thing that hides what is behind it.

    Args:
        color, mask: (h, w, 3) and (h, w) that it is drawn into; the mask is 255 where it covers.
        anchor: (2,) a place that it covers, pixels.
        size_px: height of a person there.
    """
    height, width = mask.shape
    x, y = (int(value) for value in anchor)
    kind = OCCLUDERS[int(rng.integers(len(OCCLUDERS)))]
    paint = _any(rng)
    if kind == "box":
        wide, tall = (rng.uniform(0.16, 0.34, 2) * size_px).astype(int)
        x0, y0 = x - int(rng.uniform(0.2, 0.8) * wide), y - int(rng.uniform(0.2, 0.8) * tall)
        for corners, light in _box(x0, y0, int(wide), int(tall)):
            cv2.fillConvexPoly(color, corners, _pen(paint, light))
            cv2.fillConvexPoly(mask, corners, 255)
        for share in (0.33, 0.66):
            cv2.line(
                color, (x0, int(y0 + share * tall)), (x0 + wide, int(y0 + share * tall)), _pen(paint, 0.7), 2
            )
    elif kind in ("pole", "rail", "hoarding"):
        thick = int(rng.uniform(0.03, 0.075) * size_px) + 2
        if kind == "hoarding":
            thick = int(rng.uniform(0.1, 0.22) * size_px)
        lines = [
            (x if kind == "pole" else y) + step * int(rng.uniform(0.2, 0.4) * size_px)
            for step in range(-1, 2)
        ]
        for middle in lines if kind == "rail" else lines[1:2]:
            low = max(0, middle - thick // 2)
            high = max(low, min((width if kind == "pole" else height), middle + thick - thick // 2))
            bend = np.linspace(-0.9, 0.9, thick, dtype=np.float32)[low - middle + thick // 2 :][: high - low]
            if kind == "hoarding":
                bend = np.full_like(bend, 0.1)
            gains = (1.1 - 0.55 * (bend + 0.3) ** 2)[:, None]
            shaded = np.clip(paint * gains, 0, 255).astype(np.uint8)
            if kind == "pole":
                color[:, low:high], mask[:, low:high] = shaded, 255
            else:
                color[low:high], mask[low:high] = shaded[:, None], 255
        if kind == "hoarding":
            for start in range(0, width, max(8, thick)):
                cv2.circle(color, (start, y), max(2, thick // 5), _pen(255 - paint), -1, cv2.LINE_AA)
    elif kind == "foliage":
        green = _rgb(rng, (0.18, 0.42), (0.35, 0.75), (0.3, 0.65))
        spread = float(rng.uniform(0.06, 0.12)) * size_px
        for _ in range(int(rng.integers(60, 130))):
            at = rng.normal(anchor, (spread, spread * 0.8)).astype(int)
            axes = (
                int(rng.uniform(0.014, 0.032) * size_px) + 1,
                int(rng.uniform(0.006, 0.014) * size_px) + 1,
            )
            where, angle = (int(at[0]), int(at[1])), float(rng.uniform(0, 180))
            cv2.ellipse(color, where, axes, angle, 0, 360, _pen(green, float(rng.uniform(0.6, 1.35))), -1)
            cv2.ellipse(mask, where, axes, angle, 0, 360, 255, -1)
    else:
        radius = int(rng.uniform(0.06, 0.13) * size_px) + 2
        cv2.circle(mask, (x, y), radius, 255, -1)
        _ball(color, x, y, radius, paint)
