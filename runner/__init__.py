"""Declarative, exactly-once LLM batch jobs.  A map of the rooms, lowest first; each imports only from those above it.

Nouns: frozen values and the pure questions one can ask of them.

==================  ====================================================================================
``errors``          everything that can go wrong, as a tree
``fingerprint``     canonical bytes and digests; what differs between two fingerprints, by name
``digests``         millions of request digests in little memory
``conform``         whether a value is what its annotations say
``document``        YAML whose every mapping knows its file, line and column
``schema``          the two JSON Schemas, and problems in their terms
``model``           Selector, Offer, Price; which offer is chosen
``checks``          what answers have to be as a whole
``spec``            one batch as declared
``estimate``        tokens guessed from lengths
``result``          what one request came to; row counts
``failures``        what went wrong, alike put together
``progress``        work that goes on: how far, how fast, how long yet
``provider``        what is asked of every provider
``bounds``          what a template may do to texts and numbers
``sandbox``         templates run within bounds of time and memory
``sources``         templates parsed, and what they refer to
``prompt``          templates compiled once, filled per row
``expressions``     expressions of checks, held against answers
``request``         identity of a question; bodies spliced from it
``revision``        how a batch asked at one time, and what is kept of it
``shard``           requests cut into what may travel together
``task``            a shard sent, or about to be
``limits``          the most that may be asked for, and what of it is used up
``project``         what `runner.yaml` says
``known``           what is known of each request
``state``           events and the beliefs folded from them; the document
``chains``          batches that read others, and what they wait for
``batch``           a spec resolved today, and why it changed
``tally``           rows by outcome, as far as tasks tell
``plan``            every step as a plain value
``polling``         when a provider may politely be asked again
``outcome``         what an apply came to
``explanations/``   what is behind each code of an error, a row or an exit
``review``          a plan with what a person needs to judge it, also from a file that may be forged
``scaffold_choices`` the real providers that a new project can have
``scaffold_files``  the texts of a new project
``checkup``         what a look at the surroundings found
``report/``         all of these as text, JSON and Markdown
==================  ====================================================================================

Hands (``edge/``): files, the store, the ledger cache, http, rows of inputs, outputs, secrets, the clock, processes;
``edge/world`` bundles them.  ``providers/`` has one file per wire family, ``registry`` lists them, ``simulator/`` is a
server that speaks their wires.

Verbs: each does one thing to the world, through hands it is lent.

==================  ====================================================================================
``inputs``          look at the first row of an input
``load``            read runner.yaml and all specs, with all their problems
``connect``         open the store, the providers and the embedded simulator
``journal``         write events into the state against whoever else writes
``rendering``       rows × template → bodies
``resolve``         choose models, fingerprint, find what is still to be asked
``holdings``        which tasks hold a batch's requests, and what is still unsent
``refresh``         ask after open tasks and interrupted starts
``spool``           write shards to disk
``heartbeat``       renew the claims of a run that lives
``workers``         go on with tasks that need a run of ours
``parking``         leave what one machine asks where another finds it
``submit``          events around the one costly call
``covering``        record that all of a batch was sent
``reviewing``       show how prompts change
``judging``         whether an answer fits its response schema
``collect``         raw results home, outcomes
``joining``         rows ⋈ results: a batch read row by row
``selecting``       lines with some outcomes, some of their columns
``chaining``        answers laid down as the rows of other batches
``reading``         batches by name, as they stand, without secret or network
``checking``        answers held against a spec's checks
``publishing``      the outputs of batches that are through
``stopping``        ask a provider to stop a task
``continuing``      go on with what waited for answers
``apply``           a plan's steps in their order
``operate``         cancel, retry, adopt, abandon, remove, push, migrate
``preview``         bodies and models before paying
``workflow``        the verbs in order
``reporting``       write the report, a static site
``commenting``      keep one comment on a pull request
``scaffold``        what `runner init` writes
``doctor_machine``  this machine and the project's folder, as a run finds them
``doctor_providers`` what providers say of our credentials
``doctor_plan``     what may be in the way of the next plan
``doctor``          look at everything that a run needs, at no cost
``api``             the verbs from Python
``cli/``            parse, one call, print, exit code
==================  ====================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner.api import Project as Project

__all__ = ["Project"]


def __getattr__(name: str) -> Any:
    """Only who uses the project from Python pays for the import."""
    if name == "Project":
        from runner.api import Project

        return Project
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
