"""The official Qianfan client, which others wrote, talks to ``runner simulate`` and understands what it says.

Its files go through the official client of BOS; both clients sign, each in its own way.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import qianfan
from baidubce.services.bos.bos_client import BosClient
from helpers import Served, serving
from qianfan.errors import APIError, RequestError
from qianfan.resources import Data
from qianfan.resources.console.utils import call_action
from test_bos_sdk import connect

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""The client of BOS leaves its sockets to be closed by the collector of garbage."""

BUCKET = "demo"
FOLDERS = {"input_bos_uri": f"bos:/{BUCKET}/in/", "output_bos_uri": f"bos:/{BUCKET}/out/"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("simulator")) as ready:
        bos = connect(ready)
        questions = [{"id": str(number), "query": f"What is {number} plus {number}?"} for number in range(1, 4)]
        bos.put_object_from_string(BUCKET, "in/part-0.jsonl", "".join(json.dumps(each) + "\n" for each in questions))
        bos.put_object_from_string(BUCKET, "out/", "")
        yield ready
        gc.collect()  # or sockets of this client are found in the tests of another


@pytest.fixture
def served(server: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """A server without faults, which the client's configuration leads to."""
    server.faults()
    for name, value in {
        "CONSOLE_API_BASE_URL": server.url,
        "ACCESS_KEY": "AKDEMO",
        "SECRET_KEY": "SKDEMO",
    }.items():
        monkeypatch.setattr(qianfan.get_config(), name, value)
    return server


@pytest.fixture
def bos(served: Served) -> BosClient:
    return connect(served)


def create(**changes: Any) -> str:
    order: dict[str, Any] = {"name": "nightly", "endpoint": "mi-9", "inference_params": {"temperature": 0.2}, **FOLDERS}
    reply = Data.create_offline_batch_inference_task(**{**order, **changes})
    return str(reply["result"]["taskId"])


def task(identity: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = Data.get_offline_batch_inference_task(identity)["result"]
    return found


def ended(identity: str) -> Mapping[str, Any]:
    deadline = time.monotonic() + 20
    while "finishTime" not in (found := task(identity)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def act(action: str, **params: Any) -> Any:
    """An action that the client has no method for."""
    return call_action("/v2/batchinference", action, params)["result"]


def test_a_task_goes_from_bucket_to_bucket(served: Served, bos: BosClient) -> None:
    """Created, watched, and its results read from the folder that it names."""
    identity = create(description="runner nightly", completion_window="24h")
    found = ended(identity)
    assert (found["runStatus"], found["description"], found["progress"]) == ("Done", "runner nightly", 3)
    keys = [each.key for each in bos.list_all_objects(BUCKET, prefix=f"out/{found['outputDir']}/")]
    assert keys == [f"out/{found['outputDir']}/part-0.jsonl"]
    lines = [json.loads(line) for line in bos.get_object_as_string(BUCKET, keys[0]).splitlines()]
    assert [line["id"] for line in lines] == ["1", "2", "3"]
    assert all(line["output"]["result"].endswith(line["query"]) for line in lines)


def test_tasks_are_listed_by_status_and_by_page(served: Served) -> None:
    """From the newest, on from the marker, and none twice."""
    made = [create() for _ in range(3)]
    for identity in made:
        ended(identity)
    seen: list[str] = []
    marker: dict[str, str] = {}
    while True:
        reply = Data.list_offline_batch_inference_task(max_keys=2, page_reverse=True, run_status="Done", **marker)
        seen += [each["taskId"] for each in reply["result"]["taskList"]]
        if not reply["result"]["pageInfo"]["isTruncated"]:
            break
        marker = {"marker": reply["result"]["pageInfo"]["marker"]}
    assert seen[:3] == made[::-1]
    assert len(seen) == len(set(seen))
    assert Data.list_offline_batch_inference_task(run_status=["Failed"])["result"]["taskList"] == []


def test_a_task_is_stopped_once(served: Served) -> None:
    """The second time the result is false, and the call succeeds nevertheless."""
    served.faults({"on": "task", "do": "never-end"})
    identity = create()
    assert Data.stop_offline_batch_inference_task(identity)["result"] is True
    assert ended(identity)["runStatus"] == "Stopped"
    assert Data.stop_offline_batch_inference_task(identity)["result"] is False


def test_a_task_is_deleted(served: Served) -> None:
    """And then there is no such task."""
    identity = create()
    ended(identity)
    assert act("DeleteBatchInferenceTask", taskId=identity) is True
    with pytest.raises(RequestError) as caught:
        task(identity)
    assert caught.value.status_code == 404


def test_models_are_listed_and_can_be_asked(served: Served) -> None:
    """By the id of their version."""
    listed = act("DescribeBatchInferenceModel")
    assert listed["customModelList"] is None
    version = listed["commonModelList"][0]["modelVersionList"][0]["modelVersionId"]
    assert ended(create(endpoint=None, model_id=version))["modelId"] == version


def test_a_wrong_secret_is_refused(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client tells what the server said."""
    monkeypatch.setattr(qianfan.get_config(), "SECRET_KEY", "WRONG")
    with pytest.raises(RequestError, match="SignatureDoesNotMatch") as caught:
        create()
    assert caught.value.status_code == 403


def test_a_broken_rule_is_told(served: Served) -> None:
    """Such as two slashes behind the scheme."""
    with pytest.raises(RequestError, match="InvalidBosUri"):
        create(input_bos_uri=f"bos://{BUCKET}/in/")


def test_an_error_in_the_old_way_is_understood(served: Served) -> None:
    """HTTP 200 with a number; the client asks again where it is told to."""
    identity = create()
    served.faults({"on": "detail", "do": "error-code", "code": "336003"})
    with pytest.raises(APIError, match="336003"):
        task(identity)
    served.faults({"on": "detail", "do": "error-code", "code": "18", "times": 1})
    assert Data.get_offline_batch_inference_task(identity, retry_count=2)["result"]["taskId"] == identity
