"""Which model versions are served: catalog, loader, reconciler, version switch."""
