"""What is done to runs, each in a thread, for starting a process or writing weights must not hold up the window."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.notices import complain


class Commands(QObject):
    """Runs functions in threads, several at once if need be."""

    failed = Signal(str)  # a sentence
    changed = Signal()  # one was begun or has ended

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._jobs: list[Job] = []

    @property
    def busy(self) -> bool:
        """Whether one is at work."""
        return bool(self._jobs)

    def do(
        self, doing: str, function: Callable[..., Any], *args: Any, then: Callable[[Any], None] | None = None
    ) -> Job:
        """Call a plain function in a thread.

        Args:
            doing: what it does, as the beginning of a sentence: "Stopping the run".
            function: gets `args`.
            args: see there.
            then: called on the main thread with what the function returned.
        """
        return self.drive(doing, _steps, doing, function, args, then=then)

    def drive(
        self,
        doing: str,
        job: Callable[..., Generator[Progress, None, Any]],
        *args: Any,
        then: Callable[[Any], None] | None = None,
        title: str = "",
    ) -> Job:
        """Run a job in a thread; see `do`. With a title it has a line in napari's activity bar."""
        one = Job(self)
        self._jobs.append(one)

        def end() -> None:
            self._jobs.remove(one)
            one.deleteLater()
            self.changed.emit()

        def returned(result: Any) -> None:
            end()
            if then is not None:
                then(result)

        def failed(error: Exception) -> None:
            end()
            self.failed.emit(complain(error, doing))

        one.returned.connect(returned)
        one.failed.connect(failed)
        one.stopped.connect(end)
        one.start(title, job, *args)
        self.changed.emit()
        return one

    def stop_all(self) -> None:
        """End what is at work."""
        for one in list(self._jobs):
            one.stop()


def _steps(doing: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Generator[Progress, None, Any]:
    yield Progress(doing)
    return function(*args)
