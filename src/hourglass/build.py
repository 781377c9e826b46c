"""Old name of weights.load, models.build, data.loading.records, kept for who imports it."""

from hourglass.data.loading.records import *  # noqa: F403
from hourglass.models.build import *  # noqa: F403
from hourglass.weights.load import *  # noqa: F403
