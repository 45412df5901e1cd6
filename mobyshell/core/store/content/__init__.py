"""Bytes by their digest: blobs, and the ingests that become blobs."""
