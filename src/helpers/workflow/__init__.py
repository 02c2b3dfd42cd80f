"""Running notebooks: execution, warm starts, manifests, and the check that results still match their inputs."""
