"""What `/openapi.json` says of the API, beyond what FastAPI reads off the code."""

from collections.abc import Sequence
from typing import Any

from hourglass.serving.settings import Settings

Schema = dict[str, Any]

_TINY_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAE0lEQVR4nGNkYPjPgA0wYRUdtBIAKXwBDz/NpHMAAAAASUVORK5CYII="
)

BOX: Schema = {
    "type": "array",
    "items": {"type": "number"},
    "minItems": 4,
    "maxItems": 4,
    "description": "x, y, width, height in the upright picture's pixels, counted from pixel edges.",
    "examples": [[40, 30, 200, 420]],
}
JOINT: Schema = {
    "type": "object",
    "required": ["x", "y", "score"],
    "properties": {
        "x": {"type": "number", "description": "Pixels; 0 is the middle of the leftmost one."},
        "y": {"type": "number"},
        "score": {"type": "number", "description": "Height of the heatmap's peak, about 0 to 1."},
        "confidence": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "Probability that the joint is right; only of weights that were calibrated.",
        },
        "covariance": {
            "type": "array",
            "items": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
            "minItems": 2,
            "maxItems": 2,
            "description": "How the heatmap spreads around the joint, pixels squared; none in stages.",
        },
    },
}
JOINTS: Schema = {
    "type": "object",
    "description": "By the joint's name.",
    "additionalProperties": JOINT,
}
STAGE: Schema = {
    "type": "object",
    "required": ["stage", "score", "joints"],
    "properties": {
        "stage": {"type": "integer", "minimum": 1},
        "score": {"type": "number"},
        "joints": JOINTS,
    },
}
HEATMAPS: Schema = {
    "type": "object",
    "required": ["stage", "shape", "low", "high", "data"],
    "properties": {
        "stage": {"type": "integer", "minimum": 1},
        "shape": {"type": "array", "items": {"type": "integer"}, "description": "joints, height, width"},
        "low": {"type": "number"},
        "high": {"type": "number"},
        "data": {
            "type": "string",
            "contentEncoding": "base64",
            "description": "One byte a cell; its value is low + byte / 255 * (high - low). Spans the box.",
        },
    },
}
PERSON: Schema = {
    "type": "object",
    "required": ["image_id", "score", "box", "skeleton", "joints"],
    "properties": {
        "image_id": {"type": ["string", "null"]},
        "score": {"type": "number", "description": "Mean of the joints' scores."},
        "box": {**BOX, "description": "x, y, width, height of the square that the network saw."},
        "box_score": {"type": "number", "description": "Of the detector's box, where the server has one."},
        "guess": {
            "type": "boolean",
            "description": "True where nobody was found and the whole picture was taken to show one person.",
        },
        "skeleton": {"type": ["string", "object"]},
        "joints": JOINTS,
        "stages": {
            "type": "array",
            "items": STAGE,
            "description": "With stages=true; the last is the answer.",
        },
        "heatmaps": {"type": "array", "items": HEATMAPS, "description": "With heatmaps=true."},
    },
}
POSES: Schema = {
    "type": "object",
    "required": ["model", "skeleton", "images"],
    "properties": {
        "model": {"type": "string"},
        "skeleton": {"type": "object"},
        "images": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "width", "height", "people"],
                "properties": {
                    "name": {"type": ["string", "null"]},
                    "width": {"type": "integer"},
                    "height": {"type": "integer"},
                    "people": {"type": "array", "items": PERSON},
                },
            },
        },
    },
}
ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["status", "message"],
            "properties": {
                "status": {"type": "integer"},
                "message": {"type": "string", "description": "One sentence."},
                "id": {"type": "string", "description": "With 500: what the server's log calls it."},
            },
        }
    },
}
MODELS: Schema = {
    "type": "object",
    "required": ["models"],
    "properties": {
        "models": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "input_px", "stages", "heatmaps", "skeleton"],
                "properties": {
                    "name": {"type": "string"},
                    "input_px": {"type": "integer"},
                    "stages": {"type": "integer", "description": "Stacks whose answers can be had."},
                    "heatmaps": {"type": "boolean"},
                    "several": {
                        "type": "boolean",
                        "description": "Whether several people are found where no boxes are given.",
                    },
                    "skeleton": {"type": "object"},
                },
            },
        }
    },
}
STATE: Schema = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"type": "string"}},
}

_EXAMPLE = {
    "model": "hg2_small_192",
    "skeleton": {"name": "lsp14", "joints": ["right_ankle"], "limbs": []},
    "images": [
        {
            "name": "team.jpg",
            "width": 640,
            "height": 480,
            "people": [
                {
                    "image_id": "team.jpg",
                    "score": 0.83,
                    "box": [15.0, -22.5, 525.0, 525.0],
                    "skeleton": "lsp14",
                    "joints": {"right_ankle": {"x": 211.5, "y": 402.25, "score": 0.83}},
                }
            ],
        }
    ],
}
_FLAG_TEXT = {
    "heatmaps": "Send every stack's heatmaps, which span the person's box.",
    "stages": "Send every stack's own joints, to see what the later ones corrected.",
    "flip_test": "Average with the answer to the mirrored picture; slower and a little better.",
}
_ERRORS = {
    400: "The client went away before its request was whole.",
    401: "The API key is missing or wrong.",
    408: "The request took too long to arrive.",
    413: "The body, a picture, or the number of pictures or people is too large.",
    415: "The Content-Type is none of the three forms.",
    422: "A picture can't be read, or a box or an option is malformed.",
    500: "Something went wrong here; the log has it under the id.",
    503: "The server is full or shutting down; come again after Retry-After seconds.",
}


_SAID = {
    400: "the connection was closed before the request was whole",
    401: "the API key is missing or wrong",
    408: "the request took longer than 30 s to arrive",
    413: "picture 1 has 20000 x 20000 pixels; 50 million is the most",
    415: "send a picture as image/jpeg (or png, webp, gif, bmp), several as multipart/form-data, "
    "or base64 as application/json",
    422: "picture 1 is not a JPEG, PNG, WebP, GIF or BMP file",
    500: "something went wrong here; the server's log has it as 5f0c9a1e",
    503: "64 requests are waiting already; try again",
}


def responses(schema: Schema, example: Any, *errors: int) -> dict[int | str, dict[str, Any]]:
    """A route's answers: one good one, and those that are no success."""
    found: dict[int | str, dict[str, Any]] = {
        200: {
            "description": "Good.",
            "content": {"application/json": {"schema": schema, "example": example}},
        }
    }
    for status in errors:
        said = {"error": {"status": status, "message": _SAID[status]}}
        found[status] = {
            "description": _ERRORS[status],
            "content": {"application/json": {"schema": ERROR, "example": said}},
        }
        if status == 503:
            found[status]["headers"] = {
                "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}
            }
    return found


def pose_responses() -> dict[int | str, dict[str, Any]]:
    """Of `POST /v1/pose`."""
    return responses(POSES, _EXAMPLE, 400, 401, 408, 413, 415, 422, 500, 503)


def pose_request(settings: Settings, models: Sequence[str]) -> dict[str, Any]:
    """Parameters and bodies of `POST /v1/pose`, with the server's own limits and networks."""
    model = {"type": "string", "enum": list(models), "description": "Which network answers; else the first."}
    flag = {"type": "boolean"}
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "query", "required": False, "description": text, "schema": flag}
        for name, text in _FLAG_TEXT.items()
    ]
    parameters.append(
        {
            "name": "boxes",
            "in": "query",
            "required": False,
            "description": "Boxes of the people in a picture that is sent as it is: x,y,w,h;x,y,w,h. "
            "Without, the picture is taken to show one person.",
            "schema": {"type": "string"},
            "example": "40,30,200,420;260,25,190,430",
        }
    )
    parameters.append(
        {
            "name": "model",
            "in": "query",
            "required": False,
            "description": model["description"],
            "schema": {"type": "string", "enum": list(models)},
        }
    )
    boxes = {"type": ["array", "null"], "items": BOX, "maxItems": settings.max_boxes}
    picture = {
        "type": "object",
        "required": ["data"],
        "additionalProperties": False,
        "properties": {
            "data": {"type": "string", "contentEncoding": "base64", "description": "A picture's file."},
            "boxes": boxes,
            "name": {"type": ["string", "null"], "description": "Comes back with the answer."},
        },
    }
    as_json = {
        "type": "object",
        "required": ["images"],
        "additionalProperties": False,
        "properties": {
            "images": {"type": "array", "minItems": 1, "maxItems": settings.max_images, "items": picture},
            **{name: {**flag, "description": text} for name, text in _FLAG_TEXT.items()},
            "model": model,
        },
    }
    as_form = {
        "type": "object",
        "properties": {
            "images": {
                "type": "array",
                "minItems": 1,
                "maxItems": settings.max_images,
                "items": {"type": "string", "format": "binary"},
            },
            "boxes": {"type": "string", "description": "JSON: for each picture a list of boxes, or null."},
            **dict.fromkeys(_FLAG_TEXT, flag),
            "model": model,
        },
    }
    raw = {"schema": {"type": "string", "format": "binary"}}
    example = {"images": [{"data": _TINY_PNG, "boxes": [[0, 0, 8, 8]], "name": "tiny.png"}], "stages": True}
    return {
        "parameters": parameters,
        "requestBody": {
            "required": True,
            "description": f"At most {settings.max_mb:g} MB, {settings.max_images} pictures of "
            f"{settings.max_megapixels:g} million pixels each, and {settings.max_boxes} people.",
            "content": {
                "image/jpeg": raw,
                "image/png": raw,
                "image/webp": raw,
                "image/gif": raw,
                "image/bmp": raw,
                "application/octet-stream": raw,
                "multipart/form-data": {"schema": as_form},
                "application/json": {"schema": as_json, "example": example},
            },
        },
    }
