"""The world again, in memory: what the real adapters are compared with. No file, no network, no database."""
