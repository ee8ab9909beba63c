"""One running member: where the pure parts, disk, network and clock meet.

::

    Session --submit--> Outstanding --> leader's core      (requests)
    links  <--frames--> Driver <--effects-- consensus.Peer (driver, links, wire)
                          |
                       deliver --> DataTree --> waiters, watches

* ``replica``: the tree, local sessions and requests; what a leader does for all
* ``driver``: carries the core's effects out; time, disk and links go in
* ``requests``: what has no outcome yet; exactly once
* ``contact``: heartbeats of sessions and sync, in one exchange
* ``expiry``: which sessions are overdue (pure)
* ``subscriptions``: who is told of which change
* ``links``, ``wire``: snapshots in pieces, messages as bytes
* ``kept``: the sessions of this process: how long each can be relied on
* ``lifetime``: a member beside a block of code
* ``waiter``: a slot for one waiting task
"""
