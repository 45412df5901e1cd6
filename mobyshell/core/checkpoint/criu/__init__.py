"""The engine that is a program: criu(8), asked over its RPC. Where it works, it does most.

settings   what a caller wants of it
messages   the words of its protocol, and `wire` their bytes
service    a criu that is asked: one process, one socket, one conversation
program    which criu there is, what it can do, and why it cannot
log        what it wrote into its log that people should read
rooted     a program of its own: criu with a root mounted for it, seen by nobody else
"""
