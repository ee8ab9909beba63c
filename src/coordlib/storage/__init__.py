"""The disk: one ordered durable stream per member.

* ``interface``: the contract, :class:`LogStore`
* ``history``: what the stream amounts to
* ``memory``: the contract in memory, with crashes, for tests
* ``file``: the contract in a data directory; its parts, from the bytes up:

  * ``record``, ``snapshot``: the formats
  * ``directory``: the lock, the names, the few ways to change a file
  * ``log``: appends and purges, in an order that any crash may interrupt
  * ``reading``: reads log and snapshots back while they go on, for members that
    are behind; ``threaded``: the same without holding up the loop
  * ``recovery``: reads it all and tells a torn end from damage

* ``portable``: a state in a file of its own, for backups
"""
