"""The disk: one ordered durable stream per member.

* ``interface``: the contract, :class:`LogStore`
* ``memory``: the same contract in memory, with crashes, for tests
* ``file``: segments and snapshots in a data directory
"""
