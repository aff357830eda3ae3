"""Runs the tests of the clients from npm against a daemon; every answer is held to what is published.

Usage: run_npm.py FOLDER   where the packages are installed and the tests lie
"""

import os
import subprocess
import sys

from conftest import served


def main():
    with served() as witness:
        environment = dict(os.environ, LAPWING_URL=witness.url)
        run = subprocess.run(["node", "--test", "clients.test.mjs"], cwd=sys.argv[1], env=environment)
        faults = list(dict.fromkeys(witness.collected()))
        print("\n".join(faults))
        print(f"{witness.n_checked} answers were held to what is published, {len(faults)} faults")
    sys.exit(bool(run.returncode or faults))


main()
