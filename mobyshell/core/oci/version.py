"""The version of the runtime specification that this project speaks."""

OCI_VERSION = "1.2.0"
