"""The users of the rate limiter: ask at a constant rate, judge the answers; import nothing of harness or service."""
