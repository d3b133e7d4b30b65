"""Where jobs run: worker processes on this machine. Knows processes and signals, not trainings."""

from lrbench.launch.pool import Died, Done, Event, Link, Message, Pool, lacks_memory

__all__ = ["Died", "Done", "Event", "Link", "Message", "Pool", "lacks_memory"]
