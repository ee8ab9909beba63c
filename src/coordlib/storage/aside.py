"""Sets a damaged log aside, so that the others can give the member a new one.

Files are renamed, in their directory: that needs no space, keeps every byte for
whoever wants to look or to repair, and never overwrites what was set aside
before. What is damaged, and whether others can repair it, ``recovery`` decides.

A crash may come anywhere, and then any of the renames since the last sync may
have happened. What is left must never open as a log that ends too early, for
its member would vote without what it acknowledged. It cannot:

* Until the last segment is renamed, it is there. Recovery reads to its end, and
  accepts no gap between the segments, nor before the first one but for a
  snapshot that is there, or where nothing came before (base 0). So what opens is
  all that was acknowledged, though perhaps without a snapshot that it need not
  have; everything else is refused, and thus set aside.
* Once it is renamed, which alone happens after a sync, there is no segment. A
  directory with damaged files and no metadata counts as damaged, until the new
  log says so itself: see ``Recovered.damaged``.
"""

from __future__ import annotations

from .directory import Directory, segment_name, snapshot_name

__all__ = ["set_aside"]


def set_aside(directory: Directory) -> None:
    """Rename all segments and snapshots, the last segment at last.

    Raises:
      OSError: The operating system refused; as after a crash.

    """
    contents = directory.contents()
    generation = contents.generation + 1
    names = [snapshot_name(zxid) for zxid in contents.snapshots]
    names += [segment_name(number) for number in contents.segments]
    *earlier, last = names
    for name in earlier:
        directory.set_aside(name, generation)
    directory.sync()
    directory.set_aside(last, generation)
    directory.sync()
