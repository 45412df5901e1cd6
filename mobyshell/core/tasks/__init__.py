"""Containers alive: the keeper and the shim that parent them, and the client that asks."""
