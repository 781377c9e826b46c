import numpy as np
import pytest

from hourglass.data.loading.augment import IDENTITY, Augmentation, generator, recolour, sample
from hourglass.recipe.recipe import AugmentRecipe

EVERYTHING = AugmentRecipe(shift=0.1, brightness=0.2, noise=0.1, erase=0.5)


def draws(spec: AugmentRecipe, count: int = 4000) -> list[Augmentation]:
    return [sample(generator(1, 0, i), spec) for i in range(count)]


def test_a_draw_depends_on_seed_epoch_and_index_only() -> None:
    first = sample(generator(3, 5, 7), EVERYTHING)
    sample(generator(3, 5, 8), EVERYTHING)
    assert sample(generator(3, 5, 7), EVERYTHING) == first
    others = [sample(generator(*key), EVERYTHING) for key in ((4, 5, 7), (3, 6, 7), (3, 5, 8), (5, 3, 7))]
    assert first not in others


def test_torch7_law_final_recipe() -> None:
    """2^clip(N(0, .25), +-.5); rotation clip(N(0, 30), +-60) with probability .4; flip .5; gain .6..1.4."""
    views = draws(AugmentRecipe())
    scale = np.log2([v.scale for v in views])
    assert np.abs(scale).max() == pytest.approx(0.5)
    assert scale.std() == pytest.approx(0.25 * 0.94, abs=0.01)  # clipping at 2 sd takes 6 % off the spread
    turned = np.array([v.rotate_deg for v in views if v.rotate_deg])
    assert len(turned) / len(views) == pytest.approx(0.4, abs=0.03)
    assert np.abs(turned).max() == pytest.approx(60)
    assert np.mean([v.flip for v in views]) == pytest.approx(0.5, abs=0.03)
    gains = np.array([v.gains for v in views])
    assert 0.6 <= gains.min() < 0.61
    assert 1.39 < gains.max() <= 1.4
    assert {(v.shift, v.offset, v.noise, v.erased) for v in views} == {((0.0, 0.0), 0.0, 0.0, None)}


@pytest.mark.parametrize(
    ("law", "low", "high"),
    [("uniform", 0.6, 1.4), ("normal", 0.6, 1.4), ("log2_normal", 2**-0.8, 2**0.8)],
)
def test_scale_laws_reach_their_bounds_and_no_further(law: str, low: float, high: float) -> None:
    scales = [v.scale for v in draws(AugmentRecipe(scale=0.4, scale_law=law))]
    assert low - 1e-9 <= min(scales) < low * 1.02
    assert high * 0.98 < max(scales) <= high + 1e-9


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scale", 0.1),
        ("scale_law", "uniform"),
        ("rotate_deg", 10.0),
        ("rotate_law", "uniform"),
        ("rotate_probability", 1.0),
        ("shift", 0.2),
        ("flip_probability", 1.0),
        ("gain", 0.1),
        ("brightness", 0.3),
        ("noise", 0.3),
        ("erase", 1.0),
    ],
)
def test_every_option_changes_something(key: str, value: object) -> None:
    changed = AugmentRecipe(**{key: value})  # type: ignore[arg-type]
    assert draws(changed, 50) != draws(AugmentRecipe(), 50)


def test_switching_one_thing_off_leaves_the_others() -> None:
    with_all, without = draws(EVERYTHING, 50), draws(AugmentRecipe(shift=0.0, brightness=0.2, noise=0.1), 50)
    assert [v.scale for v in with_all] == [v.scale for v in without]
    assert [v.gains for v in with_all] == [v.gains for v in without]
    assert [v.offset for v in with_all] == [v.offset for v in without]


def test_identity_changes_no_pixel() -> None:
    crop = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    assert np.array_equal(recolour(crop, IDENTITY), crop)


def test_gain_and_offset_against_floats() -> None:
    crop = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    got = recolour(crop, Augmentation(gains=(0.5, 1.0, 1.4), offset=-10))
    want = np.clip(np.rint(crop * np.array([0.5, 1.0, 1.4]) - 10), 0, 255)
    assert np.array_equal(got, want)


def by_table(crop: np.ndarray, gains: tuple[float, float, float], offset: float) -> np.ndarray:
    """Every level of every channel on its own, in float64."""
    table = np.clip(np.rint(np.arange(256)[:, None] * np.array(gains) + offset), 0, 255).astype(np.uint8)
    return np.stack([table[crop[..., c], c] for c in range(3)], axis=-1)


@pytest.mark.parametrize("shape", [(64, 64), (96, 64), (63, 61), (1, 1), (7, 9)])
def test_colours_are_those_of_a_table_to_the_bit(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    crop = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    for number in range(400):
        gains = tuple(rng.uniform(0.2, 1.9, 3).tolist())
        offset = float(rng.uniform(-60, 60)) if number % 2 else 0.0
        got = recolour(crop, Augmentation(gains=gains, offset=offset))
        assert np.array_equal(got, by_table(crop, gains, offset)), (gains, offset)


@pytest.mark.parametrize("tie", [(0.5, 1.5, 0.7), (0.1, 0.3, 0.9), (1.1, 1.3, 1.7)])
def test_levels_that_lie_between_two_numbers(tie: tuple[float, float, float]) -> None:
    """Products that end in .5, where float32 and float64 may round to different sides."""
    crop = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
    for offset in (0.0, 0.5, -0.5, 10.5):
        assert np.array_equal(
            recolour(crop, Augmentation(gains=tie, offset=offset)), by_table(crop, tie, offset)
        )


def test_recolouring_in_place_is_the_same() -> None:
    crop = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for number in range(40):
        view = sample(generator(0, 0, number), EVERYTHING)
        own = crop.copy()
        assert recolour(own, view, inplace=True) is own
        assert np.array_equal(own, recolour(crop, view))


def test_draws_are_those_of_numpy() -> None:
    """The law written out with numpy's scalars, as the draws have been made from the start."""
    spec = EVERYTHING
    for index in range(500):
        rng = generator(7, 3, index)
        normals, u = rng.standard_normal(2), rng.random(16)
        view = sample(generator(7, 3, index), spec)
        assert view.scale == 2.0 ** (spec.scale * np.clip(normals[0], -2, 2))
        assert view.rotate_deg in (0.0, spec.rotate_deg * np.clip(normals[1], -2, 2))
        assert view.gains == tuple(1 + spec.gain * (2 * v - 1) for v in u[6:9])
        assert view.shift == tuple(spec.shift * (2 * v - 1) for v in u[4:6])
        assert view.noise_seed == rng.integers(2**32)
        assert view.erased_colour == tuple(rng.integers(0, 256, 3))


def test_noise_has_its_spread_and_repeats() -> None:
    crop = np.full((64, 64, 3), 128, np.uint8)
    view = Augmentation(noise=10.0, noise_seed=4)
    noisy = recolour(crop, view)
    assert np.array_equal(noisy, recolour(crop, view))
    assert (noisy.astype(float) - 128).std() == pytest.approx(10, rel=0.05)
    assert not np.array_equal(noisy, recolour(crop, Augmentation(noise=10.0, noise_seed=5)))


def test_erasing_covers_the_rectangle_and_spares_the_original() -> None:
    crop = np.zeros((100, 100, 3), np.uint8)
    view = Augmentation(erased=(0.5, 0.2, 0.2, 0.6), erased_colour=(1, 2, 3))
    got = recolour(crop, view)
    want = np.zeros_like(crop)
    want[0:50, 40:60] = (1, 2, 3)  # 0.2 -+ 0.3 is cut at the border
    assert np.array_equal(got, want)
    assert not crop.any()
