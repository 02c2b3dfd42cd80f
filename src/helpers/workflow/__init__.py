"""Running notebooks: execution, warm starts, manifests, and the check that results are still those of their inputs."""
