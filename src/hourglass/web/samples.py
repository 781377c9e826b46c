"""Pictures for the page to try the network on: two photos that may be published, and rendered people."""

import io
from functools import lru_cache
from importlib import resources

from PIL import Image

from hourglass.synthetic.render import render

SEEDS = (134, 112, 125, 114, 127, 106)
"""Chosen: in the first five the bundled network's second stack corrects its first; the sixth goes wrong."""
SAMPLE_PX = 384
PHOTOS = ("astronaut", "camera")
"""In `photos/`, whose README tells where they come from and on which terms."""


def photo_jpeg(name: str) -> bytes:
    """One of `PHOTOS` as a JPEG file."""
    return (resources.files("hourglass.web") / "photos" / f"{name}.jpg").read_bytes()


@lru_cache(maxsize=len(SEEDS))
def sample_jpeg(number: int) -> bytes:
    """Sample `number` (0-based) as a JPEG file; raises IndexError past the last."""
    file = io.BytesIO()
    scene = render(SEEDS[number], height=SAMPLE_PX, width=SAMPLE_PX)
    Image.fromarray(scene.image).save(file, "JPEG", quality=92)
    return file.getvalue()
