"""Settings of the server and of one model: read once, checked once, passed down."""
