"""containerd at rest: content, snapshots, images, containers, leases, garbage collection.

Small things are rows in one SQLite database, big things are files beside it. Rows are the truth
for names, files for bytes: what a row names is on the disk before the row is, and a row is gone
before what it named is.
"""
