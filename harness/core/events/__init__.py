"""Every event, in the past tense, and the values they hold: ``from harness.core import events as e``. Touches nothing.

Free text of people and of the world is never in an event: it is a blob, and the event holds its ``BlobRef``
(``sha256:…``). Times are UTC; shares are 0..1; an unknown number is None, never 0. Field names carry units.
"""

from __future__ import annotations

from harness.core.events.bodies import *  # noqa: F403  # every name once, in the room where it is written
from harness.core.events.delivery import *  # noqa: F403
from harness.core.events.intake import *  # noqa: F403
from harness.core.events.notices import *  # noqa: F403
from harness.core.events.signals import *  # noqa: F403
from harness.core.events.texts import *  # noqa: F403
from harness.core.events.ticket import *  # noqa: F403
from harness.core.events.turns import *  # noqa: F403
from harness.core.events.values import *  # noqa: F403
from harness.core.events.values import Event
from harness.core.events.work import *  # noqa: F403


def _leaves(cls: type[Event]) -> list[type[Event]]:
    return [leaf for sub in cls.__subclasses__() for leaf in (_leaves(sub) or [sub])]


EVENTS: dict[str, type[Event]] = {cls.__name__: cls for cls in _leaves(Event)}
"""Every event type by its name, which is how the ledger stores it."""
