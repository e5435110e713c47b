"""TLS, tokens, rights and rate limits."""
