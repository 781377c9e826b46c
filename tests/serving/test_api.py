import base64
import json
import re
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `serve` is not installed")

from hourglass.inference.poses.pose import Pose
from hourglass.inference.predictor import Predictor
from hourglass.serving.settings import Settings
from hourglass.web.pages import page_files

PNG = {"Content-Type": "image/png"}
BOXES = [[10.0, 20.0, 60.0, 90.0], [30.0, 5.0, 50.0, 120.0]]


def people(answer: Any, image: int = 0) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["images"][image]["people"]
    return found


def assert_same(row: dict[str, Any], pose: Pose) -> None:
    told = Pose.from_dict(row)
    np.testing.assert_allclose(told.keypoints, pose.keypoints, atol=2e-3)
    np.testing.assert_allclose(told.scores, pose.scores, atol=2e-4)
    np.testing.assert_allclose(told.box, pose.box, atol=2e-3)
    assert told.image_id == pose.image_id


def test_every_form_of_request_equals_the_predictor(
    make_client: Any, predictor: Predictor, photo: np.ndarray, png: bytes
) -> None:
    whole, boxed = predictor(photo), predictor(photo, BOXES)
    client = make_client(predictor)
    post = client.post("/v1/pose", content=png, headers=PNG)
    assert_same(people(post)[0], whole[0])
    assert post.json()["model"] == "tiny"
    assert post.json()["skeleton"] == predictor.skeleton.to_dict()
    picture = post.json()["images"][0]
    assert (picture["width"], picture["height"], picture["name"]) == (120, 160, None)

    text = ";".join(",".join(map(str, box)) for box in BOXES)
    found = people(client.post("/v1/pose", params={"boxes": text}, content=png, headers=PNG))
    assert [row["joints"] for row in found] == [pose.to_dict()["joints"] for pose in boxed]

    files = [("images", ("a.png", png, "image/png")), ("images", ("dir/b.png", png, "image/png"))]
    form = client.post("/v1/pose", files=files, data={"boxes": json.dumps([None, BOXES])})
    assert people(form)[0]["joints"] == people(post)[0]["joints"]
    assert people(form)[0]["image_id"] == "a.png"
    assert len(people(form, 1)) == 2
    assert form.json()["images"][1]["name"] == "b.png"

    data = base64.b64encode(png).decode()
    body = {"images": [{"data": data, "boxes": BOXES}, {"data": data, "boxes": []}]}
    told = client.post("/v1/pose", json=body)
    assert_same(people(told)[1], boxed[1])
    assert people(told, 1) == []


def test_without_the_flip_test(make_client: Any, predictor: Predictor, photo: np.ndarray, png: bytes) -> None:
    flipped = predictor(photo, BOXES[0])[0]
    predictor.flip_test = False
    plain = predictor(photo, BOXES[0])[0]
    client = make_client(predictor, flip_test=False)
    options = {"boxes": "10,20,60,90"}
    assert_same(people(client.post("/v1/pose", params=options, content=png, headers=PNG))[0], plain)
    options["flip_test"] = "true"
    assert_same(people(client.post("/v1/pose", params=options, content=png, headers=PNG))[0], flipped)


def test_each_stack_and_its_heatmaps(
    make_client: Any, trained: Predictor, photo: np.ndarray, png: bytes
) -> None:
    (pose,) = trained(photo, keep_heatmaps=True)
    client = make_client(trained)
    options = {"stages": "true", "heatmaps": "true"}
    (row,) = people(client.post("/v1/pose", params=options, content=png, headers=PNG))
    assert_same(row, pose)
    assert [stage["stage"] for stage in row["stages"]] == [1, 2]
    places = {name: {key: joint[key] for key in ("x", "y", "score")} for name, joint in row["joints"].items()}
    assert row["stages"][1]["joints"] == places
    assert pose.stages is not None
    first = pose.stages[0].keypoints
    told = np.array([(j["x"], j["y"]) for j in row["stages"][0]["joints"].values()])
    np.testing.assert_allclose(told, first, atol=2e-3)
    assert np.abs(told - pose.keypoints).max() > 1  # the stacks differ here, so a mix-up would show
    assert pose.heatmaps is not None
    for heat, packed in zip(pose.heatmaps, row["heatmaps"], strict=True):
        assert packed["shape"] == list(heat.shape)
        levels = np.frombuffer(base64.b64decode(packed["data"]), np.uint8).reshape(heat.shape)
        values = packed["low"] + levels / 255 * (packed["high"] - packed["low"])
        np.testing.assert_allclose(values, heat, atol=(packed["high"] - packed["low"]) / 255)


def test_a_stacks_own_joints_are_what_a_shorter_network_finds(photo: np.ndarray, trained: Predictor) -> None:
    box = [20.0, 10.0, 80.0, 140.0]
    (pose,) = trained(photo, box, keep_heatmaps=True)
    # The same weights, stopped after the first stack, are an independent way to its answer.
    short = Predictor.from_pretrained("hg2_small", device="cpu", precision="fp32", stacks=1)
    assert pose.stages is not None
    np.testing.assert_allclose(pose.stages[0].keypoints, short(photo, box)[0].keypoints, atol=0.02)


def test_models_health_and_metrics(make_client: Any, png: bytes) -> None:
    client = make_client()
    (model,) = client.get("/v1/models").json()["models"]
    assert model["name"] == "tiny"
    assert model["stages"] == 2
    assert model["heatmaps"] is True
    assert len(model["skeleton"]["joints"]) == 14
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}
    client.post("/v1/pose", content=png, headers=PNG)
    client.post("/v1/pose", content=b"no", headers=PNG)
    client.get("/secret/name")
    text = client.get("/metrics")
    assert text.headers["content-type"].startswith("text/plain")
    assert 'hourglass_requests_total{path="/v1/pose",status="200"} 1.0' in text.text
    assert 'hourglass_requests_total{path="/v1/pose",status="422"} 1.0' in text.text
    assert 'hourglass_requests_total{path="other",status="404"} 1.0' in text.text
    assert "hourglass_batches_total 1.0" in text.text
    assert "secret" not in text.text


def test_openapi_tells_the_limits_and_every_route(make_client: Any) -> None:
    client = make_client(max_images=3)
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {"/v1/pose", "/v1/models", "/healthz", "/readyz", "/metrics"}
    post = document["paths"]["/v1/pose"]["post"]
    form = post["requestBody"]["content"]["application/json"]
    assert form["schema"]["properties"]["images"]["maxItems"] == 3
    assert {"200", "401", "413", "422", "503"} <= set(post["responses"])
    # The example must be a request that is answered.
    answer = client.post("/v1/pose", json=form["example"])
    assert len(people(answer)[0]["stages"]) == 2
    assert client.get("/redoc").status_code == 404
    assert client.get("/docs").content == page_files("hourglass.web.server")["docs.html"]


def test_every_answer_that_openapi_describes_has_an_example_that_fits(make_client: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    client = make_client()
    document = client.get("/openapi.json").json()
    checked = 0
    for path, methods in document["paths"].items():
        for method in methods.values():
            for status, answer in method["responses"].items():
                if "application/json" not in answer["content"]:
                    continue
                content = answer["content"]["application/json"]
                jsonschema.validate(content["example"], content["schema"])
                assert status == "200" or content["example"]["error"]["status"] == int(status), path
                checked += 1
    assert checked > 12
    # What is told of this server is what it says itself.
    described = document["paths"]["/v1/models"]["get"]["responses"]["200"]["content"]["application/json"]
    assert described["example"] == client.get("/v1/models").json()


def test_limits_are_told_in_a_sentence(make_client: Any, png: bytes) -> None:
    client = make_client(max_mb=0.08, max_megapixels=0.01, max_images=1, max_boxes=1)
    cases = (
        ({"content": bytes(90_000), "headers": PNG}, 413, "larger than 0.08 MB"),
        ({"content": (bytes(10_000) for _ in range(9)), "headers": PNG}, 413, "larger than 0.08 MB"),
        ({"content": png, "headers": PNG}, 413, "120 x 160 pixels; 0.01 million"),
        ({"files": [("i", ("a.png", png))] * 2}, 413, "2 pictures; 1 is the most"),
        ({"content": png, "headers": PNG, "params": {"boxes": "1,1,9,9;2,2,9,9"}}, 413, "2 people; 1 is"),
        ({"content": b"", "headers": PNG}, 422, "picture 1 is empty"),
        ({"content": png, "headers": {"Content-Type": "text/plain"}}, 415, "send a picture as"),
    )
    for request, status, words in cases:
        answer = client.post("/v1/pose", **request)
        assert answer.status_code == status, words
        assert words in answer.json()["error"]["message"]
        assert answer.json()["error"]["status"] == status


def test_memory_for_all_requests_is_bounded(make_client: Any, png: bytes) -> None:
    client = make_client(max_mb=0.01, memory_mb=0.1)
    answer = client.post("/v1/pose", content=png[:100] + bytes(5000), headers=PNG)
    assert answer.status_code == 413  # 19,200 pixels would take more than 0.1 MB
    assert "memory" in answer.json()["error"]["message"]
    assert client.app.state.service.budget.held == 0


def test_the_key_is_asked_for(make_client: Any, png: bytes) -> None:
    client = make_client(api_key="s3cret")
    good = ({"Authorization": "Bearer s3cret"}, {"X-API-Key": "s3cret"})
    bad: tuple[dict[str, str], ...] = (
        {},
        {"Authorization": "Bearer s3cre"},
        {"Authorization": "Basic s3cret"},
        {"X-API-Key": "S3CRET"},
    )
    for path in ("/v1/models", "/metrics"):
        assert [client.get(path, headers=h).status_code for h in good] == [200, 200]
        assert [client.get(path, headers=h).status_code for h in bad] == [401] * 4
    refused = client.post("/v1/pose", content=png, headers=PNG)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert client.post("/v1/pose", content=png, headers={**PNG, **good[1]}).status_code == 200
    for path in ("/", "/healthz", "/readyz", "/openapi.json"):
        assert client.get(path).status_code == 200
    schemes = client.get("/openapi.json").json()["components"]["securitySchemes"]
    assert {scheme["type"] for scheme in schemes.values()} == {"http", "apiKey"}


def test_a_mistake_of_ours_tells_nothing(
    make_client: Any, png: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client()

    def fail(*_: object) -> None:
        raise RuntimeError(f"cannot open {__file__}")

    monkeypatch.setattr("hourglass.serving.app.prepare", fail)
    answer = client.post("/v1/pose", content=png, headers=PNG)
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert re.fullmatch(r"[0-9a-f]{8}", error["id"])
    assert "/" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert error["id"] in caplog.text
    assert "RuntimeError: cannot open" in caplog.text
    assert client.app.state.service.batcher.inside == 0


def test_every_answer_has_its_security_headers(make_client: Any, png: bytes) -> None:
    client = make_client()
    answers = [
        *(client.get(path) for path in ("/", "/page/page.css", "/v1/models", "/nothing", "/samples/0.jpg")),
        *(client.post("/v1/pose", content=content, headers=PNG) for content in (png, b"no")),
        client.request("BREW", "/v1/pose"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 404, 200, 200, 422, 405]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert "server" not in answer.headers


def test_the_page_asks_nothing_of_other_hosts(make_client: Any) -> None:
    client = make_client()
    files = page_files("hourglass.web.server")
    assert "index.html" in files
    for name, content in files.items():
        text = content.decode()
        assert client.get(f"/page/{name}").content == content
        known = text.replace("http://www.w3.org/2000/svg", "")
        assert not re.findall(r"(?:https?:)?//[a-z]", known.replace(" // ", "")), name
        if name.endswith(".html"):
            assert not re.findall(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", text)


def test_no_request_reaches_a_file(make_client: Any) -> None:
    client = make_client()
    for path in ("/page/../app.py", "/page/..%2fapp.py", "/page/%2e%2e/app.py", "/page/app.py", "/page/"):
        assert client.get(path).status_code == 404
    for path in ("/samples/99.jpg", "/samples/-1.jpg", "/samples/x.jpg", "/samples/²..jpg"):
        assert client.get(path).status_code == 404
    for name in ("0", "astronaut", "camera"):
        assert client.get(f"/samples/{name}.jpg").content[:3] == b"\xff\xd8\xff"


def test_a_network_of_coordinates_has_no_heatmaps(make_client: Any, png: bytes) -> None:
    from hourglass.core.skeleton import LSP14
    from hourglass.models.build import build_network
    from hourglass.recipe.network import NetworkRecipe
    from hourglass.weights.facts import WeightFacts

    recipe = NetworkRecipe(build="deeppose", stacks=1, width=2, view_px=32, dropout=0.0)
    facts = WeightFacts("deep", recipe, LSP14, 64, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    network = build_network(recipe, LSP14).eval()
    client = make_client(Predictor(network, facts, device="cpu", precision="fp32"))
    assert client.get("/v1/models").json()["models"][0]["heatmaps"] is False
    assert len(people(client.post("/v1/pose", content=png, headers=PNG))) == 1
    answer = client.post("/v1/pose", params={"stages": "true"}, content=png, headers=PNG)
    assert answer.status_code == 422
    assert "no heatmaps or stages" in answer.json()["error"]["message"]


def test_several_networks_to_choose_from(
    make_client: Any, photo: np.ndarray, png: bytes, predictor: Predictor, other_predictor: Predictor
) -> None:
    expected = {"tiny": predictor(photo)[0], "other": other_predictor(photo)[0]}
    assert np.abs(expected["tiny"].keypoints - expected["other"].keypoints).max() > 1
    client = make_client(predictor, (other_predictor,))
    assert [one["name"] for one in client.get("/v1/models").json()["models"]] == ["tiny", "other"]
    data = base64.b64encode(png).decode()
    for name in ("tiny", "other"):
        answers = [
            client.post(f"/v1/pose?model={name}", content=png, headers=PNG),
            client.post("/v1/pose", json={"images": [{"data": data}], "model": name}),
            client.post("/v1/pose", files={"images": ("a.png", png)}, data={"model": name}),
        ]
        for answer in answers:
            assert answer.json()["model"] == name
            (person,) = answer.json()["images"][0]["people"]
            np.testing.assert_allclose(Pose.from_dict(person).keypoints, expected[name].keypoints, atol=0.01)
    assert client.post("/v1/pose", content=png, headers=PNG).json()["model"] == "tiny"
    refused = client.post("/v1/pose?model=third", content=png, headers=PNG)
    assert refused.status_code == 422
    assert refused.json()["error"]["message"] == "model is none of this server's networks: tiny, other"
    assert client.post("/v1/pose", json={"images": [{"data": data}], "model": 3}).status_code == 422
    schema = client.get("/openapi.json").json()["paths"]["/v1/pose"]["post"]["parameters"]
    assert {"type": "string", "enum": ["tiny", "other"]} in [one["schema"] for one in schema]
    with pytest.raises(ValueError, match="two networks are called tiny"):
        make_client(predictor, (predictor,))


def test_head_tells_what_get_does_without_its_body(make_client: Any) -> None:
    client = make_client()
    for path in ("/", "/docs", "/healthz", "/readyz", "/metrics", "/v1/models"):
        head, get = client.head(path), client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == get.headers["content-type"]
    locked = make_client(api_key="k")
    assert locked.head("/metrics").status_code == 401
    assert locked.head("/v1/models").status_code == 401
    assert locked.head("/healthz").status_code == 200


def test_other_pages_may_ask_only_where_they_are_named(make_client: Any, png: bytes) -> None:
    ours, theirs = "https://example.org", "https://example.com"
    closed, named, everybody = (
        make_client(),
        make_client(allow_origin=(ours,)),
        make_client(allow_origin=("*",)),
    )
    allowed = "access-control-allow-origin"
    for client, origin, told in (
        (closed, ours, None),
        (named, ours, ours),
        (named, theirs, None),
        (everybody, theirs, "*"),
    ):
        answer = client.post("/v1/pose", content=png, headers={**PNG, "Origin": origin})
        assert answer.status_code == 200
        assert answer.headers.get(allowed) == told
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-api-key,content-type",
        }
        assert client.options("/v1/pose", headers=asked).headers.get(allowed) == told


def test_below_a_proxys_path(make_client: Any, png: bytes) -> None:
    client = make_client(root_path="/pose")
    assert client.get("/openapi.json").json()["servers"] == [{"url": "/pose"}]
    # Proxies that cut the path off and those that leave it on.
    for before in ("", "/pose"):
        assert client.post(f"{before}/v1/pose", content=png, headers=PNG).status_code == 200
        for path in ("/", "/docs", "/page/main.js", "/healthz"):
            assert client.get(f"{before}{path}").status_code == 200


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"allow_origin": ("example.org",)}, "--allow-origin 'example.org' is no origin"),
        ({"allow_origin": ("https://example.org/a",)}, "without a path"),
        ({"root_path": "pose"}, "--root-path 'pose' is no path"),
        ({"root_path": "/pose/"}, "doesn't end with it"),
    ],
)
def test_settings_that_cannot_be(setting: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Settings(**setting)
