"""ZooKeeper in a ``pip install``: an embeddable coordination service for trio."""
