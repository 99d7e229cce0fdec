"""The local stack: which processes it has, how they are kept alive, and how they are all stopped. Knows no ticket."""
