"""Kept kernels: consecutive runs on the same base model share a kernel that has loaded it already. Off by default.

A run stays a job, a notebook and an executed copy of its own. `keeper` is a process that lives as long as the workflow,
owns the kernels and lends each to one run at a time; `client` starts and asks it; `borrowing` decides which runs take
part and makes Jupyter use what was lent; `renew` is run in a kernel before it serves another run. What stays in the
kernel is the model as it was loaded (`helpers.models.kept`), never one that was trained on.

A kernel goes back only after a run that succeeded. Whatever else happens to a run, its connection to the keeper closes,
and the keeper ends the kernel.
"""
