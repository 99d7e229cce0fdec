"""A rate limiter as a service: decides whether a key may spend tokens. Imports only its own three libraries."""

__version__ = "0.1.0"
