"""How platforms deviate from OpenAI's files and batches: one row each, and no name is looked at anywhere else.

Beside each row stands where the platform documents it.  Where it does not say what it takes, the row says what we send:

- Largest file or number of requests unknown (Kimi, xAI, LiteLLM): OpenAI's number of requests, and 100 MB.
- Two values in the platform's own documents (Azure 50,000 or 100,000 requests, Groq 100 or 200 MB, Qianfan 512 MB or
  1 GB): the lower.
- SiliconFlow's windows beyond 24 h and its list are not documented: 24 h, and what it does not list may still exist.
- Zhipu's reference has no `completion_window`, its own client always sends 24h: it is sent.
- A megabyte is 1,000,000 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.provider import ShardLimits
from runner.providers.openai.endpoints import EMBEDDINGS, openai_line


@dataclass(frozen=True)
class Window:
    """What `completion_window` may be, in hours.  ``days``: whole days are written as days."""

    hours: Sequence[int]
    days: bool = False

    def of(self, seconds: int) -> str:
        """The longest that is not longer than ``seconds``, else the shortest there is, such as ``24h`` or ``7d``."""
        hours = max((hours for hours in self.hours if hours * 3600 <= seconds), default=min(self.hours))
        return f"{hours // 24}d" if self.days and hours > 24 and hours % 24 == 0 else f"{hours}h"


DAY = Window((24,))
_USUAL = ShardLimits(50_000, 200_000_000)
_HUNDRED_MB = ShardLimits(50_000, 100_000_000)


@dataclass(frozen=True)
class Dialect:
    """One platform.  The defaults are OpenAI's."""

    base_url: str
    """Where it is, without ``version``; empty where runner.yaml has to say it."""
    version: str = "/v1"
    """The path that every call begins with."""
    limits: ShardLimits = _USUAL
    fewer: Mapping[str, int] = field(default_factory=dict)
    """Endpoint's ending → the most requests for it, where that is less."""
    poll: float = 15
    poll_young: float = 1
    """Seconds between two looks at a task."""
    key_header: str = "authorization"
    key_word: str = "Bearer "

    upload: str = "multipart"
    """``multipart`` form, or ``presigned``: the bare bytes to an address that is asked for first."""
    purpose: str = "batch"
    waits_for_file: bool = False
    """A file has to be ``processed`` before a task can be made of it."""
    line: str = "openai"
    """Shape of a request line, one of :data:`runner.providers.chat.LINE_SHAPES`."""
    prefix: str = "/v1"
    """What stands before ``/chat/completions`` in lines and as the task's endpoint."""
    refuses: frozenset[str] = frozenset()
    """Parameters that may not be sent."""
    embeds: bool = False
    """Its documents name embeddings among what a batch may be for."""

    window: Window | None = DAY
    """None: there is no such field."""
    marker: tuple[str, ...] = ("metadata", "runner")
    """Where a task carries our name for it; empty where it can carry none."""
    input_file: str = "input_file_id"
    names_endpoint: bool = True
    """Whether a task is made for an endpoint; otherwise each line says its own."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What else is sent to make a task."""
    id: str = "id"
    wrapper: str = ""
    """Where in the answer to its creation the task is."""

    cursor: str = "after"
    """The parameter that asks for the next page of tasks; empty where the list comes in one piece."""
    hides: bool = False
    """Its list may leave tasks out: what is not listed may exist all the same."""
    results: str = "files"
    """``files``, ``pages`` of a list, or ``links`` to presigned addresses."""
    translate: Callable[[bytes], bytes] | None = None
    """From its line of results to OpenAI's."""
    cancel: str = "/cancel"
    """What follows a task's address to stop it."""
    models: str = "/models"
    """Its list of models; empty where the list is not of what a body may name."""
    lists_all_models: bool = False
    """Documented: a model that is not listed cannot be had.  Elsewhere it is not known to be so."""


DIALECTS: Mapping[str, Dialect] = {
    # https://platform.openai.com/docs/api-reference/batch
    "openai": Dialect("https://api.openai.com", embeds=True, lists_all_models=True),
    # https://learn.microsoft.com/en-us/azure/foundry/reference/rest/batches-create-batch
    "azure": Dialect(
        "",
        version="/openai/v1",
        poll=60,  # documented: no faster, and so from the first look on
        poll_young=60,
        key_header="api-key",
        key_word="",
        waits_for_file=True,
        models="",  # lists models, and a body names a deployment
    ),
    # https://console.groq.com/docs/batch
    "groq": Dialect(
        "https://api.groq.com",
        version="/openai/v1",
        limits=_HUNDRED_MB,
        window=Window(range(24, 7 * 24 + 1), days=True),
        cursor="cursor",
    ),
    # https://docs.together.ai/docs/inference/batch/overview
    "together": Dialect(
        "https://api.together.ai",
        limits=_HUNDRED_MB,
        purpose="batch-api",
        line="minimal",
        marker=(),
        wrapper="job",
        cursor="",
    ),
    # https://platform.kimi.ai/docs/guide/use-batch-inference
    "kimi": Dialect(
        "https://api.moonshot.cn",
        limits=_HUNDRED_MB,
        refuses=frozenset({"temperature", "top_p", "n", "presence_penalty", "frequency_penalty"}),
        window=Window(range(12, 7 * 24 + 1), days=True),
    ),
    # https://help.aliyun.com/zh/model-studio/batch-interfaces-compatible-with-openai
    "dashscope": Dialect(
        "https://dashscope.aliyuncs.com",
        version="/compatible-mode/v1",
        limits=ShardLimits(50_000, 500_000_000),
        embeds=True,
        window=Window(range(24, 14 * 24 + 1)),
        marker=("metadata", "ds_name"),
    ),
    # https://docs.bigmodel.cn/cn/faq/batch-api-issues.md
    "zhipu": Dialect(
        "https://open.bigmodel.cn",
        version="/api/paas/v4",
        limits=_HUNDRED_MB,
        fewer={EMBEDDINGS: 10_000},
        prefix="/v4",
        embeds=True,
        fields={"auto_delete_input_file": False},  # deleted by default, and a person may want to look at it
    ),
    # https://docs.siliconflow.cn/cn/userguide/guides/batch
    "siliconflow": Dialect(
        "https://api.siliconflow.cn",
        limits=ShardLimits(5_000, 1_000_000_000),
        marker=(),
        hides=True,
    ),
    # https://github.com/doublewordai/control-layer/blob/main/config.yaml
    "doubleword": Dialect("https://api.doubleword.ai", limits=_HUNDRED_MB, embeds=True, window=Window((1, 24))),
    # https://cloud.baidu.com/doc/qianfan/s/Oml4r78ea
    "qianfan": Dialect(
        "https://qianfan.baidubce.com",
        version="/v2",
        limits=ShardLimits(5_000, 512_000_000),
        prefix="/v2",
        window=Window(range(1, 672 + 1)),
    ),
    # https://docs.litellm.ai/docs/batches
    "litellm": Dialect("", limits=_HUNDRED_MB, embeds=True, hides=True),
    # https://docs.x.ai/docs/guides/batch-api
    "xai": Dialect(
        "https://api.x.ai",
        limits=_HUNDRED_MB,
        window=None,
        marker=("name",),
        names_endpoint=False,
        id="batch_id",
        cursor="pagination_token",
        results="pages",
        translate=openai_line,
        cancel=":cancel",
    ),
    # https://docs.digitalocean.com/products/inference/how-to/use-batch-inference/
    "digitalocean": Dialect(
        "https://inference.do-ai.run",
        upload="presigned",
        marker=("request_id",),  # the same one again returns the same task
        input_file="file_id",
        fields={"provider": "openai"},
        id="batch_id",
        results="links",
    ),
}
