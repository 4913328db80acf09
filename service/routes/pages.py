"""Pages for people: the web page, and the API's documentation. No page asks another host for anything."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import fastapi_offline
from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import FileResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

WEB = Path(__file__).resolve().parent.parent / "web"
INDEX = WEB / "index.html"
SWAGGER = Path(fastapi_offline.__file__).parent / "static"
"""Swagger UI's own files, as the package ships them."""

_plotly = find_spec("plotly")
PLOTLY = Path(_plotly.origin or "").parent / "package_data" / "plotly.min.js" if _plotly else Path()

PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; script-src 'self'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
DOCS_POLICY = PAGE_POLICY.replace("script-src 'self'", "script-src 'self' 'unsafe-inline'")
"""Swagger UI is started by a script in the page itself; no text of a user's is ever part of that page."""

router = APIRouter(include_in_schema=False)


@router.get("/")
async def web_page() -> Response:
    """The web page; the documentation where there is none."""
    if not INDEX.is_file():
        return RedirectResponse("docs")
    return FileResponse(INDEX, headers={"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"})


@router.get("/web/plotly.min.js")
async def plotly() -> Response:
    """plotly.js as the plotly package ships it; importing that package would double the service's memory."""
    return FileResponse(PLOTLY, media_type="text/javascript", headers={"Cache-Control": "public, max-age=86400"})


@router.get("/web/presets.json")
def presets(
    model: Annotated[str, Query(min_length=1, max_length=128)] = "demo",
    n_layers: Annotated[int | None, Query(ge=1, le=1000)] = None,
    n_heads: Annotated[int | None, Query(ge=1, le=1000)] = None,
    n_kv_heads: Annotated[int, Query(ge=0, le=1000)] = 0,
) -> list[dict[str, Any]]:
    """What `pathpatch new` writes, as data, for a model of so many layers and heads."""
    from pathpatch.presets import LayersAndHeads, filled_in

    shape = None if n_layers is None or n_heads is None else LayersAndHeads(n_layers, n_heads, n_kv_heads)
    return list(filled_in(model, shape))


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Every route, readable and to be tried out."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=f"{request.app.title} API",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon.png",
        swagger_ui_parameters={"defaultModelsExpandDepth": 0, "displayRequestDuration": True, "filter": True},
    )
    page.headers["Content-Security-Policy"] = DOCS_POLICY
    return page


def serve_files(app: FastAPI) -> None:
    """The pages' own files."""
    app.mount("/docs", StaticFiles(directory=SWAGGER), name="docs-files")
    app.mount("/web", StaticFiles(directory=WEB, check_dir=False), name="web-files")
