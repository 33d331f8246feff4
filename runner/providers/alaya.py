"""Alaya NeW's serverless deployments: looked up by the control plane, then asked online.

Documented under https://docs.alayanew.com/en/docs/serverless/modelservice/ .  The "Signature" of the control plane is
the secret key itself; nothing is signed.  What the pages leave open, or contradict each other in, is read so:

- ``code`` is 0, "0" or -1, beside HTTP 200 as well; a LoRA's detail has no envelope at all.
- Status words come in any case, some misspelt; a word that is not known means that the deployment is on its way.
- A running deployment is ready once one of its instances says ``baseModelReady``, or none says anything of it: one that
  is scaled down to nothing wakes up when it is asked.
- ``servedName`` is a list, a text, or missing; the key is ``apikey`` or ``apiKey``.
- `/v1/models` is not documented, and believed where it answers a list.
- Keys and passwords come back in clear: none of them is ever shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import quote

from runner.edge.http import Http, Reply, judge_status, retry_after
from runner.errors import Busy, ProviderError, Refused, RunnerError, Unsure
from runner.model import Catalogue, Offer
from runner.project import ProviderConfig
from runner.providers.hands import Hands, secret_of
from runner.providers.loose import LONGEST_TEXT, address, count, get, identity, items, text
from runner.providers.online.door import NotYet, Target
from runner.providers.online.provider import Online, endpoint, header_of, key_header, listed_at

DEFAULT_URL = "https://api.alayanew.com"
API_PATH = "/api/serverless-infer/v1"
AUTH_HEADER = "apiKey"
"""Of the deployment's own endpoint."""
PAGE = 100
"""The most that a list gives at once."""
PAGES = 100

MISSPELT: Mapping[str, str] = {"staring": "starting", "stoping": "stopping", "stoped": "stopped"}
DOWN: Mapping[str, str] = {
    "stopping": "Start it in Alaya NeW's console once it has stopped, then apply again.",
    "stopped": "Start it in Alaya NeW's console, then apply again.",
    "failed": "See in Alaya NeW's console why, and deploy it again, then apply again.",
}
"""Statuses from which a deployment does not come up by itself, and what to do."""

COMPLAINTS: Sequence[tuple[type[Refused | Busy | Unsure], Sequence[str]]] = (
    (Refused, ("unauthori", "unauthenticat", "authenticat", "credential", "signature", "accesskey", "secretkey")),
    (Refused, ("permission", "forbidden", "accessdenied", "鉴权", "认证", "权限", "签名", "密钥")),
    (Busy, ("toomany", "ratelimit", "frequent", "busy", "频繁", "繁忙")),
    (Unsure, ("internal", "unavailable", "timeout", "timedout", "内部错误", "超时")),
)
"""What a ``msg`` beside -1 speaks of: the key pair (Refused), or a moment that may pass.  The real texts are not
documented; one with none of these words is a plain no."""

SECRETS = frozenset({"apikey", "password"})


@dataclass(frozen=True)
class Deployment:
    """A deployment as the control plane tells it, QuickStart, Expert and LoRA alike."""

    id: str
    name: str = ""
    status: str = ""
    """In lower case, spelt right."""
    loaded: tuple[bool, ...] = ()
    """Of each instance that says so: whether its model is there."""
    url: str = ""
    key: str = ""
    served: tuple[str, ...] = ()
    """Names that its models answer to."""

    @property
    def ready(self) -> bool:
        return self.status == "running" and (any(self.loaded) or not self.loaded)


def parse_deployment(data: Any) -> Deployment:
    """A deployment's detail, or its row of a list."""
    status = text(get(data, "status")).casefold()
    url = address(get(data, "serviceUrl"))
    flags = [get(instance, "baseModelReady") for instance in items(get(data, "instance"))]
    return Deployment(
        id=identity(get(data, "serviceId")),
        name=text(get(data, "name")),
        status=MISSPELT.get(status, status),
        loaded=tuple(str(flag).casefold() == "true" for flag in flags if flag is not None),
        url=url if "://" in url or not url else f"https://{url}",
        key=address(get(data, "apikey")) or address(get(data, "apiKey")),
        served=_served(data),
    )


def _served(data: Any) -> tuple[str, ...]:
    """Names in the detail itself or in the part that tells its kind; a text is one name."""
    for holder in (data, get(data, "quickStart"), get(data, "expert")):
        named = get(holder, "servedName")
        names = [text(name) for name in (named if isinstance(named, list) else [named])]
        if found := tuple(dict.fromkeys(name for name in names if name)):
            return found
    return ()


def unwrap(body: Any) -> dict[str, Any] | None:
    """What an answer is about: the ``data`` of an envelope, empty where it is null, or the answer itself where it has
    no envelope.  None for what is neither."""
    if not isinstance(body, dict):
        return None
    if "code" in body or "data" in body:
        data = body.get("data")
        return data if isinstance(data, dict) else {}
    return body if body.keys() & {"serviceId", "serviceUrl", "rows"} else None


def judge(reply: Reply) -> None:
    """Raise for anything but a clear yes.  The envelope may say no beside HTTP 200."""
    if reply.status in (408, 429) or not (200 <= reply.status < 300 or 400 <= reply.status < 500):
        judge_status(reply)
    try:
        body = reply.json()
    except Unsure:
        judge_status(reply)
        raise
    code, said = text(get(body, "code")), text(get(body, "msg"))
    if code not in ("", "0", "200"):
        _raise_for(code, said, reply)
    judge_status(reply)


def _raise_for(code: str, said: str, reply: Reply) -> NoReturn:
    """By the HTTP status where it speaks of the key pair, else by the words of ``msg``; else it is a plain no."""
    letters = "".join(filter(str.isalnum, said.lower()))
    kind = next((kind for kind, words in COMPLAINTS if any(word in letters for word in words)), None)
    if reply.status in (401, 403):
        kind = Refused
    message = f"answered {code}: {said}" if said else f"answered {code}"
    if kind is Busy:
        raise Busy(message, word=code, where=reply.where, retry_after=retry_after(reply.headers))
    if kind is Unsure:
        raise Unsure(message, word=code, where=reply.where)
    raise Refused(message, word=code, where=reply.where, credentials=kind is Refused)


def secrets_in(body: Any) -> Iterator[str]:
    """Every key and password, however deep; one beyond bounds is none that anybody could be asked with."""
    left = [body]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left += value
        elif isinstance(value, dict):
            left += value.values()
            yield from (
                inner
                for name, inner in value.items()
                if isinstance(inner, str) and name.replace("_", "").casefold() in SECRETS and len(inner) <= LONGEST_TEXT
            )


class AlayaDoor:
    """Finds the deployment that ``service_id`` names, by its id or, failing that, by its name."""

    notes: Sequence[str] = ()

    def __init__(self, config: ProviderConfig, hands: Hands) -> None:
        self._config = config
        self._hands = hands
        self._http: Http = hands.http
        self._access_key = secret_of(config, hands, "access_key")
        self._secret_key = secret_of(config, hands, "secret_key")
        base = str(config.settings.get("base_url", DEFAULT_URL))
        self._base = base.rstrip("/").removesuffix(API_PATH) + API_PATH
        self._service_id: str = config.settings["service_id"]

    def open(self) -> Target | NotYet:
        """Raises RunnerError for a deployment that will not come up by itself."""
        deployment = self._deployment()
        self._require_up(deployment)
        word = ""
        if deployment.status != "running":
            word = self._http.scrub(deployment.status, 60) or "in no state that it tells"
        elif not deployment.ready:
            word = "running, but its model is not loaded yet"
        elif not deployment.url:
            word = "running, but has no address yet"
        return NotYet(word, self._named(deployment)) if word else self._target(deployment)

    def accepts(self) -> str:
        return f"what it knows of {self._named(self._deployment())}"

    def catalogue(self) -> Catalogue:
        """The names that it serves, with what its own list says of them; without names, that list.

        Raises RunnerError for a deployment that is down: a plan for it could not be carried out.
        """
        deployment = self._deployment()
        self._require_up(deployment)
        listed = self._listed(deployment)
        if not deployment.served:
            return listed
        told = {offer.id: offer for offer in listed.offers}
        return Catalogue(tuple(told.get(name) or Offer(name) for name in deployment.served))

    def _require_up(self, deployment: Deployment) -> None:
        if deployment.status in DOWN:
            raise RunnerError(
                f"{self._named(deployment)} is {deployment.status}",
                where=str(self._config.place),
                hint=DOWN[deployment.status],
                code="deployment-down",
            )

    def _named(self, deployment: Deployment) -> str:
        name = self._http.scrub(deployment.name, 100)
        told = self._service_id if name in ("", self._service_id) else f"{self._service_id} ({name})"
        return f"deployment {told} of provider {self._config.name}"

    def _listed(self, deployment: Deployment) -> Catalogue:
        if deployment.ready and deployment.url:
            try:
                return listed_at(self._http, self._target(deployment))
            except ProviderError:  # nothing promises such a list: whether it answers says nothing of the deployment
                pass
        return Catalogue((), complete=False)

    def _target(self, deployment: Deployment) -> Target:
        """``api_key`` of runner.yaml takes the place of the deployment's own key."""
        headers = key_header(self._config, self._hands, AUTH_HEADER)
        if not headers and deployment.key:
            headers = header_of(self._config.settings.get("auth_header", AUTH_HEADER), deployment.key)
        return Target(deployment.url, headers)

    # The control plane

    def _deployment(self) -> Deployment:
        try:
            return self._detail(self._service_id)
        except Refused as error:
            if error.credentials:
                raise
            id = self._id_of(self._service_id)
            if id is None:
                error.hint = "compare service_id in runner.yaml with the ids and names in Alaya NeW's console"
                raise
        deployment = self._detail(id)
        self._service_id = id
        return deployment

    def _detail(self, id: str) -> Deployment:
        deployment = parse_deployment(self._ask(f"/deployment/{quote(id, safe='')}"))
        if not (deployment.id or deployment.status):
            raise Refused(f"nothing is told of a deployment {id}", where=self._base)
        return deployment

    def _id_of(self, name: str) -> str | None:
        """The id of the one deployment that is called ``name``; None where there is none."""
        named = {row.id for row in self._rows(name) if row.id and row.name == name}
        if len(named) > 1:
            ids = self._http.scrub(", ".join(sorted(named)))
            raise Refused(f"{len(named)} deployments are called {name}: {ids}", hint="name one by its id in service_id")
        return named.pop() if named else None

    def _rows(self, name: str) -> Iterator[Deployment]:
        seen = 0
        for page in range(1, PAGES + 1):
            data = self._ask("/deployment/list", {"name": name, "page": str(page), "size": str(PAGE)})
            rows = items(data.get("rows"))
            yield from map(parse_deployment, rows)
            seen += len(rows)
            total = count(data.get("count"))
            if not rows or (len(rows) < PAGE if total is None else seen >= total):
                return

    def _ask(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        access, secret = self._access_key(), self._secret_key()
        self._http.hide(access)
        self._http.hide(secret)
        reply = self._http.call(
            "GET",
            self._base + path,
            retry=True,
            headers={"authorization": f"plain Credential={access},Signature={secret}"},
            params=params,
            judge=self._judge,
        )
        data = unwrap(reply.json())
        if data is None:
            raise Unsure("the answer has neither an envelope nor a deployment", where=reply.where)
        return data

    def _judge(self, reply: Reply) -> None:
        try:
            for secret in secrets_in(reply.json()):
                self._http.hide(secret)
        except Unsure:  # no JSON, and nothing to be found in it
            pass
        try:
            judge(reply)
        except Refused as error:
            if error.credentials:
                error.hint = (
                    f"compare access_key and secret_key of provider {self._config.name} in runner.yaml with a key pair "
                    "in Alaya NeW's console"
                )
            raise


# Building one from runner.yaml


def alaya(config: ProviderConfig, hands: Hands) -> Online:
    """``type: alaya``."""
    return endpoint(config, hands, AlayaDoor(config, hands), embeds=False)
