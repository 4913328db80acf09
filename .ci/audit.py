"""Look our pinned dependencies up in the list of known vulnerabilities; where it cannot be reached, say so and pass."""

import json
import subprocess
import sys

AUDIT = (sys.executable, "-m", "pip_audit", "--requirement", "constraints.txt", "--no-deps", "--disable-pip")
LIMIT_S = 180


def main() -> int:
    """Exit code 1 where a vulnerability is known, 0 where none is or nothing could be looked up."""
    command = [*AUDIT, "--timeout", "10", "--format", "json"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)  # noqa: S603
        packages = json.loads(run.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        print("pip-audit: skipped: the list of known vulnerabilities cannot be reached from here")
        return 0
    known = [(package, vulnerability) for package in packages for vulnerability in package.get("vulns", [])]
    for package, vulnerability in known:
        fixed = ", ".join(vulnerability["fix_versions"]) or "no release yet"
        print(f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in {fixed}")
    audited = sum("vulns" in package for package in packages)
    if not audited:
        print("pip-audit: skipped: the package index of this machine has no list of known vulnerabilities")
        return 0
    print(f"pip-audit: {audited} of {len(packages)} pinned packages looked up, {len(known)} known vulnerabilities")
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(main())
