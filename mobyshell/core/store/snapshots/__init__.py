"""Snapshots: filesystem trees made of layers, without anything being mounted here."""
