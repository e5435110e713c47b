"""Security of the server: TLS, tokens, rights and rate limits. Independent of the engine and of the services."""
