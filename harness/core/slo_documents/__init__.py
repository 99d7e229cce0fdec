"""Objectives in three forms (native, Sloth's, OpenSLO's), and the Prometheus rules that they ask for. Pure."""
