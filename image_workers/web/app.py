"""The requests of the page, and what each is answered. What is let in is for `admission` to say, what a picture is for
`intake`, how far it is for `standing`.

    GET  /                                the page; /page.css and /page.js beside it
    GET  /about                           what the page must know: limits, whether a token is needed
    POST /pictures                        an upload, raw or as a form; answers the picture's state and its link
    GET  /pictures/ID                     its state, with links
    GET  /pictures/ID/thumbnails/NUMBER   a thumbnail, as it is published now
    GET  /events?picture=ID&picture=ID    news of pictures, as server-sent events

A picture's id is chosen here and cannot be guessed, and so is its name below root: what a sender calls his file goes
nowhere. Whoever knows an id may look; the token is for those who send.
"""

import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from importlib import resources

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from image_workers import pictures
from image_workers.intake import Intake, picture_type
from image_workers.stores.scratch import Scratch
from image_workers.web import uploads
from image_workers.web.admission import Admission, neighbourhood
from image_workers.web.events import EventStream
from image_workers.web.following import Followers
from image_workers.web.refusal import Refusal, away
from image_workers.web.room import room
from image_workers.web.standing import Gallery, Picture
from periodic_client import CannotConnect, ConnectionLost, PeriodicError, TimedOut

ENDINGS = {
    "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/gif": "gif", "image/avif": "avif",
    "image/heic": "heic",
}  # fmt: skip
_ID = re.compile(rf"[0-9a-f]{{32}}\.({'|'.join(ENDINGS.values())})")
_PAGE = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
_EVENTS_PICTURES_MAX = 20
_THUMBNAIL_BYTES_MAX = 32 * 2**20
DAEMON_S = 5.0
_AWAY = (CannotConnect, ConnectionLost, TimedOut)

_log = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]


class Pages:
    """The endpoints of one server."""

    def __init__(
        self, gallery: Gallery, admission: Admission, scratch: Scratch, intake: Intake, followers: Followers
    ) -> None:
        self._gallery = gallery
        self._config = gallery.config
        self._admission = admission
        self._scratch = scratch
        self._intake = intake
        self._followers = followers
        self._reading = trio.CapacityLimiter(4)
        page = resources.files("image_workers.web") / "page"
        self._files = {name: (page / name).read_bytes() for name in _PAGE}

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self._limited(self.page)),
                Route("/page.css", self._limited(self.page)),
                Route("/page.js", self._limited(self.page)),
                Route("/about", self._limited(self.about)),
                Route("/pictures", self._limited(self.upload), methods=["POST"]),
                Route("/pictures/{id}", self._limited(self.picture)),
                Route("/pictures/{id}/thumbnails/{number:int}", self._limited(self.thumbnail)),
                Route("/events", self._limited(self.events)),
            ],
            exception_handlers={Refusal: _refused, HTTPException: _not_served, Exception: _bug},
        )

    async def page(self, request: Request) -> Response:
        name = request.url.path.lstrip("/") or "page.html"
        return Response(self._files[name], media_type=_PAGE[name], headers={"Cache-Control": "no-cache"})

    async def about(self, _request: Request) -> Response:
        return _json({
            "max_bytes": self._config.max_bytes,
            "needs_token": self._admission.needs_token,
            "takes": [kind for kind in ENDINGS if pictures.can_open(kind)],
        })  # fmt: skip

    async def upload(self, request: Request) -> Response:
        _check_origin(request)
        self._admission.check_token(request.headers.get("authorization"))
        uploads.body_of(request)  # refuses a wrong type
        size = uploads.said_size(request, self._config.max_bytes)
        with self._admission.upload(self._address(request)) as moved:
            await self._check_daemon()
            async with room(self._scratch, size) as file:
                received = await uploads.receive(request, file, self._config.max_bytes, moved)
                await trio.to_thread.run_sync(file.seek, 0)
                picture = Picture(self._gallery, f"{secrets.token_hex(16)}.{ENDINGS[received.kind]}")
                try:
                    await self._intake.take(picture.name, file, received.kind)
                except (*_AWAY, PeriodicError) as error:
                    raise away(error) from error
                except OSError as error:
                    _log.warning("root does not take %s: %s", picture.name, error)
                    raise Refusal(503, "the store of pictures does not take it now; try again later", 30) from error
        _log.info("%s came, %d bytes", picture.name, received.size)
        await self._look(picture)
        return _json(picture.shown(), 201, {"Location": f"/pictures/{picture.id}"})

    async def picture(self, request: Request) -> Response:
        picture = Picture(self._gallery, _checked_id(request.path_params["id"]))
        if not await self._look(picture):
            raise _absent()
        return _json(picture.shown())

    async def thumbnail(self, request: Request) -> Response:
        picture = Picture(self._gallery, _checked_id(request.path_params["id"]))
        number = request.path_params["number"]
        if number >= len(self._config.resizes):
            raise _absent()
        name = picture.thumbnail(number)
        for file in (self._config.layout.compressed(name), name):
            try:
                content, version = await trio.to_thread.run_sync(
                    self._gallery.root.read, file, _THUMBNAIL_BYTES_MAX, limiter=self._reading
                )
            except FileNotFoundError:
                continue
            except OSError as error:
                raise Refusal(503, "the store of pictures does not answer; try again later", 30) from error
            headers = {"Cache-Control": "private, no-cache", "ETag": f'"{version.strip(chr(34))}"'}
            return Response(content, media_type=picture_type("thumbnail", content), headers=headers)
        raise _absent()

    async def events(self, request: Request) -> Response:
        ids = list(dict.fromkeys(_checked_id(each) for each in request.query_params.getlist("picture")))
        if not 1 <= len(ids) <= _EVENTS_PICTURES_MAX:
            raise Refusal(400, f"name 1 to {_EVENTS_PICTURES_MAX} pictures: /events?picture=ID&picture=ID")
        place = self._admission.listener(self._address(request))
        return EventStream(self._followers, ids, place)  # type: ignore[return-value]  # an ASGI application, as it is

    def _limited(self, endpoint: Endpoint) -> Endpoint:
        async def limited(request: Request) -> Response:
            self._admission.request(self._address(request))
            return await endpoint(request)

        return limited

    def _address(self, request: Request) -> str:
        """Of who asks. What stands in the header before its last entry is anybody's word."""
        if self._config.serve.forwarded and (said := request.headers.getlist("x-forwarded-for")):
            return neighbourhood(said[-1].rpartition(",")[2].strip())
        return neighbourhood(request.client.host if request.client else "")

    async def _check_daemon(self) -> None:
        try:
            with trio.fail_after(DAEMON_S):
                await self._gallery.client.ping()
        except (*_AWAY, trio.TooSlowError) as error:
            raise away(error) from error

    async def _look(self, picture: Picture) -> bool:
        try:
            return await picture.look()
        except (*_AWAY, PeriodicError) as error:
            raise away(error) from error
        except OSError as error:
            raise Refusal(503, "the store of pictures does not answer; try again later", 30) from error


def _checked_id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise _absent()
    return text


def _absent() -> Refusal:
    return Refusal(404, "there is no such picture here, or its files were removed since")


def _check_origin(request: Request) -> None:
    """Another site's page must not send pictures in the name of who looks at it."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host", ""):
        raise Refusal(403, "a page of another site may not upload here")


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(value, status, {"Cache-Control": "no-store"} | (headers or {}))


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    words = {"error": error.words} | ({"retry_after_s": error.retry_after_s} if error.retry_after_s else {})
    return _json(words, error.status, error.headers)


async def _not_served(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": f"{error.detail}".lower()}, error.status_code, dict(error.headers or {}))


async def _bug(_request: Request, _error: Exception) -> Response:
    return _json({"error": "something went wrong here; the log of the server says what"}, 500)
