"""Video: frames in, one pose per person and frame out, drawn frames with the sound kept.

`open_video` opens a source, `track` follows people from frame to frame, `smooth` calms their joints,
`joints_log` is the file of joints, `writer` the drawn video, and `pipeline` runs them in threads. PyAV (the
extra `video`) is imported where a container is opened, so everything else works without it.
"""
