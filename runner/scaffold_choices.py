"""The real providers that a new project can have beside its simulator, and the variables that hold their keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

BLANK = "REPLACE_ME"
"""Stands where only a person knows what to write.  Valid, so that everything runs before it is replaced."""


@dataclass(frozen=True)
class Choice:
    """One provider as `runner init` offers it.  ``keys``: the settings that hold a secret, each with its variables.

    Of several variables the first that is set is written, else the first.  ``lines`` are the other settings as YAML.
    """

    name: str
    about: str
    type: str
    keys: Mapping[str, tuple[str, ...]]
    lines: tuple[str, ...] = ()
    steers: bool = True
    """It takes a temperature."""
    family: bool = False
    """Its list of models says of which family each is, so that a spec that selects by family stays as it is."""

    def variables(self, environ: Iterable[str]) -> dict[str, str]:
        """Setting → the name of its variable.  ``environ`` are names; nothing here sees a value."""
        known = set(environ)
        return {key: next((name for name in names if name in known), names[0]) for key, names in self.keys.items()}

    def is_set(self, environ: Iterable[str]) -> bool:
        """Whether there is a variable for every secret."""
        known = set(environ)
        return all(known.intersection(names) for names in self.keys.values())


def _dialect(name: str, about: str, *variables: str, lines: tuple[str, ...] = (), steers: bool = True) -> Choice:
    return Choice(name, about, "openai", {"api_key": variables}, (f"dialect: {name}", *lines), steers=steers)


_CHOICES = (
    Choice(
        "wanqing",
        "batch tasks of StreamLake Wanqing",
        "wanqing",
        {"api_key": ("WANQING_API_KEY",)},
        (f"project_id: {BLANK} # as in the console's address; the key has to belong to it",),
        family=True,
    ),
    Choice(
        "qianfan",
        "batch inference of Baidu Qianfan, with files in BOS",
        "qianfan",
        {"access_key": ("QIANFAN_ACCESS_KEY",), "secret_key": ("QIANFAN_SECRET_KEY",)},
        (f'bos: {{endpoint: "https://bj.bcebos.com", bucket: {BLANK}, prefix: runner}} # a bucket that is there',),
    ),
    Choice(
        "online",
        "any endpoint with /v1/chat/completions: a MaaS, vLLM, Ollama, a gateway",
        "online",
        {"api_key": ("MAAS_TOKEN", "MAAS_API_KEY")},
        (f"base_url: https://{BLANK}.example.com/v1", "concurrency: 16 # questions in flight at once"),
    ),
    Choice(
        "alaya",
        "a deployment of Alaya NeW",
        "alaya",
        {"access_key": ("ALAYA_AK", "ALAYA_ACCESS_KEY"), "secret_key": ("ALAYA_SK", "ALAYA_SECRET_KEY")},
        (f"service_id: {BLANK} # the deployment's id, or its name",),
    ),
    Choice("openai", "OpenAI's batches", "openai", {"api_key": ("OPENAI_API_KEY",)}),
    Choice("anthropic", "Anthropic's Message Batches", "anthropic", {"api_key": ("ANTHROPIC_API_KEY",)}),
    _dialect("dashscope", "batches of Alibaba Cloud Model Studio", "DASHSCOPE_API_KEY"),
    _dialect("kimi", "batches of Moonshot's Kimi", "MOONSHOT_API_KEY", "KIMI_API_KEY", steers=False),
    _dialect("zhipu", "batches of Zhipu", "ZHIPU_API_KEY", "ZHIPUAI_API_KEY"),
    _dialect("siliconflow", "batches of SiliconFlow", "SILICONFLOW_API_KEY"),
    _dialect("groq", "Groq's batches", "GROQ_API_KEY"),
    _dialect("together", "Together's batches", "TOGETHER_API_KEY"),
    _dialect("doubleword", "Doubleword's batches", "DOUBLEWORD_API_KEY"),
    _dialect("xai", "xAI's batches", "XAI_API_KEY"),
    _dialect("digitalocean", "DigitalOcean's batches", "DIGITALOCEAN_INFERENCE_KEY", "MODEL_ACCESS_KEY"),
    _dialect(
        "azure",
        "batches of Azure OpenAI",
        "AZURE_OPENAI_API_KEY",
        lines=(f"base_url: https://{BLANK}.openai.azure.com",),
    ),
    _dialect(
        "litellm",
        "batches behind a LiteLLM proxy",
        "LITELLM_API_KEY",
        lines=(f"base_url: https://{BLANK}.example.com",),
    ),
)
CHOICES: Mapping[str, Choice] = {choice.name: choice for choice in _CHOICES}
"""By type, or by dialect where several platforms share one."""

SIMULATOR = "simulator"
"""The choice of no real provider, for the time being."""


def offered(environ: Iterable[str]) -> list[Choice]:
    """All of them, those first whose keys are set."""
    names = set(environ)
    return sorted(CHOICES.values(), key=lambda choice: not choice.is_set(names))
