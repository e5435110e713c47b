"""The OpenAPI document: made from the routes, the contract and what is said of each request here."""
