"""Volumes: directories with a name, which live on when their containers are gone.

volumes    a namespace's directories below the store's root: made whole, listed, removed
copy_up    what an image has at the place of a volume, copied into it at its first use
"""
