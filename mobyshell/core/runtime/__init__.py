"""runC: spec → plan → container. One file a verb; `Runtime` is the face."""
