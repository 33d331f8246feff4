"""A server that nobody here wrote: the LiteLLM proxy, with mocked models, as an `online` provider.

It is large, so that it has an environment of its own: LITELLM_PROXY names its `litellm` command.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import Project

LITELLM = os.environ["LITELLM_PROXY"]
_ENVIRONMENT = dict(os.environ)
KEY = "sk-only-for-this-test-7f3a91c2"
CONFIG = f"""
model_list:
  - model_name: mocked
    litellm_params: {{model: openai/gpt-4o-mini, api_key: unused, mock_response: A mocked answer.}}
  - model_name: limited
    litellm_params: {{model: openai/gpt-4o-mini, api_key: unused, mock_response: litellm.RateLimitError}}
general_settings: {{master_key: {KEY}}}
"""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The proxy's URL."""
    folder = tmp_path_factory.mktemp("litellm")
    (folder / "config.yaml").write_text(CONFIG)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [LITELLM, "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env={**_ENVIRONMENT, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health/readiness", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "the proxy ended by itself"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the proxy does not answer")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("PROXY_KEY", KEY)
    return Project(tmp_path)


def settings(proxy: str, **more: Any) -> dict[str, Any]:
    return {"demo": {"type": "online", "base_url": proxy, "api_key": {"env": "PROXY_KEY"}, **more}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ending", ["", "/v1"])
def test_rows_are_answered(project: Project, proxy: str, stream: bool, ending: str) -> None:
    """All of them, with tokens counted and a reason for the end, streamed or not; a second apply asks nothing."""
    project.providers = settings(proxy + ending, stream=stream)
    project.spec(rows=40, model="mocked")
    assert project.apply()["rows"]["job"]["succeeded"] == 40
    line = project.output()[0]
    assert (line["text"], line["finish_reason"]) == ("A mocked answer.", "stop")
    assert line["usage"]["output_tokens"] > 0
    assert project.requests() == 0


def test_the_proxys_own_list(project: Project, proxy: str) -> None:
    """Its models are known by name, and a model that it does not have is an error in the plan."""
    project.providers = settings(proxy)
    project.spec(rows=1, model="mocket")
    done = project.call("plan")
    assert (done.code, "no model mocket; nearest: mocked" in done.err) == (1, True)
    assert "limited" in project.call("models").out


def test_a_model_that_is_always_busy(project: Project, proxy: str) -> None:
    """Every row fails with the proxy's own words, as often tried as the spec says."""
    project.providers = settings(proxy)
    project.spec(rows=2, model="limited", retry={"attempts": 2})
    assert project.apply("--wait", code=7)["rows"]["job"]["failed"] == 2
    error = project.output()[0]["error"]
    assert "mock rate limit error" in error["message"]
    assert error["retryable"]
