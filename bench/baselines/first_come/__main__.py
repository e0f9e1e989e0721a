"""A worker whose queue is first come, first served."""

from __future__ import annotations

import relaykit.worker.resources as wiring
from bench.baselines.first_come import FirstComeQueue
from relaykit.shared.process.main_loop import MainLoop
from relaykit.worker.__main__ import main

if __name__ == "__main__":
    setattr(wiring, "ClaimQueue", FirstComeQueue)  # noqa: B010
    main_loop = MainLoop()
    main_loop.end(main(main_loop))
