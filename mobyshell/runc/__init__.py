"""`mobyshell-runc`: the drop-in OCI runtime, as containerd, podman and docker call it.

Owns runc's command line (its commands, flags, exit codes, JSON and messages) over
`mobyshell.core.runtime`. One process per call, and nothing of it stays behind. It never knows the
shim, the verbs or a face, and imports only what a command needs: it is started for every step of
every container.
"""
