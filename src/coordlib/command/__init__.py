"""The ``coordlib`` command: what operators do with data directories.

* ``main``: the arguments, and every error as one line
* ``survey``: reads a whole directory, without a lock, and judges it
* ``verify``, ``dump``: what is in it
* ``transfer``: a state leaves, and founds another ensemble
* ``backup``, ``repair``: a directory copied and back, or made good
* ``copying``, ``rewriting``: how files and directories are made and changed
* ``terminal``: lines and progress
"""

from .main import main

__all__ = ["main"]
