"""Numbers for TensorBoard, written at once and without a thread: an error of the disk belongs to the line it loses.

torch's SummaryWriter writes in a thread, whose errors appear later, as a traceback or as a wait for ever.
"""

import io
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path


class TensorBoardLog:
    """One file of events in a folder, for one start of a run.

    Args:
        folder: of all starts of the run; it is made.
        step: updates before this start. TensorBoard hides later numbers of earlier starts.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # slow to import: only for a run that logs

        folder.mkdir(exist_ok=True)
        self._path = folder / f"events.out.tfevents.{time.time():.0f}.{platform.node()}.{os.getpid()}"
        start = SessionLog(status=SessionLog.START)
        self._append(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self._append(Event(wall_time=time.time(), step=step, session_log=start))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers.

        Args:
            step: updates so far.
            values: {"train/loss": number}.

        Raises:
            OSError: the disk is full, or fails.
        """
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        numbers = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._append(Event(wall_time=time.time(), step=step, summary=Summary(value=numbers)))

    def _append(self, event: object) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())  # type: ignore[attr-defined]
        with open(self._path, "ab") as file:
            file.write(record.getvalue())
