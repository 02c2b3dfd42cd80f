"""Writers, which describe what a class looks like and what is known about it. `interface.open_writer` opens one."""
