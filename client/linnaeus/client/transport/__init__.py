"""How requests reach a server: addresses, TLS, tokens, channel options, retries, hedging, deadlines, message sizes."""
