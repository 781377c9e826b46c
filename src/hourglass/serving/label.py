"""`hourglass label` over HTTP, on this machine only: its page, pictures, labels, a network's suggestions."""

import io
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from PIL import Image

from hourglass.data.loading.images import ImageError, read_image
from hourglass.inference.video.pick import unsureness
from hourglass.serving.label_project import Project, StaleError
from hourglass.serving.middleware import Guard, Metrics, error_handlers, error_json
from hourglass.serving.settings import Refused
from hourglass.web.pages import KINDS, label_files

if TYPE_CHECKING:
    from fastapi import FastAPI

    from hourglass.inference.poses.pose import Pose
    from hourglass.inference.predictor import Predictor

STALE = "This picture was changed in another tab or program; what you see here is not saved. Reload the page."
_SHOWN = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp", ".gif": "gif", ".bmp": "bmp"}
"""What any browser shows, and its media type; other pictures are sent as PNG."""


def refused_for(headers: dict[str, str]) -> str | None:
    """Why a request with these headers, their names in lower case, is refused; None where it isn't.

    That is whatever a page of another site makes a browser on this machine send: a name that an attacker lets
    point at 127.0.0.1 (DNS rebinding) stands in Host, and the site that a request comes from in Origin or
    Sec-Fetch-Site; no page can change these.
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    try:
        name = urlsplit(f"http://{host}").hostname
    except ValueError:
        name = None
    if name not in ("127.0.0.1", "localhost", "::1"):
        return "this server answers only as 127.0.0.1 or localhost"
    if origin is not None and origin != f"http://{host}":
        return "this server answers its own page only"
    navigates = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not navigates:
        return "this server answers its own page only"
    return None


class Suggestions:
    """What a network finds in the project's pictures; looked for in the background and kept.

    Args:
        predictor: only its joints that the project has, too, are suggested. None suggests nothing.
    """

    def __init__(self, project: Project, predictor: "Predictor | None") -> None:
        self.project = project
        self.predictor = predictor
        self.joints = [
            joint for joint in project.skeleton.joints if predictor and joint in predictor.skeleton.joints
        ]
        self.doubts: dict[str, float] = {}
        """Of the pictures looked at so far, 0 to 1: how unsure the network is of its least sure person."""
        self._people: dict[str, list[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_at_all, daemon=True, name="hourglass-suggestions")

    def people(self, name: str) -> list[dict[str, Any]]:
        """People as `Project.state` has them, each joint with whether the network is sure of it.

        Raises ImageError when the picture can't be read.
        """
        if not self.joints or self.predictor is None:
            return []
        with self._lock:
            if name not in self._people:
                image = read_image(self.project.path(name), name)
                poses = self.predictor(image)
                self.doubts[name] = max((unsureness(pose, self.joints) for pose in poses), default=1.0)
                self._people[name] = [
                    {"id": None, "joints": joints}
                    for pose in poses
                    if (joints := self._joints(pose, image.shape[1], image.shape[0]))
                ]
            return self._people[name]

    def _joints(self, pose: "Pose", width: int, height: int) -> dict[str, list[Any]]:
        sure, found = pose.sure(), {}
        for joint in self.joints:
            row = pose.skeleton.index(joint)
            x, y = (round(float(value), 2) for value in pose.keypoints[row])
            if -0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5:
                found[joint] = [x, y, 2, bool(sure[row])]
        return found

    def start(self) -> None:
        if self.joints:
            self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _look_at_all(self) -> None:
        # What is labelled is looked at last: doubts are about the others.
        for name in sorted(self.project.sizes, key=self.project.is_labelled):
            if self._stop.is_set():
                return
            try:
                self.people(name)
            except (ValueError, OSError):
                self.doubts[name] = -1.0  # told when it is opened


def create_label_app(project: Project, predictor: "Predictor | None") -> "FastAPI":
    """The ASGI application; nothing else may run the predictor from now on.

    Raises ImportError where the extra `serve` is not installed.
    """
    from fastapi import Depends, FastAPI, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.concurrency import run_in_threadpool

    suggestions = Suggestions(project, predictor)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        suggestions.start()
        yield
        await run_in_threadpool(suggestions.close)

    def check_origin(request: Request) -> None:
        if refusal := refused_for(dict(request.headers)):
            raise Refused(403, refusal)

    async def malformed(_: Any, error: Any) -> Any:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return JSONResponse(error_json(422, f"the request is malformed: {where}: {first['msg']}"), 422)

    app = FastAPI(
        title="hourglass label",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        dependencies=[Depends(check_origin)],
        exception_handlers={**error_handlers(), RequestValidationError: malformed},
    )
    app.add_middleware(Guard, metrics=Metrics())
    app.state.suggestions = suggestions
    _add_routes(app, project, suggestions)
    return app


def _add_routes(app: Any, project: Project, suggestions: Suggestions) -> None:
    from fastapi import Request, Response
    from fastapi.responses import JSONResponse
    from pydantic import BaseModel, FiniteFloat

    files = label_files()
    predictor = suggestions.predictor

    def known(request: Request) -> str:
        name = request.query_params.get("name", "")
        if name not in project.sizes:
            raise Refused(404, "the project has no such picture")
        return name

    def page_file(request: Request) -> Response:
        name = request.path_params.get("name", "label.html")
        if name not in files:
            raise Refused(404, "there is nothing at this address")
        kind = KINDS[os.path.splitext(name)[1]]
        return Response(files[name], media_type=kind, headers={"Cache-Control": "no-cache"})

    def about(request: Request) -> Response:
        return JSONResponse(
            {
                "name": project.folder.name,
                "folder": str(project.folder),
                "skeleton": project.skeleton.to_dict(),
                "pictures": [{"name": name, "labelled": project.is_labelled(name)} for name in project.sizes],
                "unreadable": project.unreadable,
                "elsewhere": project.elsewhere,
                "weights": None if predictor is None else predictor.facts.name,
                "suggested": suggestions.joints,
            }
        )

    def state(request: Request) -> Response:
        try:
            return JSONResponse(project.state(known(request)))
        except (ValueError, OSError) as error:  # another program has spoilt the file
            raise Refused(503, str(error)) from error

    def suggested(request: Request) -> Response:
        name = known(request)
        try:
            return JSONResponse({"people": suggestions.people(name)})
        except ImageError as error:
            raise Refused(422, str(error)) from error

    def picture(request: Request) -> Response:
        name = known(request)
        try:
            path = project.path(name)
            # A browser would show the rest of a damaged picture as if it were whole.
            image = read_image(path, name)
        except ImageError as error:
            raise Refused(422, f"this picture can't be read: {error}") from error
        kind = _SHOWN.get(path.suffix.lower())
        headers = {"Cache-Control": "no-cache"}
        if kind:
            return Response(path.read_bytes(), media_type=f"image/{kind}", headers=headers)
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG", compress_level=1)
        return Response(file.getvalue(), media_type="image/png", headers=headers)

    def following(request: Request) -> Response:
        names = list(project.sizes)
        at = names.index(known(request))
        open_ones = [name for name in names[at + 1 :] + names[:at] if not project.is_labelled(name)]
        if request.query_params.get("doubtful"):
            doubts = dict(suggestions.doubts)
            open_ones = sorted(
                (name for name in open_ones if doubts.get(name, -1) >= 0), key=lambda name: -doubts[name]
            )
        looked_at = len(suggestions.doubts)
        return JSONResponse({"name": open_ones[0] if open_ones else None, "looked_at": looked_at})

    class Person(BaseModel):
        id: int | str | None = None
        joints: dict[str, tuple[FiniteFloat, FiniteFloat, Literal[1, 2]]]

    class Labels(BaseModel):
        version: int
        labelled: bool
        people: list[Person]

    def save(request: Request, labels: Labels) -> Response:
        name = known(request)
        people = [(person.id, person.joints) for person in labels.people]
        try:
            return JSONResponse(project.save(name, labels.version, labels.labelled, people))
        except StaleError as error:
            raise Refused(409, STALE) from error
        except (ValueError, OSError) as error:
            raise Refused(507 if isinstance(error, OSError) else 422, str(error)) from error

    gets = {
        "/": page_file,
        "/page/{name}": page_file,
        "/api/project": about,
        "/api/picture": state,
        "/api/suggested": suggested,
        "/api/next": following,
        "/picture": picture,
    }
    for path, answer in gets.items():
        app.add_api_route(path, answer, methods=["GET"], response_model=None)
    app.add_api_route("/api/picture", save, methods=["PUT"], response_model=None)
