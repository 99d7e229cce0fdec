"""Temporal only: workflows order and wait, activities are thin shells around one stage each. No rule lives here."""
