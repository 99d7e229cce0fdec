"""The HTTP interface: routes, who may use them, and what they take at most. Holds no rule of tickets or signals."""
