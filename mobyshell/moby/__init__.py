"""The facade: what containerd's client package is to Go, in Python."""
