"""The ``coordlib`` command: what operators do with data directories.

* ``arguments``: of the command, and every error as one line
* ``files``, ``survey``: reads a whole directory, without a lock, and judges it
* ``verify``, ``dump``: what is in it
* ``transfer``: a state leaves, and founds another ensemble
* ``backup``, ``repair``: a directory copied and back, or made good
* ``copying``, ``rewriting``: how files and directories are made and changed
* ``terminal``: lines and progress
"""

from .arguments import main

__all__ = ["main"]
