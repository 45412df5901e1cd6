"""A tree of processes into images on disk, and back again. Engines only: what a container is, and
what becomes of its record, is the runtime's."""
