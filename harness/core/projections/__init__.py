"""Projections: what is asked of the ledger again and again, folded event by event into documents. Pure; one file each.

For people only. A projection lags behind its ledger, so whatever decides reads the stream; an import contract keeps
stages, agents and workflows away from this room.
"""
