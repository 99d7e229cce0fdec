"""The rules, as pure functions over values: no clock, no I/O, no randomness."""
