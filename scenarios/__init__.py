"""Incidents as data, and the oracles that tell whether one is over; imports nothing of what it judges."""
