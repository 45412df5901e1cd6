"""The screens of the workbench, one a file: compose, bindings, handlers, nothing else."""
