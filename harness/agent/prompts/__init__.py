"""Prompts as text files beside this one; ``bootstrap`` reads them and hands them on as values."""
