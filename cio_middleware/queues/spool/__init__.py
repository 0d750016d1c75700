"""
The spool: a queue on disk.

    queue     what the backend sees: put, lease, ack, nack, dead letters
    inlet     takes events                           outlet    leases by turns, and what became of them
    disk      opens, writes, tells full from failed  keeper    the thread that syncs
    log       writes this process's segments      drain     reads an owner's segments, marks what is settled
    segment   one file                            format    its bytes, pure
    house     the directory and its locks         adoption  what dead processes left
    letters   what Customer.io refused            purged    whose events are not sent any more
    shelf     the file of either                  files     the file system, as an object
"""

from __future__ import annotations
