"""Trust: who has signed an image, and whether that is enough.

Owns keys, signatures as cosign makes and stores them, and the policy. Knows no store and no
registry: a signature is an image of its own beside the one it is for, and travels as images do.
"""
