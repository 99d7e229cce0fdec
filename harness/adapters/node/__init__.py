"""A node: the agent that keeps releases running in slots, and what it tells of itself. Imports nothing itself."""
