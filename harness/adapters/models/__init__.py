"""The port ``Model`` over the providers' own SDKs, which nothing else imports. Decides nothing about conversations."""
