"""Tests of the tasks floor (a package, so that its module names are its own)."""
