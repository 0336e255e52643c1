"""What a client of Kinesis Data Streams may count on, as boto3 sees it.

    conformance.py URL [--json FILE] [--only TEXT] [--slow {skip,with,only}]

Runs every check against the endpoint at URL, prints one line each, and ends with status 1 if one does not hold. A check
makes streams of its own, waits until they are ACTIVE, and deletes them. It knows nothing of the server, except how to ask
one that can be asked (ours) for its clock, its limits and its faults. Where the clock cannot be set, the checks of what
takes five minutes wait for them beside the others, if `--slow` says so; where limits and faults cannot be asked for, what
needs them is not run.

What is expected is what AWS documents. Nothing here was compared with AWS.
"""

import argparse
import json
import pathlib
import traceback
from concurrent.futures import ThreadPoolExecutor

import consumers
import faults
import limits
import protocol
import puts
import reads
import settings
import shards
import streams
import subscriptions
from server import CHECKS, Server

HERE = pathlib.Path(__file__).parent
# The order in which a reader looks for them.
GROUPS = (streams, shards, puts, reads, subscriptions, consumers, settings, protocol, limits, faults)
HOLDS, FAILS, CANNOT = "holds", "fails", "cannot be asked"


def in_order():
    names = [group.__name__ for group in GROUPS]
    return sorted(CHECKS, key=lambda check: names.index(check.function.__module__))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("url")
    arguments.add_argument("--json", help="also write the results there")
    arguments.add_argument("--only", default="", help="only checks whose name has this text")
    arguments.add_argument("--slow", choices=("skip", "with", "only"), default="skip",
                           help="what is done about checks that wait for minutes where the clock cannot be set")
    arguments = arguments.parse_args()
    server, results = Server(arguments.url.rstrip("/")), {}
    has_clock = server.can_ask("clock")
    chosen = [check for check in in_order() if arguments.only in check.name]
    slow = [check for check in chosen if check.is_slow and not has_clock]
    quick = [check for check in chosen if check not in slow]
    with ThreadPoolExecutor(8) as pool:
        begun = [(check, pool.submit(outcome, check, server)) for check in slow if arguments.slow != "skip"]
        for check in quick if arguments.slow != "only" else ():
            results[check.name] = told(check, outcome(check, server))
        for check, result in begun:
            results[check.name] = told(check, result.result())
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(results, file, indent=1)
    count = {kind: sum(found == kind for found, _ in results.values()) for kind in (HOLDS, FAILS, CANNOT)}
    print(", ".join(f"{number} {kind}" for kind, number in count.items()))
    return 0 if count[HOLDS] and not count[FAILS] else 1


def outcome(check, server):
    """Whether the check holds; if not, where it does not, and why."""
    if check.needs and not server.can_ask(check.needs):
        return CANNOT, f"this server has no {check.needs} to ask for"
    try:
        check.function(server)
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if pathlib.Path(f.filename).parent == HERE]
        # The check itself rather than what it calls.
        place = f"{pathlib.Path(frames[1].filename).name}:{frames[1].lineno}" if len(frames) > 1 else "conformance.py"
        return FAILS, f"{place}: " + " ".join(f"{type(error).__name__}: {error}".split())
    finally:
        if not check.is_slow or server.can_ask("clock"):
            server.ask("clock", follow_system=True)
    return HOLDS, ""


def told(check, result):
    kind, reason = result
    print(f"{kind:5}  {check.name}" + (f"\n       {reason[:400]}" if kind == FAILS else ""), flush=True)
    return result


if __name__ == "__main__":
    raise SystemExit(main())
