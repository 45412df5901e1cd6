"""Attacks on the runtime, made for real: each docstring says what it tries, and how success would show."""
