"""Many images in one call of the client: what both clients decide alike. Makes no call itself."""
