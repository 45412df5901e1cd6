"""The verbs: each written once, with a face of its own nowhere. See `registry`."""
