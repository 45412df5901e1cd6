"""Measuring, as a part of the product: mobyshell and its peers, alternating in one run.

A number without its peer in the same run means nothing on a shared machine; every result here
is a median with the ratio to a peer beside it.
"""
