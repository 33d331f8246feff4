"""The simulator's own calls, which no provider has: its bill, and its faults."""

from __future__ import annotations

import json
from typing import Any

from runner.errors import InvalidDocuments
from runner.simulator.engine import Engine
from runner.simulator.faults import parse_faults
from runner.simulator.web import Reply, Request, Route, Wire, json_reply

BASE = "/simulator"


def wire(engine: Engine) -> Wire:
    """``/simulator/bill``, the same request by request in ``/simulator/bill.jsonl``, and ``/simulator/faults``."""

    def bill(_request: Request) -> Reply:
        return json_reply(200, engine.memory.bill())

    def bill_lines(_request: Request) -> Reply:
        text = "".join(f"{json.dumps(entry, ensure_ascii=False)}\n" for entry in engine.memory.requests())
        return Reply(200, text.encode(), "application/jsonl")

    def show_faults(_request: Request) -> Reply:
        return json_reply(200, engine.faults.to_json())

    def replace_faults(request: Request) -> Reply:
        try:
            engine.faults.replace(parse_faults(request.body.json()))
        except InvalidDocuments as error:
            problems = [{"message": problem.message, "hint": problem.hint} for problem in error.problems]
            return json_reply(400, {"problems": problems})
        return show_faults(request)

    routes = (
        Route("GET", f"{BASE}/bill", "", bill),
        Route("GET", f"{BASE}/bill.jsonl", "", bill_lines),
        Route("GET", f"{BASE}/faults", "", show_faults),
        Route("POST", f"{BASE}/faults", "", replace_faults),
    )
    return Wire(routes, lambda refusal: _fail(400, refusal.kind, refusal.message), _fail)


def _fail(status: int, code: str, message: str) -> Reply:
    body: dict[str, Any] = {"error": message, "code": code}
    return json_reply(status, body)
