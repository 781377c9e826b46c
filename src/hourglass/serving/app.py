"""The HTTP side: routes, the API key, and a request's way from bytes to JSON."""

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from hourglass.inference.predictor import Predictor
from hourglass.serving import openapi
from hourglass.serving.batching import Batcher, Job
from hourglass.serving.middleware import Guard, Metrics, error_handlers
from hourglass.serving.requests import Ask, read_ask
from hourglass.serving.responses import answer_json
from hourglass.serving.settings import Refused, Settings
from hourglass.serving.uploads import Budget, Loan, decoded_bytes, loan, prepare, read_body
from hourglass.web.pages import KINDS, PHOTOS, SEEDS, model_json, page_files, photo_jpeg, sample_jpeg

if TYPE_CHECKING:
    from fastapi import FastAPI

_T = TypeVar("_T")


class Network:
    """One network that answers: its predictor, what is told of it, and its batches."""

    def __init__(self, predictor: Predictor, settings: Settings, metrics: Metrics) -> None:
        predictor.batch_size = settings.batch_size
        facts = model_json(predictor.facts, predictor.runner.heatmaps, _warm_up(predictor))
        self.predictor = predictor
        self.model = {**facts, "several": predictor.detector is not None}
        self.batcher = Batcher(predictor, settings.batch_ms, settings.queue, metrics.batch)


class Service:
    """Networks at work: everything between a request's bytes and its answer, apart from HTTP.

    Args:
        predictor: answers where a request names no network; its batch size becomes the settings'.
        others: answer the requests that name their network.

    Raises ValueError for two networks of one name.
    """

    def __init__(self, predictor: Predictor, settings: Settings, others: Sequence[Predictor] = ()) -> None:
        names = [one.facts.name for one in (predictor, *others)]
        if len(set(names)) < len(names):
            raise ValueError(f"two networks are called {max(names, key=names.count)}: name each only once")
        self.settings = settings
        self.metrics = Metrics()
        self.budget = Budget(int(settings.memory_mb * 1e6))
        self.networks = {one.facts.name: Network(one, settings, self.metrics) for one in (predictor, *others)}
        self._first = self.networks[predictor.facts.name]
        self._threads = ThreadPoolExecutor(max(2, min(8, os.cpu_count() or 2)), "hourglass-pictures")

    @property
    def predictor(self) -> Predictor:
        """The one that answers where a request names none."""
        return self._first.predictor

    @property
    def batcher(self) -> Batcher:
        """Of the network that answers where a request names none; its places are those of all requests."""
        return self._first.batcher

    @property
    def models(self) -> list[dict[str, Any]]:
        """What is told of each network, the first one first."""
        return [network.model for network in self.networks.values()]

    @property
    def alive(self) -> bool:
        """Whether every network answers."""
        return all(network.batcher.alive for network in self.networks.values())

    @property
    def ready(self) -> bool:
        """Whether the next request would be answered."""
        return self.alive and not self.batcher.full

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
        ask, network, decoded = await self._in_thread(self._read, kind, body, query)
        held.take(decoded)
        pictures = await self._in_thread(prepare, ask.uploads, network.predictor, self.settings.max_boxes)
        flip_test = self.settings.flip_test if ask.flip_test is None else ask.flip_test
        job = Job(pictures, flip_test, ask.heatmaps or ask.stages)
        future = network.batcher.submit(job)
        try:
            poses = await asyncio.wait_for(asyncio.wrap_future(future), self.settings.timeout_s)
        except asyncio.TimeoutError:
            text = f"no answer within {self.settings.timeout_s:g} s; try again"
            raise Refused(503, text, 5) from None
        facts = network.predictor.facts
        return await self._in_thread(lambda: _encode(answer_json(ask, pictures, poses, facts)))

    def _read(self, kind: str, body: bytes, query: list[tuple[str, str]]) -> tuple[Ask, Network, int]:
        ask = read_ask(kind, body, query, self.settings)
        network = self._first if ask.model is None else self.networks.get(ask.model)
        if network is None:
            raise Refused(422, f"model is none of this server's networks: {', '.join(self.networks)}")
        if (ask.heatmaps or ask.stages) and not network.model["heatmaps"]:
            name = network.model["name"]
            raise Refused(422, f"{name} answers with coordinates: it has no heatmaps or stages")
        return ask, network, decoded_bytes(ask.uploads, self.settings)

    async def _in_thread(self, work: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def sample(self, name: str) -> bytes:
        """A photo by name or a rendered sample by number, as JPEG; raises Refused (404) for others."""
        if name in PHOTOS:
            return photo_jpeg(name)
        number = int(name) if name.isascii() and name.isdigit() and len(name) < 4 else -1
        if not 0 <= number < len(SEEDS):
            known = f"{', '.join(PHOTOS)}, and 0 to {len(SEEDS) - 1}"
            raise Refused(404, f"there is no such sample; there are {known}")
        return await self._in_thread(sample_jpeg, number)

    def metrics_text(self) -> tuple[bytes, str]:
        """What `/metrics` answers, and its content type."""
        self.metrics.inside.set(self.batcher.inside)
        self.metrics.memory.set(self.budget.held)
        return self.metrics.text()

    def close(self) -> None:
        """Answer what is inside, then stop."""
        for network in self.networks.values():
            network.batcher.close()
        self._threads.shutdown()


def create_app(
    predictor: Predictor, settings: Settings | None = None, others: Sequence[Predictor] = ()
) -> "FastAPI":
    """The ASGI application around predictors, which nothing else may run from now on.

    Its `state.service` is the `Service`. Raises ImportError where the extra `serve` is not installed.
    """
    from fastapi import FastAPI
    from fastapi.middleware.cors import CORSMiddleware

    settings = settings or Settings()
    service = Service(predictor, settings, others)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        await asyncio.get_running_loop().run_in_executor(None, service.close)

    app = FastAPI(
        title="hourglass",
        version=_version(),
        summary="2D human pose estimation with Stacked Hourglass networks",
        docs_url=None,  # FastAPI's page loads scripts from elsewhere; ours is `web/server/docs.html`
        redoc_url=None,
        lifespan=lifespan,
        exception_handlers=error_handlers(),
    )
    if settings.allow_origin:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.allow_origin),
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key"],
            expose_headers=["Retry-After"],
        )
    app.add_middleware(Guard, metrics=service.metrics, root_path=settings.root_path)
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
        return JSONResponse({"models": service.models})

    def healthz() -> Response:
        if not service.alive:
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
        openapi_extra=openapi.pose_request(settings, tuple(service.networks)),
        **add,
    )
    app.add_api_route(
        "/v1/models",
        models,
        methods=["GET"],
        summary="The networks that answer, the first where a request names none",
        dependencies=locked,
        responses=openapi.responses(openapi.MODELS, {"models": service.models}, 401),
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
    # Apart, so that the API's description names each address once.
    heads = {"/v1/models": models, "/healthz": healthz, "/readyz": readyz, "/metrics": metrics}
    for path, answer in heads.items():
        guarded = locked if path in ("/v1/models", "/metrics") else []
        add_head: dict[str, Any] = {"methods": ["HEAD"], "include_in_schema": False, "response_model": None}
        app.add_api_route(path, answer, dependencies=guarded, **add_head)


def _add_page(app: Any, service: Service) -> None:
    from fastapi import Request, Response

    # Read once, so that no request can name a path.
    files = page_files("hourglass.web.server")
    names = {"/": "index.html", "/docs": "docs.html"}

    def page_file(request: Request) -> Response:
        name = request.path_params.get("name", names.get(request.scope["route"].path, ""))
        if name not in files:
            raise Refused(404, "there is nothing at this address")
        kind = KINDS[os.path.splitext(name)[1]]
        return Response(files[name], media_type=kind, headers={"Cache-Control": "no-cache"})

    async def sample(request: Request) -> Response:
        return Response(await service.sample(request.path_params["name"]), media_type="image/jpeg")

    hidden: dict[str, Any] = {"include_in_schema": False, "methods": ["GET", "HEAD"], "response_model": None}
    for path in names:
        app.add_api_route(path, page_file, **hidden)
    app.add_api_route("/page/{name}", page_file, **hidden)
    app.add_api_route("/samples/{name}.jpg", sample, **hidden)


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
