"""The tools of an agent, by effect: read looks, work changes the ticket's own branch, end ends the session."""
