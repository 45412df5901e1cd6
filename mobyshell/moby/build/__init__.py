"""Building images: steps, each on the snapshot of the one before, cached by what they depend on.

    Dockerfile or build.yml  ──▶  Stage, Step  ──builder──▶  layers, configuration, image

What BuildKit does with containerd, in small: RUN is a container on a snapshot, whose changes become
a layer; everything else puts files into a layer or changes the configuration.
"""
