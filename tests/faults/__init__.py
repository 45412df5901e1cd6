"""The ten experiments: what is killed, refused, cut off, damaged, raced and flooded, and what must
hold afterwards. docs/store.md has the table; `make sweep` runs every point of all of them.
"""
