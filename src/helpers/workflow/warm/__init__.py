"""Warm starts: runs begin as forks of one process that has already imported the large libraries.

Importing torch, transformers and peft takes seconds, longer than a small run's own work. `server` imports them once and
then forks. Each fork becomes one run (`helpers.workflow.execute`) or one kernel (`kernel`, a kernel provisioner for
Jupyter). `client` starts the server and sends it requests; where a fork would not be equivalent, it falls back to a new
Python. The server never imports the project's own modules, so a change in them always takes effect.
"""
