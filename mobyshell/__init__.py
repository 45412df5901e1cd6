"""mobyshell: a workbench for the Moby building blocks (runC, containerd, LinuxKit).

Owns the version and nothing else; importing it loads nothing.
"""

__version__ = "0.1.0"
