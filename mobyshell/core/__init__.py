"""The core: everything that works without a terminal. Loads no user-interface library."""
