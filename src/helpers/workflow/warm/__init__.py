"""A warm start: runs begin as copies of one process that has imported the large libraries already.

Importing torch, transformers and peft takes seconds, more than a small run's own work. `server` is a process that
imports them once and then forks: each fork becomes one run (`helpers.workflow.execute`) or one kernel (`kernel`, a kernel
provisioner of Jupyter). `client` starts it, asks it, and falls back to a new Python wherever a copy would not be the
same thing. The project's own modules are never imported in it, so that a change in them is always seen.
"""
