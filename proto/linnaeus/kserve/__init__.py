"""The KServe protocol `inference` and its generated stubs."""
