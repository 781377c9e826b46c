import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `serve` is not installed")

from hourglass.inference.predictor import Predictor

PNG = {"Content-Type": "image/png"}
ONE = {"boxes": "10,20,60,90", "flip_test": "false"}


class Valve:
    """Holds a network up, and counts its passes."""

    def __init__(self, predictor: Predictor) -> None:
        self.passes: list[int] = []
        self.go = threading.Event()
        self.started = threading.Event()
        self.go.set()
        predictor.network.register_forward_pre_hook(self._seen)

    def _seen(self, _: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        self.started.set()
        assert self.go.wait(20)
        self.passes.append(len(inputs[0]))

    def shut(self) -> None:
        self.started.clear()
        self.passes.clear()
        self.go.clear()


def test_requests_that_arrive_together_share_a_pass_and_get_their_own_answers(
    make_client: Any, predictor: Predictor, photo: np.ndarray, png: bytes
) -> None:
    boxes = [[10.0 + i, 20.0, 60.0, 90.0] for i in range(6)]
    predictor.flip_test = False
    alone = [predictor(photo, box)[0].to_dict()["joints"] for box in boxes]
    valve = Valve(predictor)
    client = make_client(predictor, batch_ms=500, batch_size=6)

    def ask(box: list[float]) -> Any:
        params = {"boxes": ",".join(map(str, box)), "flip_test": "false"}
        return client.post("/v1/pose", params=params, content=png, headers=PNG).json()

    valve.passes.clear()
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, boxes))
    assert valve.passes == [6]
    for answer, joints in zip(answers, alone, strict=True):
        told = answer["images"][0]["people"][0]["joints"]
        for name, joint in joints.items():
            assert told[name].keys() == joint.keys()
            for key, value in joint.items():
                np.testing.assert_allclose(told[name][key], value, atol=2e-3, rtol=1e-3, err_msg=key)
    text = client.get("/metrics").text
    assert "hourglass_batches_total 1.0" in text
    assert "hourglass_batch_requests_total 6.0" in text


def test_a_full_queue_answers_503_at_once(make_client: Any, predictor: Predictor, png: bytes) -> None:
    valve = Valve(predictor)
    client = make_client(predictor, queue=2, batch_ms=0)
    valve.shut()
    with ThreadPoolExecutor(2) as pool:
        waiting = [
            pool.submit(client.post, "/v1/pose", params=ONE, content=png, headers=PNG) for _ in range(2)
        ]
        service = client.app.state.service
        until = time.monotonic() + 10
        while service.batcher.inside < 2 and time.monotonic() < until:
            time.sleep(0.01)
        began = time.monotonic()
        refused = client.post("/v1/pose", params=ONE, content=png, headers=PNG)
        assert time.monotonic() - began < 15  # those inside wait 20 s for the valve
        ready = client.get("/readyz")
        alive = client.get("/healthz")
        valve.go.set()
        answers = [future.result(20) for future in waiting]
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert "2 requests are waiting" in refused.json()["error"]["message"]
    assert (ready.status_code, alive.status_code) == (503, 200)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert client.get("/readyz").status_code == 200
    assert (service.batcher.inside, service.budget.held) == (0, 0)


def test_an_answer_that_takes_too_long_is_given_up(
    make_client: Any, predictor: Predictor, png: bytes
) -> None:
    valve = Valve(predictor)
    client = make_client(predictor, timeout_s=0.3, batch_ms=0)
    valve.shut()
    late = client.post("/v1/pose", params=ONE, content=png, headers=PNG)
    assert late.status_code == 503
    assert "no answer within 0.3 s" in late.json()["error"]["message"]
    assert "retry-after" in late.headers
    valve.go.set()
    assert client.post("/v1/pose", params=ONE, content=png, headers=PNG).status_code == 200


def test_a_thread_that_died_is_told(make_client: Any) -> None:
    client = make_client()
    client.app.state.service.batcher.close()
    for path in ("/healthz", "/readyz"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
