"""Metrics in Prometheus' text format: of containers by containerd's names, of the store and the shim."""
