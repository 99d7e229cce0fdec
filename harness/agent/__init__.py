"""The loop that turns a ticket into a proposed change. Agents propose; the pipeline disposes."""
