"""Looking into a running process of ours: its stacks, its memory, where its time goes.

A process answers for itself, at a socket of its own; nothing of this is imported before somebody
asks. docs/debug.md tells how to ask.
"""
