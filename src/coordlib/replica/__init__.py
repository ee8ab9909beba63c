"""One running member: where the pure parts, disk, network and clock meet.

::

    Session --submit--> Outstanding --> leader's core      (requests)
    links  <--frames--> Driver <--effects-- consensus.Peer (driver, links, wire)
                          |
                       deliver --> DataTree --> waiters, watches

* ``replica``: the tree and requests; the life of it all
* ``sessions``, ``kept``: the sessions of this process; how long each can be
  relied on
* ``reign``: what a leader's replica does for all; with ``expiry``, ``cleaner``:
  which sessions are overdue, how often to clean up (pure)
* ``proposals``: what the core is given, and what waits for it
* ``driver``: carries the core's effects out; time, disk and links go in
* ``requests``: what has no outcome yet; exactly once
* ``contact``: heartbeats of sessions and sync, in one exchange
* ``subscriptions``, ``ringer``: who is told of which change, and is woken when
* ``quota_warnings``: soft quotas, in the log
* ``links``, ``wire``: snapshots in pieces, messages as bytes
* ``snapshots``: making snapshots, with everybody else's turn between two steps
* ``backup``: a snapshot for somebody else, as a file
* ``lifetime``: a member beside a block of code
* ``waiter``: a slot for one waiting task
"""
