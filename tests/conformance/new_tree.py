"""One program that is not made up: what there is before anybody has done anything.

It says so only on a server that is new, so it is recorded before all others.
"""

from __future__ import annotations

from .program import Name, Program, Step

__all__ = ["NEW_TREE"]

_QUOTA, _CONFIG = "!/zookeeper/quota", "!/zookeeper/config"

NEW_TREE = Program(
    "new",
    (
        Step(Name.OPEN),
        *[
            Step(name, path=path)
            for path in ("!/", "!/zookeeper", _QUOTA, _CONFIG)
            for name in (Name.GET, Name.GET_ACL, Name.CHILDREN)
        ],
        Step(Name.COUNT, path="!/"),
        Step(Name.DELETE, path="!/"),
        Step(Name.DELETE, path=_QUOTA),
        Step(Name.SET, path=_CONFIG),
        Step(Name.ADD_AUTH, data=b"super:secret"),
        Step(Name.SET, path=_CONFIG, data=b"x"),
        Step(Name.SET_ACL, path=_CONFIG),
        Step(Name.SET, path="!/zookeeper", data=b"x"),
        Step(Name.CREATE, path="!/zookeeper/x"),
        Step(Name.GET, path="!/zookeeper"),
        Step(Name.DELETE, path="!/zookeeper/x"),
        Step(Name.GET, path="!/zookeeper"),
        Step(Name.COUNT, path="!/"),
    ),
)
