"""Run campaigns: python -m tests.campaign NAME... [--part K/N] [--out FILE]; without a name, list them.

Each campaign is a module of this folder with a function `cases()` that yields `case.Case`. Exit code 1: a case failed.
"""

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

FOLDER = Path(__file__).parent
os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> int:
    """Run the campaigns of the command line, print a line for each failure and a table."""
    sys.path[:0] = [str(FOLDER.parents[1]), str(FOLDER.parent), str(FOLDER.parent / "dataset")]
    names = sorted(p.stem for p in FOLDER.glob("*.py") if defines_cases(p))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"campaigns, or `all`: {', '.join(names)}")
    parser.add_argument("--part", default="1/1", help="K/N: every N-th case, from the K-th on [1/1]")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--out", help="also write the results to this json file")
    args = parser.parse_args()
    unknown = set(args.names) - {*names, "all"}
    if unknown or not args.names:
        parser.error(f"unknown: {', '.join(sorted(unknown))}" if unknown else f"give names: {', '.join(names)}")
    chosen = names if "all" in args.names else args.names
    results = {name: run_campaign(name, args.part, args.only) for name in chosen}
    print(f"\n{'campaign':<16}{'inputs':>8}{'failed':>8}{'seconds':>9}")
    for name, result in results.items():
        print(f"{name:<16}{result['inputs']:>8}{len(result['failed']):>8}{result['seconds']:>9.0f}")
    if args.out:
        Path(args.out).write_text(json.dumps(results, indent=1))
    return int(any(result["failed"] for result in results.values()))


def defines_cases(path: Path) -> bool:
    """Whether a module of this folder defines `cases()`, without importing it."""
    return "\ndef cases(" in path.read_text()


def run_campaign(name: str, part: str, only: str) -> dict:
    """Run one campaign's cases: {"inputs": count, "failed": {case: problem}, "seconds": time}."""
    from tests.campaign.case import preload

    preload()
    module = importlib.import_module(f"tests.campaign.{name}")
    first, step = (int(word) for word in part.split("/"))
    cases = [case for case in module.cases() if only in case.name][first - 1 :: step]
    failed, start = {}, time.monotonic()
    for number, case in enumerate(cases, 1):
        with tempfile.TemporaryDirectory(prefix="campaign_", ignore_cleanup_errors=True) as folder:
            found = case.run(Path(folder))
        if found:
            failed[case.name] = found
            print(f"FAILED {name} {case.name}: {found}", flush=True)
        if number % 50 == 0:
            print(f"{name}: {number} of {len(cases)} inputs, {len(failed)} failed", flush=True)
    return {"inputs": len(cases), "failed": failed, "seconds": time.monotonic() - start}


if __name__ == "__main__":
    sys.exit(main())
