"""The data plane by Envoy: what it is told (config) and how that is changed safely (routes). Imports nothing itself."""
