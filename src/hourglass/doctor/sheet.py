"""Old name of what doctor.report draws, kept for who imports it."""

from hourglass.doctor.report import save as save
from hourglass.doctor.report import sheet as sheet
