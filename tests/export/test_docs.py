"""The code in docs/export.md, run as it is written, by programs without ours."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyes import FACTS, Eyes, drawn
from hourglass.export.write import write

GUIDE = Path(__file__).parents[2] / "docs" / "export.md"


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    monkeypatch.chdir(tmp_path)
    facts = replace(FACTS, input_px=192)
    for to, name in (("onnx", "hg2_small_192.onnx"), ("torch-export", "hg2_small_192.pt2")):
        write(Eyes().eval(), facts, to, Path(name), decode_in_graph=True)  # type: ignore[arg-type]
    joints = np.array([[[21.0, 30.0], [40.0, 25.0], [33.0, 41.0]]])
    picture = drawn(joints)[0].permute(1, 2, 0).numpy().repeat(3, 0).repeat(3, 1)
    Image.fromarray(picture).save("person.jpg", quality=95, subsampling=0)
    in_onnx, in_torch = blocks()
    assert "hourglass." not in in_onnx
    exec(compile(in_onnx, "docs/export.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["left_eye", "right_eye", "nose"]
    said = [[float(word) for word in line.split()[1:3]] for line in lines]
    np.testing.assert_allclose(said, (joints[0] + 0.5) * 3 - 0.5, atol=2)
    exec(compile(in_torch, "docs/export.md", "exec"), {})
    assert capsys.readouterr().out == "torch.Size([4, 3, 2])\n"
