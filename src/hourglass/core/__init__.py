"""What everything stands on: joints, annotated people, coordinates, files."""
