"""The metadata in which the proxy tells replicas how much time a call has left."""

TIMEOUT_KEY = "linnaeus-timeout-seconds"
