"""What a run is made of, as typed settings read from YAML."""
