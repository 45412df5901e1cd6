"""The kernel's doors: one file per facility, mechanism without policy."""
