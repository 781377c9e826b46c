"""Who is there: boxes, files of boxes, detectors."""
