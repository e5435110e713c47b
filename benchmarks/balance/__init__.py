"""Load balancers before several servers: the shipped configurations, run and measured."""
