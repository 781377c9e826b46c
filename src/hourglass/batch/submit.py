"""Starting a batch from wherever: as the driver, or through a Ray client with a driver in the cluster."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hourglass.batch.cluster import cluster
from hourglass.batch.follow import BatchError, Report, in_one_sentence
from hourglass.batch.options import Answering, BatchProgress, Summary, Workers
from hourglass.batch.run import run_batch

_POLL_S = 0.5


def start_batch(
    place: str,
    output: str,
    answering: Answering,
    workers: Workers,
    address: str = "local",
    column: str = "",
    id_column: str = "",
    retry_failed: bool = False,
    report: Report | None = None,
) -> Summary:
    """`run_batch`, also for an address `ray://host:port`.

    Ray Data can't be driven through Ray's client, so for such an address a task in the cluster is the driver:
    input, output and a file of weights must be there under the same names. Arguments and errors are
    `run_batch`'s.
    """
    if not address.startswith("ray://"):
        return run_batch(place, output, answering, workers, address, column, id_column, retry_failed, report)
    named = {"weights": answering.weights, "detector": answering.detector}
    files = {key: str(Path(name).absolute()) for key, name in named.items() if name and Path(name).exists()}
    request = {
        "place": _as_seen_from_anywhere(place),
        "output": _as_seen_from_anywhere(output),
        "answering": {**asdict(answering), **files},
        "workers": asdict(workers),
        "column": column,
        "id_column": id_column,
        "retry_failed": retry_failed,
    }
    with cluster(address) as ray:
        board = ray.remote(num_cpus=0)(_Board).remote()
        # A second driver beside the first would be worse than none.
        outcome = ray.remote(num_cpus=0, max_retries=0)(_drive).remote(request, board)
        try:
            while not ray.wait([outcome], timeout=_POLL_S)[0]:
                progress = ray.get(board.read.remote())
                if report is not None and progress is not None:
                    report(BatchProgress(**progress))
            summary, problem = ray.get(outcome)
        except ray.exceptions.RayError as error:
            raise in_one_sentence(error) from None
    if summary is None:
        raise BatchError(problem)
    return Summary(**summary)


class _Board:
    """Where the driver in the cluster writes how far it is."""

    def __init__(self) -> None:
        self.progress: dict[str, Any] | None = None

    def write(self, progress: dict[str, Any]) -> None:
        self.progress = progress

    def read(self) -> dict[str, Any] | None:
        return self.progress


def _drive(request: Mapping[str, Any], board: Any) -> tuple[dict[str, Any] | None, str]:
    """Runs in the cluster: a summary, or the sentence that the user is to read."""

    def report(progress: BatchProgress) -> None:
        board.write.remote(asdict(progress))

    parts = {"answering": Answering(**request["answering"]), "workers": Workers(**request["workers"])}
    try:
        return run_batch(**{**request, **parts}, address="auto", report=report).to_dict(), ""
    except (ValueError, OSError) as error:
        return None, " ".join(str(error).split())


def _as_seen_from_anywhere(place: str) -> str:
    return place if "://" in place else str(Path(place).absolute())
