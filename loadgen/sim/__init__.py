"""A fleet of simulated engines: the service's own policies and fleet decisions against a true cost and acceptance."""
