"""Decides how properties are tried: without a time limit, as no property here is about time. Touches Hypothesis alone.

Its default is 200 ms for an example, by the clock on the wall: a stall of the machine would fail a property that
holds. The session's own limit still ends what hangs.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("harness", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("harness")
