"""Garbage collection: what nothing needs any more goes; what something needs says what that is."""
