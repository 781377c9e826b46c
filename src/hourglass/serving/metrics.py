"""What `/metrics` counts."""

from typing import Any

_PEOPLE = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server, in a registry of its own. Needs prometheus-client (the extra `serve`)."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry: Any = CollectorRegistry()
        labels = ("path", "status")
        own: dict[str, Any] = {"registry": self.registry}
        self.requests: Any = Counter("hourglass_requests", "Requests that were answered.", labels, **own)
        self.seconds: Any = Histogram(
            "hourglass_request_seconds", "From a request's head to its answer.", ("path",), **own
        )
        self.batches: Any = Counter("hourglass_batches", "Batches that the network was given.", **own)
        self.batch_requests: Any = Counter("hourglass_batch_requests", "Requests in those batches.", **own)
        self.batch_people: Any = Histogram(
            "hourglass_batch_people", "People in a batch.", buckets=_PEOPLE, **own
        )
        self.batch_seconds: Any = Histogram("hourglass_batch_seconds", "Time a batch took.", **own)
        self.inside: Any = Gauge("hourglass_inside", "Requests between upload and answer.", **own)
        self.memory: Any = Gauge("hourglass_memory_bytes", "Memory promised to requests.", **own)

    def batch(self, requests: int, people: int, seconds: float) -> None:
        """Count one batch."""
        self.batches.inc()
        self.batch_requests.inc(requests)
        self.batch_people.observe(people)
        self.batch_seconds.observe(seconds)

    def text(self) -> tuple[bytes, str]:
        """Everything in Prometheus' text form, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self.registry), CONTENT_TYPE_LATEST
