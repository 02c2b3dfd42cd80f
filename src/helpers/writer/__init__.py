"""Writers: what says in words what a class looks like and what is known of it. `writing.open_writer` opens one."""
