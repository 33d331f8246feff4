"""Selectors, offers, and how the one is chosen from the other."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import RunnerError
from runner.model import (
    Bound,
    Catalogue,
    Offer,
    Price,
    Selector,
    choose,
    explain,
    misfits,
    modality_problems,
    parameter_problems,
    parse_bound,
    parse_size,
)

SMALL = Offer(
    "mi-8",
    name="Qwen3-8B",
    family="Qwen3",
    vendor="Alibaba",
    tags=frozenset({"supportOffline"}),
    capabilities=frozenset({"thinking"}),
    inputs=frozenset({"text"}),
    outputs=frozenset({"text"}),
    thinking=True,
    functions=False,
    context=8_192,
    max_output=4_096,
    price=Price(0.001, 0.002, "CNY"),
    parameters={"temperature": (0, 2), "top_p": (None, 1)},
    released="2025-04-29",
)
LARGE = replace(
    SMALL, id="mi-32", name="Qwen3-32B", context=32_768, price=Price(0.002, 0.004, "CNY"), released="2025-05"
)
SILENT = Offer("mi-x")


@pytest.mark.parametrize(
    ("text", "size"), [("32k", 32_000), ("32K", 32_000), ("1M", 1_000_000), ("1.5k", 1_500), (" 8192 ", 8_192)]
)
def test_sizes(text: str, size: int) -> None:
    """A k is 1,000, an M is 1,000,000, and no unit is one."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "k", "-1", "32kb", "1m", "1e3", "32,768", "٣"])
def test_sizes_that_are_none(text: str) -> None:
    """Anything else is refused by a message that shows a right spelling."""
    with pytest.raises(ValueError, match="32k"):
        parse_size(text)


def test_bounds() -> None:
    """An operator, then a number; and 32,768 is at least 32k."""
    assert parse_bound(">=32k") == Bound(">=", 32_000)
    assert parse_bound(" <= 0.01 ") == Bound("<=", 0.01)
    assert parse_bound("=1M") == Bound("=", 1_000_000)
    assert parse_bound(">=32k").holds(32_768)
    assert not parse_bound("<0.01").holds(0.01)


@pytest.mark.parametrize("text", ["32k", "==32k", "=>32k", ">=", "~32k", ">=x"])
def test_bounds_that_are_none(text: str) -> None:
    """A bare number or an unknown operator is no comparison."""
    with pytest.raises(ValueError, match="not a"):
        parse_bound(text)


@pytest.mark.parametrize(
    ("selector", "reasons"),
    [
        (Selector(), []),
        (Selector(family="qwen3", vendor="ALIBABA", tags=("SUPPORTOFFLINE",), name="qwen3-*b", inputs=("Text",)), []),
        (Selector(id="mi-8", thinking=True, functions=False), []),
        (Selector(id="Qwen3-8B"), []),
        (Selector(id="mi-9"), ["is not mi-9"]),
        (Selector(context=Bound(">=", 32_000)), ["context 8,192 is below 32k"]),
        (Selector(context=Bound("<", 8_192)), ["context 8,192 is not below 8192"]),
        (Selector(context=Bound(">", 1_310_720)), ["context 8,192 is not above 1310720"]),
        (Selector(tags=("coding", "math")), ["no tag coding", "no tag math"]),
        (Selector(family="GLM"), ["family is Qwen3, not GLM"]),
        (Selector(name="GLM*"), ["name is not like GLM*"]),
        (Selector(inputs=("image",)), ["no input of image"]),
        (Selector(thinking=False, functions=True), ["has thinking", "has no functions"]),
        (Selector(price_input=Bound("<=", 0.0005)), ["input price 0.001 is above 0.0005"]),
        (Selector(price_output=Bound("=", 0.5)), ["output price 0.002 is not 0.5"]),
    ],
)
def test_misfits(selector: Selector, reasons: list[str]) -> None:
    """Every unmet wish is named with what is and what was wanted; words know no case."""
    assert misfits(selector, SMALL) == reasons


def test_unknown_does_not_fit() -> None:
    """What the provider does not say fits no selector that asks for it, and any other."""
    asking = Selector(
        family="Qwen3",
        thinking=False,
        outputs=("text",),
        context=Bound(">=", 1),
        price_input=Bound("<=", 9),
    )
    assert misfits(asking, SILENT) == [
        "family is not known",
        "no output of text",
        "whether it has thinking is not known",
        "context is not known",
        "input price is not known",
    ]
    assert misfits(Selector(), SILENT) == []


def test_stopped_does_not_fit() -> None:
    """A stopped model fits nothing, not even its own id, and the error says so."""
    stopped = replace(SMALL, available=False)
    assert misfits(Selector(), stopped) == ["is stopped"]
    with pytest.raises(RunnerError, match=r"mi-8 \(Qwen3-8B\): is stopped") as caught:
        choose(Selector(id="mi-8"), [stopped, LARGE])
    assert "mi-32" not in caught.value.message


def test_explain_puts_the_nearest_first() -> None:
    """Offers that fit come first, then by how much is missing, then by id."""
    selector = Selector(family="Qwen3", context=Bound(">=", 32_000))
    assert [(offer.id, len(why)) for offer, why in explain(selector, [SILENT, SMALL, LARGE])] == [
        ("mi-32", 0),
        ("mi-8", 1),
        ("mi-x", 2),
    ]


def test_the_only_fit_is_chosen() -> None:
    """One fitting offer needs no preference; listed twice it is still one."""
    assert choose(Selector(context=Bound(">=", 32_000)), [SMALL, LARGE, LARGE]) is LARGE


def test_pin_is_sticky() -> None:
    """A pinned model stays though another is preferred now, until it stops fitting or is no longer listed."""
    cheapest = Selector(family="Qwen3", prefer="cheapest")
    assert choose(cheapest, [SMALL, LARGE], pinned="mi-32") is LARGE
    assert choose(cheapest, [SMALL], pinned="mi-32") is SMALL
    assert choose(cheapest, [SMALL, replace(LARGE, available=False)], pinned="mi-32") is SMALL
    assert choose(replace(cheapest, context=Bound("<", 10_000)), [SMALL, LARGE], pinned="mi-32") is SMALL
    assert choose(Selector(id="mi-8"), [SMALL, LARGE], pinned="mi-32") is SMALL


def test_id_before_name() -> None:
    """An id selects outright, also where it is another offer's name; a name does where only one offer bears it."""
    shadow = replace(LARGE, name="mi-8")
    assert choose(Selector(id="mi-8"), [shadow, SMALL], pinned="mi-32") is SMALL
    assert choose(Selector(id="Qwen3-32B"), [SMALL, LARGE]) is LARGE
    twin = replace(SMALL, id="mi-twin")
    with pytest.raises(RunnerError, match=r"2 models fit: .*mi-8.*mi-twin"):
        choose(Selector(id="Qwen3-8B"), [SMALL, twin])


def test_unknown_id_names_the_nearest() -> None:
    """A misspelt id is answered with ids and names that resemble it."""
    with pytest.raises(RunnerError, match=r"no model mi-33; nearest: .*mi-32"):
        choose(Selector(id="mi-33"), [SMALL, LARGE])


def test_nothing_fits() -> None:
    """The error names the offers that come nearest, each with what is missing."""
    with pytest.raises(RunnerError, match=r"no model fits; nearest: .*mi-32 .*no tag coding; mi-8") as caught:
        choose(Selector(tags=("coding",), context=Bound(">=", 32_000)), [SMALL, LARGE])
    assert "context 8,192 is below 32k" in caught.value.message
    with pytest.raises(RunnerError, match="lists no models"):
        choose(Selector(), [])


def test_several_fit() -> None:
    """Without a preference several fits are an error that lists them and the ways on."""
    with pytest.raises(RunnerError, match=r"2 models fit: mi-8 .*; mi-32") as caught:
        choose(Selector(), [SMALL, LARGE])
    assert "cheapest | largest-context | newest" in caught.value.hint
    many = [replace(SMALL, id=f"m{i:02}") for i in range(13)]
    with pytest.raises(RunnerError, match=r"m09 .*and 3 more"):
        choose(Selector(), many)


def test_cheapest() -> None:
    """The least input plus output price; ties by id; a model without a price never, not even alone."""
    cheapest = Selector(prefer="cheapest")
    assert choose(cheapest, [LARGE, SMALL, SILENT]) is SMALL
    twin = replace(SMALL, id="mi-1", price=Price(0.002, 0.001, "CNY"))
    assert choose(cheapest, [SMALL, twin]).id == "mi-1"
    with pytest.raises(RunnerError, match="no fitting model has a price"):
        choose(cheapest, [SILENT])


def test_cheapest_across_currencies() -> None:
    """Prices in two currencies are not compared."""
    dollars = replace(LARGE, price=Price(0.0001, 0.0001, "USD"))
    with pytest.raises(RunnerError, match="CNY and USD"):
        choose(Selector(prefer="cheapest"), [SMALL, dollars])


def test_largest_context_and_newest() -> None:
    """Unknown comes last in both; ties go by id."""
    assert choose(Selector(prefer="largest-context"), [SILENT, SMALL, LARGE]) is LARGE
    assert choose(Selector(prefer="newest"), [SILENT, SMALL, LARGE]) is LARGE
    twin = replace(LARGE, id="mi-1")
    assert choose(Selector(prefer="newest"), [LARGE, twin]).id == "mi-1"
    assert choose(Selector(prefer="largest-context"), [LARGE, twin]).id == "mi-1"


@given(st.permutations([SMALL, LARGE, SILENT]), st.sampled_from(["cheapest", "largest-context", "newest"]))
def test_order_of_offers_does_not_matter(offers: list[Offer], prefer: str) -> None:
    """However the provider orders its list, the choice is the same."""
    assert choose(Selector(prefer=prefer), offers) == choose(
        Selector(prefer=prefer), sorted(offers, key=lambda o: o.id)
    )


def test_parameter_problems() -> None:
    """Out of the documented range, or more output than the model gives; what is not documented or no number passes."""
    assert (
        parameter_problems(SMALL, {"temperature": 2, "top_p": -5, "seed": 10**9, "stop": "x", "logprobs": True}) == []
    )
    label = "mi-8 (Qwen3-8B)"
    assert parameter_problems(SMALL, {"temperature": 2.5, "max_tokens": 5_000, "max_completion_tokens": 4_096}) == [
        f"temperature 2.5 is above 2, the most that {label} takes",
        f"max_tokens 5,000 is above 4,096, the most that {label} takes",
    ]
    assert parameter_problems(SMALL, {"temperature": -1}) == [
        f"temperature -1 is below 0, the least that {label} takes"
    ]
    assert parameter_problems(SILENT, {"temperature": 99, "max_tokens": 10**9}) == []


def test_the_lesser_of_two_output_limits_holds() -> None:
    """A documented range of max_tokens and the model's output limit both hold."""
    offer = replace(SMALL, parameters={"max_tokens": (1, 100)})
    assert len(parameter_problems(offer, {"max_tokens": 101})) == 1
    assert len(parameter_problems(replace(offer, max_output=50), {"max_tokens": 51})) == 1


def test_modality_problems() -> None:
    """An image for a text model is a problem; a model that does not say takes anything."""
    assert modality_problems(SMALL, ["text", "image", "image"]) == ["mi-8 (Qwen3-8B) takes text, not image"]
    assert modality_problems(replace(SMALL, inputs=frozenset({"Text", "Image"})), ["text", "image"]) == []
    assert modality_problems(SILENT, ["image"]) == []


def test_price_is_per_thousand() -> None:
    """1,000 tokens in and 500 out at 0.002 and 0.004."""
    assert Price(0.002, 0.004, "CNY").cost(1_000, 500) == pytest.approx(0.004)


@pytest.mark.parametrize("offer", [SMALL, SILENT, replace(SMALL, available=False, notes=("n",), max_input=1)])
def test_json_round_trip(offer: Offer) -> None:
    """An offer survives JSON, and what is not known takes no room."""
    assert Offer.from_json(json.loads(json.dumps(offer.to_json()))) == offer
    assert SILENT.to_json() == {"id": "mi-x"}


def test_json_from_another_version() -> None:
    """Unknown keys, of the offer and of its price, are ignored."""
    data = {**SMALL.to_json(), "later": 1}
    data["price"] = {**data["price"], "cached": 0.1}
    assert Offer.from_json(data) == SMALL
    assert {field.name for field in dataclasses.fields(Offer)} >= SMALL.to_json().keys()


# ---- catalogues ------------------------------------------------------------------------------------------------------


def test_facts_fill_in_what_the_provider_does_not_say() -> None:
    """And contradict it in nothing but the price, which may have been agreed on."""
    declared = Offer("mi-x", family="Qwen3", context=1_000, price=Price(1, 2, "USD"))
    listed = Offer("mi-x", context=32_768, price=Price(3, 4, "USD"))
    (offer,) = Catalogue((listed,)).with_facts([declared]).offers
    assert offer == replace(declared, context=32_768)


def test_facts_are_found_by_name_too() -> None:
    """A pin's id may be one that only the provider knows."""
    listed = Offer("amv-1", name="Tuned")
    (offer,) = Catalogue((listed,)).with_facts([Offer("Tuned", family="F")]).offers
    assert (offer.id, offer.family) == ("amv-1", "F")


def test_a_declared_model_is_on_sale_only_where_the_list_has_gaps() -> None:
    """A complete list is believed."""
    declared = Offer("gone", family="F")
    assert Catalogue((SILENT,)).with_facts([declared]).offers == (SILENT,)
    assert Catalogue((SILENT,), complete=False).with_facts([declared]).offers == (SILENT, declared)


def test_a_name_that_a_list_with_gaps_leaves_out_is_taken_as_given() -> None:
    """Only an id, and only where the list may leave models out."""
    assert Catalogue((SMALL,), complete=False).given(Selector(id="other")) == Offer("other")
    assert Catalogue((SMALL,), complete=False).given(Selector(id="mi-8")) is None
    assert Catalogue((SMALL,), complete=False).given(Selector(id="Qwen3-8B")) is None
    assert Catalogue((SMALL,), complete=False).given(Selector(family="Qwen3")) is None
    assert Catalogue((SMALL,)).given(Selector(id="other")) is None
