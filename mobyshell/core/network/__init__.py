"""Networks of containers: what runC leaves to its caller.

A network is a file, a configuration list of CNI; an attachment of a container to networks is a plan
of kernel operations that can be read before it is done, and a record that says how to undo it.

    config, networks     what a network is, and where those of a namespace lie
    addresses            who has which address, shared with CNI's host-local
    ports, names         what is published; resolv.conf, hosts and hostname (servers: what networks add)
    planner              configuration lists and addresses to operations; pure
    worker               the process that does them, in the namespaces they are for
    records, attach      what is attached, from before the kernel knows until after
    cni, slirp, proxy    plugins, user-mode networks, and forwarding without the kernel's help
    checking             whether plugins find all as they made it
"""
