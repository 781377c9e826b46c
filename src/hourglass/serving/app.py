"""The HTTP side: routes, the API key, and a request's way from bytes to JSON."""

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from hourglass.inference.predictor import Predictor
from hourglass.serving import openapi
from hourglass.serving.batching import Batcher, Job
from hourglass.serving.middleware import Guard, Metrics, error_headers, error_json
from hourglass.serving.requests import Ask, read_ask
from hourglass.serving.responses import answer_json
from hourglass.serving.settings import Refused, Settings
from hourglass.serving.uploads import Budget, Loan, decoded_bytes, loan, prepare, read_body
from hourglass.web.pages import KINDS, SEEDS, model_json, page_files, sample_jpeg

if TYPE_CHECKING:
    from fastapi import FastAPI

_T = TypeVar("_T")


class Service:
    """One network at work: everything between a request's bytes and its answer, apart from HTTP.

    Args:
        predictor: answers; its batch size becomes the settings'.
    """

    def __init__(self, predictor: Predictor, settings: Settings) -> None:
        self.predictor = predictor
        self.settings = settings
        self.metrics = Metrics()
        self.budget = Budget(int(settings.memory_mb * 1e6))
        predictor.batch_size = settings.batch_size
        self.model = model_json(predictor.facts, predictor.runner.heatmaps, _warm_up(predictor))
        self.batcher = Batcher(predictor, settings.batch_ms, settings.queue, self.metrics.batch)
        self._threads = ThreadPoolExecutor(max(2, min(8, os.cpu_count() or 2)), "hourglass-pictures")

    @property
    def ready(self) -> bool:
        """Whether the next request would be answered."""
        return self.batcher.alive and not self.batcher.full

    async def pose(self, request: Any) -> bytes:
        """The JSON that answers a Starlette request; raises Refused."""
        if self.batcher.full:
            with self.batcher.place():  # refuses before the body is read
                pass
        with loan(self.budget) as held:
            body = await read_body(request, self.settings, held)
            kind, query = request.headers.get("content-type", ""), request.query_params.multi_items()
            with self.batcher.place():
                return await self._answer(kind, body, query, held)

    async def _answer(self, kind: str, body: bytes, query: list[tuple[str, str]], held: Loan) -> bytes:
        ask, decoded = await self._in_thread(self._read, kind, body, query)
        held.take(decoded)
        pictures = await self._in_thread(prepare, ask.uploads, self.predictor, self.settings.max_boxes)
        flip_test = self.settings.flip_test if ask.flip_test is None else ask.flip_test
        job = Job(pictures, flip_test, ask.heatmaps or ask.stages)
        future = self.batcher.submit(job)
        try:
            poses = await asyncio.wait_for(asyncio.wrap_future(future), self.settings.timeout_s)
        except asyncio.TimeoutError:
            text = f"no answer within {self.settings.timeout_s:g} s; try again"
            raise Refused(503, text, 5) from None
        facts = self.predictor.facts
        return await self._in_thread(lambda: _encode(answer_json(ask, pictures, poses, facts)))

    def _read(self, kind: str, body: bytes, query: list[tuple[str, str]]) -> tuple[Ask, int]:
        ask = read_ask(kind, body, query, self.settings)
        if (ask.heatmaps or ask.stages) and not self.model["heatmaps"]:
            raise Refused(422, f"{self.model['name']} answers with coordinates: it has no heatmaps or stages")
        return ask, decoded_bytes(ask.uploads, self.settings)

    async def _in_thread(self, work: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def sample(self, number: int) -> bytes:
        """A rendered sample as JPEG; raises Refused (404) past the last."""
        if not 0 <= number < len(SEEDS):
            raise Refused(404, f"there are {len(SEEDS)} samples, 0 to {len(SEEDS) - 1}")
        return await self._in_thread(sample_jpeg, number)

    def metrics_text(self) -> tuple[bytes, str]:
        """What `/metrics` answers, and its content type."""
        self.metrics.inside.set(self.batcher.inside)
        self.metrics.memory.set(self.budget.held)
        return self.metrics.text()

    def close(self) -> None:
        """Answer what is inside, then stop."""
        self.batcher.close()
        self._threads.shutdown()


def create_app(predictor: Predictor, settings: Settings | None = None) -> "FastAPI":
    """The ASGI application around a predictor, which nothing else may run from now on.

    Its `state.service` is the `Service`. Raises ImportError where the extra `serve` is not installed.
    """
    from fastapi import FastAPI
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

    service = Service(predictor, settings or Settings())

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        await asyncio.get_running_loop().run_in_executor(None, service.close)

    async def refused(_: Any, error: Any) -> Any:
        return JSONResponse(error_json(error.status, error.message), error.status, error_headers(error))

    async def http_error(_: Any, error: Any) -> Any:
        text = {404: "there is nothing at this address", 405: "this address has no such method"}
        message = text.get(error.status_code, "the request can't be answered")
        return JSONResponse(error_json(error.status_code, message), error.status_code, error.headers)

    app = FastAPI(
        title="hourglass",
        version=_version(),
        summary="2D human pose estimation with Stacked Hourglass networks",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        exception_handlers={Refused: refused, HTTPException: http_error},
    )
    app.add_middleware(Guard, metrics=service.metrics)
    app.state.service = service
    _add_api(app, service)
    _add_page(app, service)
    return app


def _add_api(app: Any, service: Service) -> None:
    from fastapi import Depends, Request, Response, Security
    from fastapi.responses import JSONResponse
    from fastapi.security import APIKeyHeader, HTTPBearer

    settings = service.settings
    bearer = HTTPBearer(auto_error=False, description="The server's API key.")
    header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The server's API key.")

    def check_key(given: Any = Security(bearer), other: Any = Security(header)) -> None:  # noqa: B008
        key = given.credentials if given is not None else other or ""
        if not secrets.compare_digest(str(key).encode(), settings.api_key.encode()):
            raise Refused(401, "the API key is missing or wrong")

    locked = [Depends(check_key)] if settings.api_key else []

    async def pose(request: Request) -> Response:
        return Response(await service.pose(request), media_type="application/json")

    def models() -> Response:
        return JSONResponse({"models": [service.model]})

    def healthz() -> Response:
        if not service.batcher.alive:
            raise Refused(503, "the network has stopped answering", 5)
        return JSONResponse({"status": "alive"})

    def readyz() -> Response:
        if not service.ready:
            raise Refused(503, "the server is full or shutting down", 1)
        return JSONResponse({"status": "ready"})

    def metrics() -> Response:
        text, kind = service.metrics_text()
        return Response(text, media_type=kind)

    add: dict[str, Any] = {"response_model": None, "tags": ["poses"]}
    app.add_api_route(
        "/v1/pose",
        pose,
        methods=["POST"],
        summary="Joints of the people in pictures",
        dependencies=locked,
        responses=openapi.pose_responses(),
        openapi_extra=openapi.pose_request(settings),
        **add,
    )
    app.add_api_route(
        "/v1/models",
        models,
        methods=["GET"],
        summary="The network that answers",
        dependencies=locked,
        responses=openapi.responses(openapi.MODELS, {"models": [service.model]}, 401),
        **add,
    )
    watch: dict[str, Any] = {"response_model": None, "tags": ["watching"], "methods": ["GET"]}
    alive, ready = (openapi.responses(openapi.STATE, {"status": word}, 503) for word in ("alive", "ready"))
    app.add_api_route("/healthz", healthz, summary="Whether the network answers", responses=alive, **watch)
    app.add_api_route("/readyz", readyz, summary="Whether there is room", responses=ready, **watch)
    text = {
        200: {"description": "Prometheus text.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    }
    app.add_api_route(
        "/metrics",
        metrics,
        summary="Counters for Prometheus",
        dependencies=locked,
        responses={**text, 401: openapi.pose_responses()[401]},
        response_class=Response,
        **watch,
    )


def _add_page(app: Any, service: Service) -> None:
    from fastapi import Request, Response

    # Read once, so that no request can name a path.
    files = page_files("hourglass.web.server")

    def page_file(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in files:
            raise Refused(404, "there is nothing at this address")
        kind = KINDS[os.path.splitext(name)[1]]
        return Response(files[name], media_type=kind, headers={"Cache-Control": "no-cache"})

    async def sample(request: Request) -> Response:
        text = request.path_params["number"]
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else -1
        return Response(await service.sample(number), media_type="image/jpeg")

    hidden: dict[str, Any] = {"include_in_schema": False, "methods": ["GET", "HEAD"], "response_model": None}
    app.add_api_route("/", page_file, **hidden)
    app.add_api_route("/page/{name}", page_file, **hidden)
    app.add_api_route("/samples/{number}.jpg", sample, **hidden)


def _warm_up(predictor: Predictor) -> int:
    """Run the network once, so that the first client doesn't wait for it; how many stages have heatmaps."""
    blank = np.zeros((64, 64, 3), np.uint8)
    (pose,) = predictor(blank, [0, 0, 64, 64], keep_heatmaps=True)
    return len(pose.heatmaps or ())


def _encode(content: dict[str, Any]) -> bytes:
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("hourglass-pose")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0"
