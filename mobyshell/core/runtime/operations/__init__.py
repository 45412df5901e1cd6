"""Builders of operations, one file per family; each turns a part of the spec into plan entries."""
