"""tar archives as streams: reading any that layers come in, writing one kind, always the same.

After pax(1) of POSIX.1-2017 (ustar and pax), tar(5) of libarchive (V7, GNU, star). Touches no file:
the reader is given chunks, the writer gives headers.
"""
