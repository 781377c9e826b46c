"""Poses in the forms of other programs, and back: COCO files, tables, `supervision.KeyPoints`."""
