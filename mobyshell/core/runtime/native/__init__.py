"""The native executor for x86-64: programs walked by machine code, in a process without Python.

`stub.s` is the walker, `launcher.s` what is around it as a static program of a few hundred bytes.
`assembler` turns it into bytes, `code` holds them (made by `make native`, so
that nothing is assembled at run time), `image` wraps them into a sealed executable, `executor`
starts it.
"""
