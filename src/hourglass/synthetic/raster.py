"""A small orthographic renderer: round cones through a depth buffer, procedural materials, light and shadow.

A round cone is the hull of two balls, optionally flattened along one axis; everything a synthetic person
is made of is one. Each is intersected exactly with the pixels' rays in the small patch that it covers, so
the depth buffer says which body part every pixel shows. Canvas coordinates are x right, y down, z towards
the viewer, all in canvas pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Color = tuple[float, float, float]

FAR = np.float32(-1e9)


@dataclass(frozen=True)
class Material:
    """What a surface looks like, from coordinates in the part's own frame (metres for the body).

    Args:
        color: RGB, 0 to 1.
        pattern: plain, stripes (across), bars (along), checks, dots, patches, panel, strands, eye or face.
        other: second colour of the pattern.
        size: period of the pattern in the part's unit.
        gloss: strength of the highlight, 0 to 1.
        folds: strength of the creases of cloth, 0 to 1.
        below: another material for everything under a height, e.g. trousers under a shirt's hem.
    """

    color: Color
    pattern: str = "plain"
    other: Color = (0.0, 0.0, 0.0)
    size: float = 0.1
    gloss: float = 0.05
    folds: float = 0.0
    below: "tuple[float, Material] | None" = None


@dataclass(frozen=True)
class Cone:
    """A round cone in viewer's metres (x right, y up, z towards the viewer).

    Args:
        part: what the pixels it wins are labelled with, at least 1.
        a, b: (3,) centres of the two balls.
        radius_a, radius_b: their radii.
        frame: (3, 3) orientation of the part; columns are its x, y and z.
        origin: (3,) where the material's coordinates start.
        material: its surface.
        flat: thickness along `flat_axis` (0 to 2, a column of the frame) as a share of the radius.
        unit_m: length of the material's unit.
        capped: False leaves the ends open, as a skirt's.
    """

    part: int
    a: Vector
    b: Vector
    radius_a: float
    radius_b: float
    frame: Vector
    origin: Vector
    material: Material
    flat: float = 1.0
    flat_axis: int = 2
    unit_m: float = 1.0
    capped: bool = True


@dataclass(frozen=True)
class Placement:
    """Where metres land on a canvas: `x_px + scale * x_m`, `y_px - scale * y_m`, `z_px + scale * z_m`."""

    scale: float
    x_px: float
    y_px: float
    z_px: float = 0.0

    def points(self, points_m: Vector) -> Vector:
        """(..., 3) metres to (..., 3) canvas pixels."""
        offset = np.array([self.x_px, self.y_px, self.z_px])
        return np.asarray(points_m * (self.scale * _FLIP) + offset)


_FLIP = np.array([1.0, -1.0, 1.0])


@dataclass(frozen=True)
class _Placed:
    """A cone on the canvas. `stretch` (3, 3) makes the flattened cone round; `axis` is b - a after it."""

    cone: Cone
    a: Vector
    b: Vector
    radius_a: float
    radius_b: float
    stretch: Vector
    axis: Vector
    scale: float


@dataclass(frozen=True)
class Canvas:
    """What is seen at every pixel of (h, w): depth, part (0 background), which of `cones` it is."""

    depth: Float32
    part: npt.NDArray[np.int16]
    owner: npt.NDArray[np.int16]
    cones: list[_Placed]


def empty_canvas(height: int, width: int) -> Canvas:
    """A canvas of this many pixels that shows nothing yet."""
    shape = (height, width)
    return Canvas(np.full(shape, FAR), np.zeros(shape, np.int16), np.full(shape, -1, np.int16), [])


def add(canvas: Canvas, cone: Cone, place: Placement, base_label: int = 0) -> None:
    """Draw one cone into the depth, part and owner buffers; it is shaded later, with everything else.

    Its pixels are labelled `base_label + cone.part`.
    """
    axis = cone.frame[:, cone.flat_axis] * _FLIP
    stretch = np.eye(3) + (1 / cone.flat - 1) * np.outer(axis, axis)
    a, b = place.points(cone.a), place.points(cone.b)
    radius_a, radius_b = cone.radius_a * place.scale, cone.radius_b * place.scale
    placed = _Placed(cone, a, b, radius_a, radius_b, stretch, stretch @ (b - a), place.scale)
    y0, y1, x0, x1 = _bounds(placed, *canvas.depth.shape)
    if x0 >= x1 or y0 >= y1:
        return
    patch = (slice(y0, y1), slice(x0, x1))
    depth = _depth(placed, np.arange(x0, x1), np.arange(y0, y1)[:, None])
    nearer = depth > canvas.depth[patch]
    np.copyto(canvas.depth[patch], depth, where=nearer)
    np.copyto(canvas.part[patch], np.int16(base_label + cone.part), where=nearer)
    np.copyto(canvas.owner[patch], np.int16(len(canvas.cones)), where=nearer)
    canvas.cones.append(placed)


def _bounds(cone: _Placed, height: int, width: int) -> tuple[int, int, int, int]:
    """First and past-last row, first and past-last column of the canvas that the cone can touch."""
    low = np.floor(np.minimum(cone.a - cone.radius_a, cone.b - cone.radius_b)).astype(int)
    high = np.ceil(np.maximum(cone.a + cone.radius_a, cone.b + cone.radius_b)).astype(int) + 1
    return max(0, int(low[1])), min(height, int(high[1])), max(0, int(low[0])), min(width, int(high[0]))


def _depth(cone: _Placed, xs: npt.NDArray[np.int_], ys: npt.NDArray[np.int_]) -> Float32:
    """(h, w) depth where each pixel's ray enters the cone, FAR where it misses.

    Every term of the intersection of a ray with a round cone (I. Quilez, "Intersectors") is a polynomial
    in the pixel for parallel rays, so the coefficients are worked out once per cone.
    """
    u, v = xs - cone.a[0], ys - cone.a[1]
    ray = -cone.stretch[:, 2]
    length = float(np.linalg.norm(ray))
    ray = ray / length
    ra, rb, axis = cone.radius_a, cone.radius_b, cone.axis
    metric = (cone.stretch @ cone.stretch)[:2, :2]
    along = (cone.stretch @ axis)[:2]  # m1 = along . (u, v)
    forward = (cone.stretch @ ray)[:2]  # m3 = forward . (u, v)
    m0, m2, rr = float(axis @ axis), float(axis @ ray), ra - rb
    d2 = m0 - rr * rr
    k2 = d2 - m2 * m2
    depth = np.full((len(ys), len(xs)), FAR)
    if k2 > 1e-4 * max(d2, 1e-9):
        k1, k1_0 = (d2 * forward - along * m2) / k2, m2 * rr * ra / k2
        square = np.outer(k1, k1) - (d2 * metric - np.outer(along, along)) / k2
        linear = 2 * k1_0 * k1 - 2 * rr * ra * along / k2
        h = _polynomial(square, linear, k1_0**2 + m0 * ra * ra / k2, u, v)
        t = -np.sqrt(np.maximum(h, 0)) - _linear(k1, k1_0, u, v)
        s = (_linear(along, -ra * rr, u, v) + t * np.float32(m2)) / np.float32(d2)
        hit = (h > 0) & (s > 0) & (s < 1)
        np.copyto(depth, -t, where=hit)
    if cone.cone.capped:
        ends = np.outer(forward, forward) - metric
        h = _polynomial(ends, np.zeros(2), ra * ra, u, v)
        _nearest(depth, h, _linear(forward, 0.0, u, v))
        h = _polynomial(ends, -2 * m2 * forward + 2 * along, m2 * m2 - m0 + rb * rb, u, v)
        _nearest(depth, h, _linear(forward, -m2, u, v))
    hit = depth > FAR
    return np.where(hit, depth / np.float32(length) + np.float32(cone.a[2]), FAR)


def _polynomial(square: Vector, linear: Vector, constant: float, u: Vector, v: Vector) -> Float32:
    row = ((square[0, 0] * u + linear[0]) * u + constant).astype(np.float32)
    column = ((square[1, 1] * v + linear[1]) * v).astype(np.float32)
    out = np.asarray(row + column, np.float32)
    if square[0, 1]:
        out += (2 * square[0, 1] * u).astype(np.float32) * v.astype(np.float32)
    return out


def _linear(factors: Vector, constant: float, u: Vector, v: Vector) -> Float32:
    row, column = factors[0] * u + constant, factors[1] * v
    return np.asarray(row.astype(np.float32) + column.astype(np.float32))


def _nearest(depth: Float32, h: Float32, along_ray: Float32) -> None:
    """Keep in `depth` the nearer of what is there and a ball's surface."""
    ball = along_ray + np.sqrt(np.maximum(h, 0))
    np.copyto(depth, ball, where=(h > 0) & (ball > depth))


@dataclass(frozen=True)
class Light:
    """A distant lamp: (3,) unit direction towards it in canvas axes, its colour and the shade's colour."""

    direction: Vector
    color: Color
    ambient: Color


def shade(canvas: Canvas, light: Light, scale: float, tile: Float32) -> Float32:
    """(h, w, 4) premultiplied RGB and coverage, 0 to 1, of everything drawn.

    Args:
        scale: canvas pixels per metre, for the reach of shadows.
        tile: (n, n) smooth noise of mean 0, for cloth and hair.
    """
    height, width = canvas.depth.shape
    out = np.zeros((height, width, 4), np.float32)
    rows, columns = np.nonzero(canvas.owner.max(axis=1) >= 0)[0], np.nonzero(canvas.owner.max(axis=0) >= 0)[0]
    if not len(rows):
        return out
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    direct, open_sky = _lit(canvas.depth[box], light, scale)
    seen, normals = [], np.zeros((height, width, 3), np.float32)
    for index, placed in enumerate(canvas.cones):
        y0, y1, x0, x1 = _bounds(placed, height, width)
        ys, xs = np.nonzero(canvas.owner[y0:y1, x0:x1] == index)
        if len(ys):
            ys, xs = ys + y0, xs + x0
            where = np.stack([xs, ys, canvas.depth[ys, xs]], axis=1).astype(np.float32)
            normals[ys, xs] = _normals(placed, where)
            seen.append((placed, ys, xs, where))
    # Skin and cloth have no seams where two cones meet.
    normals[box] = cv2.GaussianBlur(normals[box], (0, 0), max(0.5, 0.011 * scale))
    for placed, ys, xs, where in seen:
        normal, at = normals[ys, xs], (ys - rows[0], xs - columns[0])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
        out[ys, xs, :3] = _surface(placed, where, normal, direct[at], open_sky[at], light, tile)
        out[ys, xs, 3] = 1
    return out


def _lit(depth: Float32, light: Light, scale: float) -> tuple[Float32, Float32]:
    """(h, w) share of direct light and of open sky at each pixel, from what the depth buffer shows."""
    x, y, z = light.direction
    shadow = np.zeros_like(depth)
    steps = (0.03, 0.055, 0.085, 0.12, 0.17, 0.23)
    for step in steps:
        reach = step * scale
        dx, dy = round(x * reach), round(y * reach)
        there = _shifted(depth, dx, dy)
        rise = there - depth - np.float32(z * reach)
        # A blocker far in front of the ray (another person) casts no shadow here.
        shadow += (rise > 0.006 * scale) & (rise < 0.35 * scale)
    open_way = 1 - np.minimum(shadow, 2) / 2
    direct = cv2.GaussianBlur(open_way, (0, 0), max(0.5, 0.006 * scale))
    drawn = (depth > FAR).astype(np.float32)
    size = max(3, int(0.09 * scale) | 1)
    known = np.where(drawn > 0, depth, np.float32(0))
    total = np.asarray(cv2.boxFilter(known, -1, (size, size), normalize=False), np.float32)
    count = np.asarray(cv2.boxFilter(drawn, -1, (size, size), normalize=False), np.float32)
    hollow = (total / np.maximum(count, 1) - depth) / np.float32(0.10 * scale)
    return np.asarray(direct, np.float32), np.asarray(1 - 0.55 * np.clip(hollow, 0, 1), np.float32)


def _shifted(array: Float32, dx: int, dy: int) -> Float32:
    """`out[y, x] = array[y + dy, x + dx]`, FAR beyond the border."""
    height, width = array.shape
    out = np.full_like(array, FAR)
    ys, xs = slice(max(0, -dy), min(height, height - dy)), slice(max(0, -dx), min(width, width - dx))
    if ys.start < ys.stop and xs.start < xs.stop:
        out[ys, xs] = array[ys.start + dy : ys.stop + dy, xs.start + dx : xs.stop + dx]
    return out


def _surface(
    placed: _Placed,
    where: Float32,
    normal: Float32,
    direct: Float32,
    open_sky: Float32,
    light: Light,
    tile: Float32,
) -> Float32:
    """(n, 3) colours of the points (n, 3) of one cone, with their (n, 3) normals and (n,) shares of light."""
    cone = placed.cone
    frame = (cone.frame * _FLIP[:, None]) / (placed.scale * cone.unit_m)
    start = placed.a - _FLIP * (cone.a - cone.origin) * placed.scale
    local = (where - start.astype(np.float32)) @ frame.astype(np.float32)
    color, gloss, folds = paint(cone.material, local, tile)
    toward = light.direction.astype(np.float32)
    facing = normal @ toward
    if folds.any():
        facing = facing + folds * _noise(tile, local[:, 0] * 9, local[:, 1] * 6 + local[:, 2] * 5)
    wrapped = np.clip((facing + 0.25) / 1.25, 0, 1) * (0.25 + 0.75 * direct)
    sky = (0.72 - 0.28 * normal[:, 1]) * open_sky * (0.72 + 0.28 * normal[:, 2])
    glance = np.clip(normal @ _half(toward), 0, 1) ** 24 * gloss * direct
    shine = wrapped[:, None] * np.array(light.color, np.float32) + sky[:, None] * np.array(
        light.ambient, np.float32
    )
    return np.asarray(np.clip(color * shine + glance[:, None], 0, 1), np.float32)


def _half(toward: Float32) -> Float32:
    half = toward + np.array([0, 0, 1], np.float32)
    return np.asarray(half / np.linalg.norm(half), np.float32)


def _normals(placed: _Placed, where: Float32) -> Float32:
    """(n, 3) unit normals: away from the nearest point of the axis, through the flattening."""
    offset = where - placed.a.astype(np.float32)
    along = placed.stretch @ placed.axis
    rr = placed.radius_a - placed.radius_b
    d2 = max(float(placed.axis @ placed.axis) - rr * rr, 1e-6)
    share = np.clip((offset @ along.astype(np.float32) - placed.radius_a * rr) / d2, 0, 1)
    metric = (placed.stretch @ placed.stretch).astype(np.float32)
    normal = offset @ metric - share[:, None] * along.astype(np.float32)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    return np.asarray(normal, np.float32)


def _noise(tile: Float32, x: Float32, y: Float32) -> Float32:
    """(n,) values of a repeating tile; one tile is 4 units wide."""
    size = len(tile)
    i, j = (y * (size / 4)).astype(np.int32) % size, (x * (size / 4)).astype(np.int32) % size
    return np.asarray(tile[i, j])


def paint(material: Material, local: Float32, tile: Float32) -> tuple[Float32, Float32, Float32]:
    """(n, 3) colour, (n,) gloss and (n,) folds at coordinates (n, 3) of the part's frame."""
    x, y, z = local.T
    base, other = np.array(material.color, np.float32), np.array(material.other, np.float32)
    period = material.size
    grain = 1 + 0.05 * _noise(tile, x * 40, (y + z) * 40)
    mix: npt.NDArray[np.floating] | npt.NDArray[np.bool_] | None
    match material.pattern:
        case "plain":
            mix = None
        case "stripes":
            mix = (y / period) % 1 < 0.42
        case "bars":
            mix = ((x + 0.4 * z) / period) % 1 < 0.38
        case "checks":
            mix = 0.5 * ((x / period) % 1 < 0.45) + 0.5 * ((y / period) % 1 < 0.45)
        case "dots":
            mix = ((x / period) % 1 - 0.5) ** 2 + ((y / period) % 1 - 0.5) ** 2 < 0.07
        case "patches":
            mix = _noise(tile, x * 7 + z * 5, y * 7) > 0.08
        case "panel":
            mix = (np.abs(x) < period) & (z > 0)
        case "strands":
            mix = np.clip(0.5 + 0.55 * _noise(tile, (x + 0.6 * z) * 28, (y - z) * 3), 0, 1)
        case "eye":
            mix = x * x + y * y < period * period
        case "face":
            mix = _brows(x, y, z)
        case unknown:
            raise ValueError(f"there is no pattern {unknown!r}")
    color = np.broadcast_to(base, (len(x), 3))
    if mix is not None:
        color = color + np.asarray(mix, np.float32)[:, None] * (other - color)
    color = np.asarray(color * grain[:, None], np.float32)
    gloss = np.full(len(x), material.gloss, np.float32)
    folds = np.full(len(x), material.folds, np.float32)
    if material.below is not None:
        height, under = material.below
        low = y < height
        if low.any():
            color[low], gloss[low], folds[low] = paint(under, local[low], tile)
    return color, gloss, folds


def _brows(x: Float32, y: Float32, z: Float32) -> npt.NDArray[np.bool_]:
    """(n,) True at the brows; coordinates in shares of the stature from the upper neck."""
    side = np.abs(x)
    arch = y - 0.0795 + 14 * (side - 0.014) ** 2
    return np.asarray((z > 0.02) & (side > 0.008) & (side < 0.028) & (np.abs(arch) < 0.0026))
