"""The disk: one ordered durable stream per member.

* ``interface``: the contract, :class:`LogStore`
* ``history``: what the stream amounts to
* ``memory``: the contract in memory, with crashes, for tests
* ``file``: the contract in a data directory; its parts, from the bytes up:

  * ``record``, ``snapshot``: the formats
  * ``directory``: the lock, the names, the few ways to change a file
  * ``log``: appends and purges, in an order that any crash may interrupt
  * ``reading``: reads the log back while it goes on, for members that are behind
  * ``recovery``: reads it all and tells a torn end from damage
"""
